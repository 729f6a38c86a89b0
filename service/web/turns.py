"""Fair scheduling of few places: accounts take turns, so that no account waits for another account's backlog."""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

from service.errors import Unavailable

MAX_WAITING = 64  # of one account


class Turns:
    """So many places, given to waiting accounts one after the other. Belongs to one event loop; waiting takes no
    thread.
    """  # fmt: skip

    def __init__(self, places: int, *, per_account: int | None = None, most_waiting: int = MAX_WAITING) -> None:
        """`per_account`: the places that one account may hold at once, by default all."""
        self._free, self._per_account, self._most = places, per_account or places, most_waiting
        self._held: Counter[Hashable] = Counter()
        # when a place is free, all waiting accounts hold as many as they may
        self._waiting: OrderedDict[Hashable, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def of(self, account: Hashable) -> AsyncIterator[None]:
        """Hold a place. Raises Unavailable when too many of this account's wait already."""
        if self._free and self._held[account] < self._per_account:
            self._take(account)
        else:
            await self._wait(account)
        try:
            yield
        finally:
            self._give_back(account)

    async def _wait(self, account: Hashable) -> None:
        own = self._waiting.get(account, deque())
        if len(own) >= self._most:
            raise too_many_waiting()
        place = asyncio.get_running_loop().create_future()
        own.append(place)
        self._waiting[account] = own
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self._give_back(account)
            raise

    def _take(self, account: Hashable) -> None:
        self._free -= 1
        self._held[account] += 1

    def _give_back(self, account: Hashable) -> None:
        self._free += 1
        self._held[account] -= 1
        if not self._held[account]:
            del self._held[account]
        self._pass_on()

    def _pass_on(self) -> None:
        while self._free:
            account = next((account for account in self._waiting if self._held[account] < self._per_account), None)
            if account is None:
                return
            own = self._waiting.pop(account)
            place = own.popleft()
            if own:
                self._waiting[account] = own  # behind the other accounts
            if not place.done():
                self._take(account)
                place.set_result(None)


def too_many_waiting() -> Unavailable:
    """The error for an account that asks for more before it has what it asked for."""
    return Unavailable("busy", "Too many requests of this account wait already; try again in a moment.", retry_after=1)
