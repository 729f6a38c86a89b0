"""A short way to the answers that a process gives thousands of times a second: past routing, validation and injection.

The ordinary way through FastAPI costs a prediction as much as its numbers. It remains for every request that the short
way does not take, and it alone documents the endpoints and reports what is wrong with a body.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.web.body import LIMITS, read_json_body
from service.web.deps import admit

Handler = Callable[[Request, Exception], Awaitable[Response]]


@dataclass(frozen=True, kw_only=True)
class QuickRoute:
    """A POST route whose usual body is answered at once."""

    route: APIRoute  # the ordinary one, for the log
    scope: str  # that the caller's key must have
    answer: Callable[[Request, bytes], Awaitable[Response | None]]  # None: take the ordinary way


class Shortcut:
    """Wraps the application inside log and headers. `routes` by address."""

    def __init__(self, app: ASGIApp, routes: Mapping[str, QuickRoute]) -> None:
        self._app, self._routes = app, routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        quick = self._routes.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if quick is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = quick.route
        request = Request(scope, receive)
        body = None
        try:
            await admit(request, (quick.scope,))
            body = await read_json_body(request, LIMITS[quick.route.name])
            response = await quick.answer(request, body)
        except Exception as error:
            response = await _handler(request.app, error)(request, error)
        if response is None:
            await self._app(scope, _again(cast(bytes, body), receive), send)
        else:
            await response(scope, receive, send)


def _handler(app: FastAPI, error: Exception) -> Handler:
    """The application's handler of this kind of exception, which is raised again where there is none."""
    handlers: Mapping[Any, Any] = app.exception_handlers
    handler: Handler | None = next((handlers[kind] for kind in type(error).__mro__ if kind in handlers), None)
    if handler is None:
        raise error
    return handler


def _again(body: bytes, receive: Receive) -> Receive:
    """What was received: the body that was read, in one message, then what comes after it."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return messages.pop() if messages else await receive()

    return receive_again
