"""Concurrent look-ups of rows share one query, so that guessed keys cost the database little."""

import asyncio
from collections.abc import Callable, Collection
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

from anyio import CapacityLimiter, to_thread

PAUSE_SECONDS = 0.02  # between two queries, while there are more to ask for
MOST = 500  # of one query

Row = TypeVar("Row")


class Together(Generic[Row]):
    """Looks up rows by a text. One query at a time, whatever the number of callers; none begins before its caller came.

    Each event loop has a queue of its own (a process of the API has one loop).
    """

    def __init__(self, load: Callable[[Collection[str]], dict[str, Row]]) -> None:
        self._load = load
        self._queues: WeakKeyDictionary[asyncio.AbstractEventLoop, _Queue[Row]] = WeakKeyDictionary()

    async def find(self, name: str) -> Row | None:
        """The row of that name. Raises what the driver raises."""
        loop = asyncio.get_running_loop()
        queue = self._queues.get(loop)
        if queue is None:
            queue = self._queues[loop] = _Queue(self._load)
        return await queue.find(name)


class _Queue(Generic[Row]):
    def __init__(self, load: Callable[[Collection[str]], dict[str, Row]]) -> None:
        self._load = load
        self._waiting: dict[str, asyncio.Future[Row | None]] = {}
        self._worker: asyncio.Task[None] | None = None
        self._thread = CapacityLimiter(1)

    async def find(self, name: str) -> Row | None:
        future = self._waiting.get(name)
        if future is None:
            future = self._waiting[name] = asyncio.get_running_loop().create_future()
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        return await asyncio.shield(future)  # others may wait for it

    async def _work(self) -> None:
        while self._waiting:
            names = list(self._waiting)[:MOST]
            asked = {name: self._waiting.pop(name) for name in names}
            try:
                rows = await to_thread.run_sync(self._load, names, limiter=self._thread)
            except Exception as error:  # all callers wait for this task: it survives, and they get the error
                for future in asked.values():
                    future.set_exception(error)
                    future.exception()  # the caller may have left
            else:
                for name, future in asked.items():
                    future.set_result(rows.get(name))
            if self._waiting:
                await asyncio.sleep(PAUSE_SECONDS)
        self._worker = None
