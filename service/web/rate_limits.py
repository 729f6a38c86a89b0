"""Rate limits: wrong keys by address; predictions and other POST requests by account.

Counted in fixed minutes. (The package `limits` does the same, but its memory starts a thread per hit, 5 ms of a
prediction's 10, and belongs to one process.)
"""

import ipaddress
import math
import threading
import time
from collections.abc import Callable, Hashable
from uuid import UUID

from service.errors import TooManyRequests
from service.web.processes import Processes

WINDOW_SECONDS = 60.0
FAILURES = 30


class RateWindow:
    """Counts by name over all processes in a fixed minute, then starts again at zero, so that memory stays bounded."""

    def __init__(
        self, limit: int, clock: Callable[[], float] = time.monotonic, processes: Processes | None = None
    ) -> None:
        """`clock`: the same for all processes; that of the machine is."""
        self._limit, self._clock, self._processes = limit, clock, processes or Processes()
        self._counts = self._processes.counts()
        self._minutes = self._processes.numbers(-1)  # in which each process has counted last
        self._lock = threading.Lock()

    def count(self, name: Hashable, more: int = 1) -> None:
        """Remember so many more."""
        minute, own = self._minute(), self._processes.own
        with self._lock:
            if self._minutes[own] != minute:
                self._counts.clear(own)
                self._minutes[own] = minute
            self._counts.add(name, more)

    def wait(self, name: Hashable) -> int | None:
        """Seconds until this name may try again; None: now."""
        minute = self._minute()
        among = [number for number, last in enumerate(self._minutes) if last == minute]
        if self._counts.total(name, among) < self._limit:
            return None
        return max(1, math.ceil((minute + 1) * WINDOW_SECONDS - self._clock()))

    def _minute(self) -> int:
        return int(self._clock() // WINDOW_SECONDS)


class RateLimits:
    """The limits of one API: its processes count together."""

    def __init__(self, predictions: int, failures: int = FAILURES, processes: Processes | None = None) -> None:
        self._failures = RateWindow(failures, processes=processes)
        self._predictions = RateWindow(predictions, processes=processes)

    def count_failure(self, address: str) -> None:
        """Remember a wrong key. Raises TooManyRequests when this address has sent too many."""
        name = network_of(address)
        _refuse(self._failures.wait(name), "Too many wrong keys came from this address.")
        self._failures.count(name)

    def count_post(self, account_id: UUID) -> None:
        """Count a POST of an account. Raises TooManyRequests over the limit."""
        _refuse(self._predictions.wait(account_id), "Too many predictions a minute came from this account.")
        self._predictions.count(account_id)

    def count_more(self, account_id: UUID, more: int) -> None:
        """Count the predictions of a POST beyond its first: it is answered, but the next POST may have to wait."""
        self._predictions.count(account_id, more)


def network_of(address: str) -> str:
    """The network of one caller: an IPv4 address, or the /64 of an IPv6 address."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    return str(parsed.ipv4_mapped or ipaddress.ip_network((parsed, 64), strict=False))


def _refuse(wait: int | None, detail: str) -> None:
    if wait is not None:
        raise TooManyRequests("rate_limited", detail, retry_after=wait)
