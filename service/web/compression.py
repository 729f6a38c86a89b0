"""gzip for pages and for long JSON.

Not for answers to POST: a prediction costs more to compress than to send. Not for streams and pictures. No answer
holds a secret beside words of the request, so that the length of a compressed answer tells nothing (BREACH): CSRF
protection looks at the origin, and session and key are never in a page.
"""

import zlib

from anyio import to_thread
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

KINDS = ("text/html", "application/json")
SHORTEST = 4_000  # bytes
LONG = 100_000  # bytes: compressed in a thread
LEVEL = 3  # twice as fast as 6, and 2 % longer
_GZIP = 31  # of zlib: with the header of gzip


def accepts_gzip(headers: Headers) -> bool:
    """Whether the client can read gzip."""
    for part in headers.get("accept-encoding", "").lower().split(","):
        name, _, weight = part.replace(" ", "").partition(";q=")
        if name in ("gzip", "*"):
            return weight.strip("0.") != "" if weight else True
    return False


class Compression:
    """Wraps the application; the innermost wrapper, as others look at status and headers only."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http" or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        await self._app(scope, receive, _Compressing(send, accepts_gzip(Headers(scope=scope))).send)


class _Compressing:
    """Holds the start of an answer back until its body is there. An answer in pieces passes as it is."""

    def __init__(self, send: Send, accepted: bool) -> None:
        self._send, self._accepted = send, accepted
        self._start: Message | None = None

    async def send(self, message: Message) -> None:
        """One message of the answer."""
        if message["type"] == "http.response.start":
            if _may_be_compressed(message):
                MutableHeaders(scope=message).add_vary_header("Accept-Encoding")
                if self._accepted:
                    self._start = message
                    return
        elif self._start is not None:
            start, self._start = self._start, None
            if not message.get("more_body") and len(message.get("body", b"")) >= SHORTEST:
                message = {**message, "body": await _compressed(message["body"])}
                headers = MutableHeaders(scope=start)
                headers["Content-Encoding"] = "gzip"
                headers["Content-Length"] = str(len(message["body"]))
            await self._send(start)
        await self._send(message)


def _may_be_compressed(start: Message) -> bool:
    headers = Headers(raw=start["headers"])
    return headers.get("content-type", "").startswith(KINDS) and "content-encoding" not in headers


async def _compressed(body: bytes) -> bytes:
    return await to_thread.run_sync(_gzip, body) if len(body) > LONG else _gzip(body)


def _gzip(body: bytes) -> bytes:
    return zlib.compress(body, LEVEL, _GZIP)
