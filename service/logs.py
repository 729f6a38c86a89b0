"""Logs as JSON lines, alike from the API, the worker and their libraries.

An exception is shown by its kind and place, never by its message: that could repeat personal data or a key.
"""

import logging
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from traceback import walk_tb
from typing import Any

import orjson
import structlog
from structlog.typing import EventDict, WrappedLogger

LIBRARIES = ("uvicorn", "celery", "kombu")  # they say more than warnings
_LINE = orjson.OPT_APPEND_NEWLINE
CHAIN = 5  # causes of an exception that are shown


def log_as_json() -> None:
    """Set structlog and the standard library's logging up once per process; a second call changes nothing."""
    if structlog.is_configured():
        return
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _show_exception,
            structlog.processors.JSONRenderer(default=lambda value: type(value).__name__),  # escapes control characters
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )
    logging.getLogger().addHandler(_Forward())
    logging.captureWarnings(True)
    for name in LIBRARIES:
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
        logging.getLogger(name).setLevel(logging.INFO)
    access = logging.getLogger("uvicorn.access")  # shows addresses, which name people; `RequestLog` says what it may
    access.handlers.clear()
    access.propagate = False


def log_request(**fields: Any) -> None:
    """One line at level info with the event `request`. The service's own lines of a fixed form: past structlog, whose
    processors take longer than the rest of the request's log.
    """  # fmt: skip
    stamp = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    line = orjson.dumps({**fields, "event": "request", "level": "info", "timestamp": stamp}, option=_LINE)
    sys.stdout.write(line.decode())  # in one piece: other threads write lines, too
    sys.stdout.flush()


def current_request() -> str | None:
    """The id of the request that this code works for; the worker binds that of the job's."""
    found: str | None = structlog.contextvars.get_contextvars().get("request_id")
    return found


def describe_exception(error: BaseException) -> list[str]:
    """Kinds and places, from the exception through its causes; of an OSError its number, and no message at all."""
    return [line for link in _chain(error) for line in (_kind(link), *_places(link))]


class _Forward(logging.Handler):
    """Lines of libraries leave in our form."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        structlog.get_logger().log(record.levelno, record.getMessage(), logger=record.name, exc_info=error)


def _show_exception(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    given: Any = event.pop("exc_info", None)
    error = sys.exc_info()[1] if given is True else given
    if isinstance(error, BaseException):
        event["exception"] = describe_exception(error)
    return event


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    for _ in range(CHAIN):
        if error is None:
            return
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _kind(error: BaseException) -> str:
    number = f" {error.errno}" if isinstance(error, OSError) else ""
    return f"{type(error).__module__}.{type(error).__qualname__}{number}"


def _places(error: BaseException) -> list[str]:
    frames = walk_tb(error.__traceback__)
    return [f"{frame.f_code.co_filename}:{line} {frame.f_code.co_name}" for frame, line in frames]
