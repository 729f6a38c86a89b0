"""One JSON line per request, a request id on every answer, and a plain problem instead of any fault of ours."""

import re
import time
from typing import Any
from uuid import uuid4

import structlog
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.error_handlers import internal_error

HEADER = "X-Request-ID"
_GIVEN = re.compile(r"(?!sw_)[A-Za-z0-9._-]{1,64}")  # an API key would be in the logs
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
INTERNAL_ERROR = 500

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
        given = request.headers.get(HEADER, "")
        request.state.request_id = given if _GIVEN.fullmatch(given) else uuid4().hex
        status, started = 0, time.perf_counter()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[HEADER] = request.state.request_id
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request.state.request_id):
            try:
                await self._app(scope, receive, send_with_id)
            except Exception:
                log.exception("request failed", request_id=request.state.request_id)
                if status:
                    raise  # the answer has begun: all that is left is to break the connection
                await internal_error(request)(scope, receive, send_with_id)
            finally:
                self._note(scope, request, status or INTERNAL_ERROR, time.perf_counter() - started)

    def _note(self, scope: Scope, request: Request, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "unknown")
        method = request.method if request.method in METHODS else "other"  # a label per made-up word would pile up
        request.app.state.services.metrics.requests.labels(method, route, str(status)).inc()
        caller: Any = getattr(request.state, "caller", None)
        log.info(
            "request",
            request_id=request.state.request_id,
            method=method,
            route=route,
            status=status,
            ms=round(1000 * seconds, 1),
            key=caller.key if caller else None,
        )
