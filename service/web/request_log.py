"""One JSON line per request, a request id on every answer, and a plain problem instead of any internal error."""

import re
import time
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import structlog
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.web.deps import Services
from service.web.error_handlers import internal_error

HEADER = "X-Request-ID"
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
        request = Request(scope, receive)
        request_id = request.headers.get(HEADER, "")
        request.state.request_id = request_id if _REQUEST_ID.fullmatch(request_id) else uuid4().hex
        answer = _Answer()

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers[HEADER] = request.state.request_id
                answer.begin(message["status"], headers.get("Location", ""))
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request.state.request_id):
            try:
                await self._app(scope, receive, send_with_id)
            except Exception:
                log.exception("request failed", request_id=request.state.request_id)
                if answer.status:
                    raise  # the answer has begun: only breaking the connection is left
                await internal_error(request)(scope, receive, send_with_id)
            finally:
                _note(scope, request, answer)


@dataclass
class _Answer:
    """Status, location and time of an answer."""

    status: int = 0  # not begun
    location: str = ""
    started: float = field(default_factory=time.perf_counter)
    waited: float | None = None  # seconds until it began

    def begin(self, status: int, location: str) -> None:
        """It begins now."""
        self.status, self.location, self.waited = status, location, time.perf_counter() - self.started


def _note(scope: Scope, request: Request, answer: _Answer) -> None:
    status, seconds = answer.status or INTERNAL_ERROR, time.perf_counter() - answer.started
    route = getattr(scope.get("route"), "path", "unknown")
    method = request.method if request.method in METHODS else "other"  # a label per made-up word would pile up
    waited = seconds if answer.waited is None else answer.waited
    services: Services = request.app.state.services
    services.metrics.count_request(method, route, status, waited)
    if route in PROBES and status == FINE:
        return  # a poller asks every few seconds
    caller: Any = getattr(request.state, "caller", None)
    job = _job(scope, answer.location)
    log.info(
        "request",
        request_id=request.state.request_id,
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
    try:
        return str(UUID(str(named)))
    except ValueError:
        return None
