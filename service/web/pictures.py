"""Pictures cost up to half a second each: accounts take turns, and drawn pictures are cached."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import orjson
from anyio import to_thread

from service.web.turns import Turns

MAX_KEPT = 64  # of 50 to 150 kB


class Pictures:
    """PNGs by what they show. Belongs to one event loop."""

    def __init__(self, turns: Turns, most: int = MAX_KEPT) -> None:
        self._turns, self._most = turns, most
        self._kept: OrderedDict[bytes, bytes] = OrderedDict()

    async def of(
        self, account: Hashable, draw: Callable[..., bytes], read: Callable[..., Sequence[Any]], *arguments: Any
    ) -> bytes:
        """The PNG that `draw` makes of the values of `read(*arguments)`, both in a thread. Raises what `read` raises,
        and Unavailable when too many pictures of the account wait.
        """  # fmt: skip
        shown = await to_thread.run_sync(read, *arguments)
        name = await to_thread.run_sync(_digest, draw.__qualname__, shown)
        if (cached := self._cached(name)) is not None:
            return cached
        async with self._turns.of(account):
            if (cached := self._cached(name)) is not None:  # drawn while it waited
                return cached
            picture: bytes = await to_thread.run_sync(draw, *shown)
        self._kept[name] = picture
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return picture

    def _cached(self, name: bytes) -> bytes | None:
        if name in self._kept:
            self._kept.move_to_end(name)
        return self._kept.get(name)


def _digest(kind: str, shown: Sequence[Any]) -> bytes:
    said = orjson.dumps([kind, *shown], default=_plain, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY)
    return hashlib.sha256(said).digest()


def _plain(value: Any) -> Any:
    return value.model_dump() if hasattr(value, "model_dump") else tuple(value)
