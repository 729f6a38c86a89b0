"""Few threads that run the network and encode what it says; the event loop does what comes before.

A pass leaves Python's lock alone, so a thread and the event loop have a core each. What is left for either takes about
as long as the other's: a thread that also prepared its inputs would fight with the loop over the lock, and a loop that
also encoded the answers would be what everything waits for. What waits for the same model is run together; nothing
waits for company.
"""

import asyncio
import os
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch
from anyio import to_thread

from hrmodel.prediction.predictor import Prediction, Predictor, Prepared, Query
from hrmodel.workouts.workout import Array
from service.errors import Unavailable

MAX_BATCH = 8  # more save nothing, and the event loop would have nothing to do until all are there
MAX_WAITING = 2000
IDLE_SECONDS = 10.0  # then a thread ends; the next request starts one

# torch keeps what it prepares for each shape of input, by default 1024 times 0.25 MB
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")

Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class _Item:
    prepared: Prepared
    answer: Callable[[Sequence[Array]], Any]  # from the passes' outputs
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[Any]"


class Batcher:
    """Predictions in threads of their own, the longest waiting first. Safe for several event loops."""

    def __init__(self, threads: int | None = None, on_batch: Callable[[int], None] = lambda _: None) -> None:
        self._on_batch = on_batch  # is told how many are predicted at once
        # the event loop needs a core, too: it decodes while a thread predicts
        self._most = threads or max(1, (os.cpu_count() or 1) // 2)
        self._work = threading.Condition()
        self._fresh: list[tuple[Predictor, _Item]] = []
        self._waiting: OrderedDict[Predictor, deque[_Item]] = OrderedDict()
        self._threads = self._idle = self._size = 0

    async def predict(
        self, predictor: Predictor, query: Query, encode: Callable[[Prediction], Result], *, large: bool = False
    ) -> Result:
        """What `encode` makes of the prediction, in a thread. `large`: the event loop must not wait for the inputs.

        Raises Unavailable when too many wait, ValueError for a coverage outside 0.5..0.99.
        """
        prepared = await call(predictor.prepare, query, large=large)
        loop = asyncio.get_running_loop()
        item = _Item(prepared, partial(_answer, predictor, prepared, encode), loop, loop.create_future())
        with self._work:
            if self._size >= MAX_WAITING:
                raise Unavailable("busy", "Too many predictions at once; try again in a moment.", retry_after=1)
            self._size += 1
            self._fresh.append((predictor, item))
        # those that came at the same time come first, so that a thread takes them together
        loop.call_soon(self._release)
        result: Result = await item.future
        return result

    def _release(self) -> None:
        """Let threads take what the loop has gone through."""
        with self._work:
            for predictor, item in self._fresh:
                self._waiting.setdefault(predictor, deque()).append(item)
            self._fresh.clear()
            if self._waiting and self._idle:
                self._work.notify()
            elif self._waiting and self._threads < self._most:
                self._threads += 1
                threading.Thread(target=self._run, name="predict", daemon=True).start()

    def _run(self) -> None:
        torch.set_num_threads(1)  # threads inside a pass would fight over the cores that other requests use
        while (taken := self._take()) is not None:
            predictor, items = taken
            self._on_batch(len(items))
            _settle(items, _outcomes(predictor, items))

    def _take(self) -> tuple[Predictor, list[_Item]] | None:
        """All that waits for the model whose turn it is, up to a batch; None: nothing came for a while."""
        with self._work:
            self._idle += 1
            there = self._work.wait_for(lambda: self._waiting, IDLE_SECONDS)
            self._idle -= 1
            if not there:
                self._threads -= 1
                return None
            predictor, items = self._waiting.popitem(last=False)
            batch = [items.popleft() for _ in range(min(len(items), MAX_BATCH))]
            if items:
                self._waiting[predictor] = items  # behind the other models
            self._size -= len(batch)
        return predictor, [item for item in batch if not item.future.cancelled()]


async def call(work: Callable[..., Result], *arguments: Any, large: bool) -> Result:
    """Call it here, or beside the event loop: a thread costs a small request more than its work."""
    return await to_thread.run_sync(work, *arguments) if large else work(*arguments)


def _answer(
    predictor: Predictor, prepared: Prepared, encode: Callable[[Prediction], Result], outputs: Sequence[Array]
) -> Result:
    return encode(predictor.finish(prepared, outputs))


def _outcomes(predictor: Predictor, items: list[_Item]) -> list[Any]:
    """What each item's caller gets: its answer, or the exception that came instead."""
    try:
        outputs = predictor.run([item.prepared for item in items])
    except Exception as error:
        return [error] * len(items)
    return [_outcome(item, each) for item, each in zip(items, outputs, strict=True)]


def _outcome(item: _Item, outputs: Sequence[Array]) -> Any:
    try:
        return item.answer(outputs)
    except Exception as error:
        return error


def _settle(items: list[_Item], outcomes: list[Any]) -> None:
    pairs = list(zip(items, outcomes, strict=True))
    for loop in {item.loop for item in items}:
        own = [(item.future, outcome) for item, outcome in pairs if item.loop is loop]
        if not loop.is_closed():
            loop.call_soon_threadsafe(_resolve, own)


def _resolve(pairs: "list[tuple[asyncio.Future[Any], Any]]") -> None:
    for future, outcome in pairs:
        if future.done():
            continue  # the caller has gone
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
