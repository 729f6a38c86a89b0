"""Uploads under way: their number per account is limited, and their bytes count before they are stored."""

import asyncio
from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from anyio import CapacityLimiter

from service.errors import TooManyRequests

MAX_AT_ONCE = 16  # of one account
RETRY_SECONDS = 5
DISK = 2  # uploads that write or hash at once: each takes a core from predictions


class InFlight:
    """The uploads of one API process. Belongs to one event loop; every process counts for itself."""

    def __init__(self) -> None:
        self._counts: Counter[Hashable] = Counter()
        self._bytes: Counter[Hashable] = Counter()
        self.disk = CapacityLimiter(DISK)
        self.looking = asyncio.Lock()  # held from the check of the quota until the bytes are counted

    def bytes_of(self, account: Hashable) -> int:
        """Bytes of all uploads of an account that are under way: announced, or come in so far."""
        return self._bytes[account]

    @contextmanager
    def begin(self, account: Hashable) -> Iterator["Incoming"]:
        """An upload, from its first byte until its row is there. Raises TooManyRequests."""
        if self._counts[account] >= MAX_AT_ONCE:
            detail = f"{MAX_AT_ONCE} uploads of this account are under way; send this one when one of them has ended."
            raise TooManyRequests("too_many_uploads", detail, retry_after=RETRY_SECONDS)
        self._counts[account] += 1
        incoming = Incoming(self._bytes, account)
        try:
            yield incoming
        finally:
            self._bytes[account] -= incoming.size
            self._counts[account] -= 1
            if not self._counts[account]:
                del self._counts[account], self._bytes[account]


@dataclass
class Incoming:
    """One upload."""

    totals: Counter[Hashable]
    account: Hashable
    size: int = 0

    def grow_to(self, size: int) -> None:
        """Count so many bytes of it."""
        self.totals[self.account] += size - self.size
        self.size = size
