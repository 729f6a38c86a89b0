"""Incoming messages: unreadable ones are dropped. They would end the worker, and the rows hold everything."""

from typing import Any

import structlog
from kombu.transport import TRANSPORT_ALIASES, redis

UNREADABLE = (AttributeError, KeyError, TypeError, ValueError)  # ValueError: no JSON, no UTF-8

log = structlog.get_logger(__name__)


class Channel(redis.Channel):
    """Reads on after a message that is no JSON."""

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call]  # kombu has no types
        except ValueError as error:
            return _drop(error)


class Transport(redis.Transport):
    """Reads on after a message that is JSON, but no message."""

    Channel = Channel

    def _deliver(self, message: Any, queue: str) -> Any:
        try:
            return super()._deliver(message, queue)  # type: ignore[no-untyped-call]
        except UNREADABLE as error:
            return _drop(error)


def _drop(error: Exception) -> bool:
    log.warning("message dropped", error=type(error).__name__)
    return True


def install() -> None:
    """Let every URL of a Redis broker mean this transport, in this process."""
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:Transport"
