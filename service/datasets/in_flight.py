"""Uploads under way: their number per account is limited, and their bytes count before they are stored."""

import asyncio
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from anyio import CapacityLimiter

from service.errors import TooManyRequests
from service.web.processes import Processes, SharedCounts

MAX_AT_ONCE = 16  # of one account
RETRY_SECONDS = 5
DISK = 2  # uploads that write or hash at once: each takes a core from predictions


class InFlight:
    """The uploads of one API: its processes count together. Belongs to one event loop."""

    def __init__(self, processes: Processes | None = None) -> None:
        processes = processes or Processes()
        self._counts, self._bytes = processes.counts(), processes.counts()
        self.disk = CapacityLimiter(processes.share(DISK))
        self.looking = asyncio.Lock()  # held from the check of the quota until the bytes are counted

    def bytes_of(self, account: Hashable) -> int:
        """Bytes of all uploads of an account that are under way: announced, or come in so far."""
        return self._bytes.total(account)

    @contextmanager
    def begin(self, account: Hashable) -> Iterator["Incoming"]:
        """An upload, from its first byte until its row is there. Raises TooManyRequests."""
        if self._counts.total(account) >= MAX_AT_ONCE:
            detail = f"{MAX_AT_ONCE} uploads of this account are under way; send this one when one of them has ended."
            raise TooManyRequests("too_many_uploads", detail, retry_after=RETRY_SECONDS)
        self._counts.add(account)
        incoming = Incoming(self._bytes, account)
        try:
            yield incoming
        finally:
            incoming.grow_to(0)
            self._counts.add(account, -1)


@dataclass
class Incoming:
    """One upload."""

    totals: SharedCounts
    account: Hashable
    size: int = 0

    def grow_to(self, size: int) -> None:
        """Count so many bytes of it."""
        self.totals.add(self.account, size - self.size)
        self.size = size
