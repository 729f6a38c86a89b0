"""Server-sent events: one poller for all live streams of this process, and exact resume by the rows' ids."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog
from anyio import CapacityLimiter, to_thread
from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event
from sqlalchemy.orm import Session
from starlette.types import Receive, Scope, Send

from service.errors import NotFound, TooManyRequests, Unavailable
from service.registry import job_history
from service.registry.faults import DATABASE_UNAVAILABLE
from service.registry.job_history import Mark
from service.registry.session import Database
from service.web.processes import Processes

MEDIA_TYPE = "text/event-stream"
POLL_SECONDS = 0.5
PING_SECONDS = 15.0  # proxies close connections that are silent for a minute
RETRY_MILLISECONDS = 1000  # how long a browser waits before it comes back
MAX_STREAMS, MAX_ACCOUNT_STREAMS = 1000, 100  # a person follows a few jobs; 1,000 of one would be late for all
THREADS = 2  # that read for streams: the others serve requests
ALL = "all"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class MessagePage:
    """The messages behind a number in order, the number of the last, and whether the feed has ended."""

    messages: list[bytes]
    last: int
    more: bool
    ended: bool


Read = Callable[[Session, int], MessagePage]


class Live:
    """Wakes the streams whose job has changed. Asks SQL once for all of them, twice a second, while there are any.

    Each process has a poller for its own streams; their number is limited over all processes.
    """

    def __init__(self, database: Database, processes: Processes | None = None) -> None:
        processes = processes or Processes()
        self._database = database
        self._waiting: dict[UUID, set[asyncio.Event]] = defaultdict(set)
        self._streams = processes.counts()  # by account, and all
        self._marks: dict[UUID, Mark] = {}
        self._poller: asyncio.Task[None] | None = None
        self._threads = CapacityLimiter(processes.share(THREADS))
        self._closed = False

    @property
    def streams(self) -> int:
        """The number of streams of all processes."""
        return self._streams.total(ALL)

    def check_room(self, account_id: UUID) -> None:
        """Raise Unavailable, or TooManyRequests for those of the account, when there are too many streams."""
        if self._streams.total(account_id) >= MAX_ACCOUNT_STREAMS:
            detail = f"An account may follow {MAX_ACCOUNT_STREAMS} jobs live at once; ask again without SSE."
            raise TooManyRequests("too_many_streams", detail, retry_after=10)
        if self.streams >= MAX_STREAMS:
            raise Unavailable("busy", "Too many clients follow jobs live; ask again without SSE.", retry_after=10)

    @contextmanager
    def place(self, account_id: UUID) -> Iterator[None]:
        """Count a stream of an account while it is open. Raises as `check_room`."""
        self.check_room(account_id)
        for name in (account_id, ALL):
            self._streams.add(name)
        try:
            yield
        finally:
            for name in (account_id, ALL):
                self._streams.add(name, -1)

    def close(self) -> None:
        """End all streams: the process ends, and clients reconnect to the next process. Call it in the event loop."""
        self._closed = True
        for events in self._waiting.values():
            for event in events:
                event.set()

    async def end(self) -> None:
        """End all streams of this event loop and wait until nothing is asked for them any more."""
        poller = self._poller
        if poller is not None and poller.get_loop() is asyncio.get_running_loop():
            self.close()
            await poller
            self._closed = False

    async def follow(self, job_id: UUID, after: int, read: Read) -> AsyncIterator[bytes]:
        """The messages behind `after` as they come, until the job has ended or is gone."""
        yield format_sse_event(retry=RETRY_MILLISECONDS)
        with self._woken(job_id) as changed:
            while not self._closed:
                changed.clear()
                try:
                    page = await to_thread.run_sync(self._read, read, after, limiter=self._threads)
                except NotFound:
                    return
                except DATABASE_UNAVAILABLE:
                    await asyncio.sleep(POLL_SECONDS)
                    continue
                for message in page.messages:
                    yield message
                after = page.last
                if page.ended:
                    return
                while not page.more and not await _is_set(changed):
                    yield KEEPALIVE_COMMENT

    @contextmanager
    def _woken(self, job_id: UUID) -> Iterator[asyncio.Event]:
        """An event that is set whenever the job has changed."""
        event = asyncio.Event()
        self._waiting[job_id].add(event)
        if self._poller is None:
            self._poller = asyncio.create_task(self._poll())
        try:
            yield event
        finally:
            self._waiting[job_id].discard(event)
            if not self._waiting[job_id]:
                del self._waiting[job_id]

    async def _poll(self) -> None:
        structlog.contextvars.clear_contextvars()  # those of the request that came first: this is for all
        while self._waiting and not self._closed:
            try:
                marks = await to_thread.run_sync(self._look, list(self._waiting), limiter=self._threads)
            except Exception as error:  # all streams wait for this task: it must survive every error of the driver
                log.warning("jobs cannot be followed", reason=type(error).__name__)
            else:
                self._wake(marks)
            await asyncio.sleep(POLL_SECONDS)
        self._poller, self._marks = None, {}

    def _wake(self, marks: dict[UUID, Mark]) -> None:
        for job_id, events in self._waiting.items():
            if marks.get(job_id) != self._marks.get(job_id):
                for event in events:
                    event.set()
        self._marks = marks

    def _look(self, job_ids: list[UUID]) -> dict[UUID, Mark]:
        with self._database.reading() as session:
            return job_history.marks(session, job_ids)

    def _read(self, read: Read, after: int) -> MessagePage:
        with self._database.reading() as session:
            return read(session, after)


class LiveResponse(EventSourceResponse):
    """An answer that lasts until its job ends. Its header asks proxies not to buffer."""

    def __init__(self, live: Live, account_id: UUID, messages: AsyncIterator[bytes]) -> None:
        super().__init__(messages, headers={"X-Accel-Buffering": "no"})
        self._live, self._account_id = live, account_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The answer. Raises TooManyRequests or Unavailable before it begins when there is no room for it."""
        with self._live.place(self._account_id):
            await super().__call__(scope, receive, send)


async def _is_set(event: asyncio.Event) -> bool:
    """Wait for the event, as long as a connection may be silent."""
    try:
        async with asyncio.timeout(PING_SECONDS):
            await event.wait()
    except TimeoutError:
        return False
    return True


def message(event: str, data: Any, number: int | None = None) -> bytes:
    """One message of the stream; `data` is a response model."""
    return format_sse_event(data_str=data.model_dump_json(), event=event, id=None if number is None else str(number))
