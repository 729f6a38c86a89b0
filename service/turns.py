"""Who is next where little can be done at once: accounts take turns, so that nobody waits behind another's pile."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

from service.errors import Unavailable

MAX_WAITING = 64  # of one account


class Turns:
    """So many places, given to waiting accounts one after the other. Belongs to one event loop; waiting takes no
    thread.
    """  # fmt: skip

    def __init__(self, places: int, most_waiting: int = MAX_WAITING) -> None:
        self._free, self._most = places, most_waiting
        self._waiting: OrderedDict[Hashable, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def of(self, account: Hashable) -> AsyncIterator[None]:
        """Hold a place. Raises Unavailable when too many of this account's wait already."""
        if self._free and not self._waiting:
            self._free -= 1
        else:
            await self._wait(account)
        try:
            yield
        finally:
            self._pass_on()

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
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        while self._waiting:
            account, own = self._waiting.popitem(last=False)
            place = own.popleft()
            if own:
                self._waiting[account] = own  # behind the other accounts
            if not place.done():
                place.set_result(None)
                return
        self._free += 1


def too_many_waiting() -> Unavailable:
    """The error for an account that asks for more before it has what it asked for."""
    return Unavailable("busy", "Too many requests of this account wait already; try again in a moment.", retry_after=1)
