"""Limits on unauthenticated clients: all connections of one API, whose processes count together.

A connection that waits for its client costs a file and some memory, so their number is bounded. The longest wait is
closed first; of several addresses, that with the most connections. Each process closes its own. A client that sends
complete requests and reads the answers is not affected. docs/reference/limits.md has the same numbers.
"""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from heapq import nsmallest
from operator import itemgetter
from typing import Protocol

import structlog

from service.errors import ServiceError, TooManyRequests, Unavailable
from service.web.processes import Processes

SWEEP_SECONDS = 1.0
AT_ONCE = 16

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What a connection may take; bytes and seconds."""

    url_bytes: int = 8 * 1024
    header_lines: int = 100
    header_bytes: int = 32 * 1024
    pipelined: int = 32  # requests sent ahead of their answers
    head_seconds: float = 10.0  # from the first byte, or from the start, to the end of the headers
    idle_seconds: float = 65.0  # between two requests; proxies keep theirs for 60 s
    body_seconds: float = 20.0  # in each of which a body must advance
    body_bytes_per_second: int = 1024
    rest_seconds: float = 10.0  # for bytes that a client still sends after its answer
    rest_bytes: int = 64 * 1024**2
    read_seconds: float = 20.0  # in each of which the client must read on
    read_bytes_per_second: int = 1024
    unsent_bytes: int = 256 * 1024**2  # of all answers together
    per_address: int = 512
    connections: int = 4096


class Connection(Protocol):
    """The interface of a connection."""

    address: str
    unsent: int  # bytes of its answer that the socket has not taken yet

    @property
    def progress_at(self) -> float:
        """When its client last read something, or had nothing to read."""

    def priority(self, now: float) -> tuple[int, float] | None:
        """Order of closing, the lowest first; None: never."""

    def look(self, now: float) -> str | None:
        """End it if its time is over; why, in a word."""

    def drop(self) -> None:
        """End it at once."""


class Connections:
    """Counts connections, makes room for new ones, and ends those whose time is over."""

    def __init__(
        self,
        bounds: Bounds,
        trusted: Callable[[str], bool] = lambda _: False,
        clock: Callable[[], float] = time.monotonic,
        processes: Processes | None = None,
    ) -> None:
        self.bounds, self.clock, self._processes = bounds, clock, processes or Processes()
        self._trusted = trusted  # a proxy carries many clients
        self._by_address: dict[str, set[Connection]] = defaultdict(set)
        self._size = 0
        self._addresses = self._processes.counts()
        self._unsent = self._processes.numbers()  # bytes of answers
        self._sweeping: asyncio.TimerHandle | None = None
        self._ended: Counter[str] = Counter()

    def __len__(self) -> int:
        """The connections of this process."""
        return self._size

    def enter(self, connection: Connection) -> ServiceError | None:
        """Count a new connection, after room has been made for it; the refusal when there is none."""
        self._processes.entered[self._processes.own] += 1
        refusal = self._make_room(connection.address)
        if refusal is not None:
            self._ended[refusal.code] += 1
            return refusal
        self._by_address[connection.address].add(connection)
        self._count(connection.address, 1)
        if self._sweeping is None:
            self._sweep_later()
        return None

    def leave(self, connection: Connection) -> None:
        """Remove a closed connection; a second call changes nothing."""
        those = self._by_address.get(connection.address)
        if those is not None and connection in those:
            those.discard(connection)
            self._count(connection.address, -1)
            if not those:
                del self._by_address[connection.address]

    @contextmanager
    def holding(self, connection: Connection, size: int) -> Iterator[Callable[[int], None]]:
        """Count an answer that waits to be read; call the result with the number of bytes sent."""

        def gone(sent: int) -> None:
            connection.unsent -= sent
            self._unsent[self._processes.own] -= sent

        before = connection.unsent
        gone(-size)
        self._free_memory()
        try:
            yield gone
        finally:
            gone(connection.unsent - before)

    def _count(self, address: str, more: int) -> None:
        self._addresses.add(address, more)
        self._size += more
        self._processes.open[self._processes.own] = self._size

    def _make_room(self, address: str) -> ServiceError | None:
        if self._addresses.total(address) >= self.bounds.per_address and not self._trusted(address):
            detail = "Too many connections are open from this address. Close some, or use them again."
            return None if self._give_way(address) else TooManyRequests("too_many_connections", detail, retry_after=1)
        if self._processes.connections >= self.bounds.connections:
            most = max(self._by_address, key=lambda other: len(self._by_address[other]), default=address)
            detail = "Too many connections are open. Try again in a moment."
            return None if self._give_way(most) else Unavailable("busy", detail, retry_after=1)
        return None

    def _give_way(self, address: str) -> bool:
        now = self.clock()
        waiting = [
            (order, connection)
            for connection in self._by_address.get(address, ())
            if (order := connection.priority(now)) is not None
        ]
        if not waiting:
            return False
        (rank, _), first = min(waiting, key=itemgetter(0))
        # half-sent requests may be a flood: one search drops several
        late = nsmallest(AT_ONCE, (pair for pair in waiting if pair[0][0] == 0), itemgetter(0)) if rank == 0 else ()
        for connection in {first, *(connection for _, connection in late)}:
            self._drop(connection, "gave_way")
        return True

    def _free_memory(self) -> None:
        """Over the bound, close connections that have read nothing for two seconds, the longest wait first."""
        while sum(self._unsent) > self.bounds.unsent_bytes:
            late = self.clock() - 2 * SWEEP_SECONDS
            holders = [connection for connection in self._all() if connection.unsent and connection.progress_at < late]
            if not holders:
                return
            self._drop(min(holders, key=lambda connection: connection.progress_at), "answer_not_read")

    def _drop(self, connection: Connection, reason: str) -> None:
        self._ended[reason] += 1
        self.leave(connection)
        self._unsent[self._processes.own] -= connection.unsent
        connection.unsent = 0
        connection.drop()

    def _all(self) -> list[Connection]:
        return [connection for those in self._by_address.values() for connection in those]

    def _sweep_later(self) -> None:
        self._sweeping = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep)

    def _sweep(self) -> None:
        now = self.clock()
        self._ended.update(reason for connection in self._all() if (reason := connection.look(now)) is not None)
        self._free_memory()
        if self._ended:  # one line a second, however many they are
            log.warning("connections ended", reasons=dict(self._ended), open=len(self))
            self._ended.clear()
        self._sweeping = None
        if self._by_address:
            self._sweep_later()
