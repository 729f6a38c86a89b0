"""Rate limits: wrong keys by address; predictions and other POST requests by account.

Counted in fixed minutes in this process. (The package `limits` does the same, but its memory starts a thread per hit:
5 ms of a prediction's 10.)
"""

import ipaddress
import math
import threading
import time
from collections.abc import Callable, Hashable
from uuid import UUID

from service.errors import TooManyRequests

WINDOW_SECONDS = 60.0
FAILURES = 30
MAX_NAMES = 100_000  # that are remembered within a minute


class RateWindow:
    """Counts by name in a fixed minute, then starts again at zero, so that memory stays bounded."""

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit, self._clock = limit, clock
        self._lock = threading.Lock()
        self._counts: dict[Hashable, int] = {}
        self._ends = clock() + WINDOW_SECONDS

    def count(self, name: Hashable, more: int = 1) -> None:
        """Remember so many more."""
        with self._lock:
            self._turn()
            if len(self._counts) >= MAX_NAMES:
                self._counts.clear()
            self._counts[name] = self._counts.get(name, 0) + more

    def wait(self, name: Hashable) -> int | None:
        """Seconds until this name may try again; None: now."""
        with self._lock:
            self._turn()
            full = self._counts.get(name, 0) >= self._limit
            return max(1, math.ceil(self._ends - self._clock())) if full else None

    def _turn(self) -> None:
        if self._clock() >= self._ends:
            self._counts.clear()
            self._ends = self._clock() + WINDOW_SECONDS


class RateLimits:
    """The limits of one API process; every process counts for itself."""

    def __init__(self, predictions: int, failures: int = FAILURES) -> None:
        self._failures, self._predictions = RateWindow(failures), RateWindow(predictions)

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
