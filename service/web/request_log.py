"""One JSON line per request, a request id on every answer, and a plain problem instead of any internal error."""

import random
import re
import time
from collections.abc import Iterable
from typing import Any
from uuid import UUID

import structlog
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.logs import log_request
from service.web.deps import Services
from service.web.error_handlers import internal_error

HEADER = b"x-request-id"
_REQUEST_ID = re.compile(r"(?!sw_)[A-Za-z0-9._-]{1,64}")  # an API key would be in the logs
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
FINE, INTERNAL_ERROR = 200, 500
PROBES = ("/healthz", "/readyz")

log = structlog.get_logger("stagewise.access")


class RequestLog:
    """Wraps the application. Logs the route's pattern, never bodies or keys: an address may name a person."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope["headers"])
        scope.setdefault("state", {})["request_id"] = request_id
        structlog.contextvars.bind_contextvars(request_id=request_id)  # until the end of the request's own task
        answer = _Answer()

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message.get("headers", ())
                answer.begin(message["status"], _value(headers, b"location"))
                message["headers"] = [*headers, (HEADER, request_id.encode())]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            log.exception("request failed", request_id=request_id)
            if answer.status:
                raise  # the answer has begun: only breaking the connection is left
            await internal_error(Request(scope))(scope, receive, send_with_id)
        finally:
            _note(scope, answer)


class _Answer:
    """Status, location and time of an answer."""

    def __init__(self) -> None:
        self.status = 0  # not begun
        self.location = ""
        self.started = time.perf_counter()
        self.waited: float | None = None  # seconds until it began

    def begin(self, status: int, location: str) -> None:
        """It begins now."""
        self.status, self.location, self.waited = status, location, time.perf_counter() - self.started


def _request_id(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The client's own, else a new one: unique, but no secret, so that it needs no system call."""
    given = _value(headers, HEADER)
    return given if _REQUEST_ID.fullmatch(given) else f"{random.getrandbits(128):032x}"


def _value(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> str:
    """The first header of this name, else nothing."""
    return next((value.decode("latin-1") for own, value in headers if own == name), "")


def _note(scope: Scope, answer: _Answer) -> None:
    status, seconds = answer.status or INTERNAL_ERROR, time.perf_counter() - answer.started
    route = getattr(scope.get("route"), "path", "unknown")
    method = scope["method"] if scope["method"] in METHODS else "other"  # a label per made-up word would pile up
    waited = seconds if answer.waited is None else answer.waited
    services: Services = scope["app"].state.services
    services.metrics.count_request(method, route, status, waited)
    if route in PROBES and status == FINE:
        return  # a poller asks every few seconds
    state = scope["state"]
    caller: Any = state.get("caller")
    job = _job(scope, answer.location)
    log_request(
        request_id=state["request_id"],
        method=method,
        route=route,
        status=status,
        ms=round(1000 * seconds, 1),
        key=caller.key if caller else None,
        **({"job": job} if job else {}),
    )


def _job(scope: Scope, location: str) -> str | None:
    """The job that the request is about, or that it queued: an id, and nothing else that the caller wrote."""
    named = scope.get("path_params", {}).get("job_id") or location.partition("/jobs/")[2]
    if not named:
        return None
    try:
        return str(UUID(str(named)))
    except ValueError:
        return None
