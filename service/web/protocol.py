"""HTTP/1.1 as uvicorn speaks it, with a bound on everything that a client may send or leave unread."""

import asyncio
from enum import Enum
from typing import Any, cast

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from service.errors import ServiceError
from service.web.connections import Connections
from service.web.output import Output
from service.web.pace import Pace, Reader
from service.web.refusals import MALFORMED, PIPELINED, TOO_LONG, TOO_MANY_HEADERS, TOO_SLOW, whole_answer

PIECE = 64 * 1024
STALLED_SECONDS = 5.0  # a client that has read nothing for so long may have to give way


class Part(Enum):
    """What the parser is in."""

    NOTHING = 0
    HEAD = 1
    BODY = 2


class _Refused(Exception):
    """Stops the parser."""


class BoundedProtocol(HttpToolsProtocol):
    """One connection.

    httptools reports a header when it is complete and buffers the rest, so bytes are also counted as they arrive.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        table: Connections,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.table, self.bounds = table, table.bounds
        self._application: ASGIApp = self.app
        self.app = self._answer
        self.address, self.unsent = "", 0
        self._part, self._since = Part.NOTHING, table.clock()
        self._pending, self._served = 0, False  # requests without a whole answer; whether any was answered
        self._unread = 0  # bytes since the parser was last done with something
        self._header_lines = self._header_bytes = 0
        self._sending = Pace(self.bounds.body_seconds, self.bounds.body_bytes_per_second)  # the client, its body
        self._reader = Reader(Pace(self.bounds.read_seconds, self.bounds.read_bytes_per_second))  # and the answers
        self._rest = 0  # bytes that arrive after the answer
        self._refusal: ServiceError | None = None
        self._ended = False  # refused: what still comes is thrown away

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected."""
        super().connection_made(transport)
        self._output = Output(transport, self.loop)
        self.address = self.client[0] if self.client else "unknown"
        self._since = self._reader.progress_at = self.table.clock()
        refusal = self.table.enter(self)
        if refusal is not None:
            self._end_with(refusal)
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has disconnected."""
        self.table.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes of a request."""
        if self._ended or (self._part is Part.BODY and not self._pending):
            self._rest += len(data)
            if self._rest > self.bounds.rest_bytes:
                self.drop()
                return
        if self._ended:
            return
        self._unread += len(data)
        super().data_received(data)
        if self._unread > self.bounds.header_bytes and not self._ended:
            self._end_with(TOO_MANY_HEADERS)

    def send_400_response(self, msg: str) -> None:
        """The parser has given up."""
        self._end_with(self._refusal or MALFORMED)

    def _unsupported_upgrade_warning(self) -> None:
        """Upgrades are ignored: the request is answered as plain HTTP."""

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._header_lines = self._header_bytes = self._unread = 0
        if self._served:  # before the first request the wait began with the connection
            self._since = self.table.clock()
        self._part = Part.HEAD

    def on_url(self, url: bytes) -> None:
        """A piece of the address."""
        if len(self.url) + len(url) > self.bounds.url_bytes:
            self._stop(TOO_LONG)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A whole header, or one behind a chunked body."""
        self._header_lines += 1
        self._header_bytes += len(name) + len(value)
        if self._header_lines > self.bounds.header_lines or self._header_bytes > self.bounds.header_bytes:
            self._stop(TOO_MANY_HEADERS)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The request is known, and answered from now on."""
        if len(self.pipeline) >= self.bounds.pipelined:
            self._stop(PIPELINED)
        self._part, self._pending, self._unread, self._rest = Part.BODY, self._pending + 1, 0, 0
        self._since = self.table.clock()
        self._sending.begin(self._since)
        super().on_headers_complete()
        self.cycle.transport = cast(asyncio.Transport, self._output)
        if self.parser.should_upgrade():
            self.cycle.keep_alive = False  # the parser reads nothing behind such a request

    def on_chunk_header(self) -> None:
        """The size of the next piece of a body."""
        self._unread = 0

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._unread = 0
        self._sending.moved += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """All of the request is here."""
        self._part, self._since, self._unread = Part.NOTHING, self.table.clock(), 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The socket has the whole answer."""
        self._pending -= 1
        self._served, self._since = True, self.table.clock()
        super().on_response_complete()

    @property
    def progress_at(self) -> float:
        """When the client last read something of an answer, or had nothing to read."""
        return self._reader.progress_at

    def priority(self, now: float) -> tuple[int, float] | None:
        """Half-sent requests give way first, then bodies and readers that are late, then the idle."""
        if self._ended or (not self._served and not self._pending):
            return 0, self._since
        late = self._part is Part.BODY and not self.flow.read_paused and self._sending.is_behind(now)
        if late or (self.transport.get_write_buffer_size() and now - self._reader.progress_at > STALLED_SECONDS):
            return 1, min(self._since, self._reader.progress_at)
        return None if self._pending else (2, self._since)

    def look(self, now: float) -> str | None:
        """End it if its time is over."""
        if self._reader.is_late(self.transport, now):
            self.drop()
            return "answer_not_read"
        if self._ended or (self._part is Part.BODY and not self._pending):
            return self._over(now, self.bounds.rest_seconds, None)
        if self._part is Part.HEAD:
            return self._over(now, self.bounds.head_seconds, TOO_SLOW)
        if self._part is Part.BODY:
            return self._look_at_body(now)
        if not self._pending:
            return self._over(now, self.bounds.idle_seconds if self._served else self.bounds.head_seconds, None)
        return None

    def shutdown(self) -> None:
        """The process ends."""
        if self._ended:
            self.transport.close()
        else:
            super().shutdown()

    def drop(self) -> None:
        """End it at once."""
        self._ended = True
        self.transport.abort()

    def _over(self, now: float, seconds: float, refusal: ServiceError | None) -> str | None:
        if now - self._since <= seconds:
            return None
        if refusal is None:
            self.transport.close()
            return "idle" if self._served else "silent"
        self._end_with(refusal)
        return refusal.code

    def _look_at_body(self, now: float) -> str | None:
        if self.flow.read_paused or self.cycle.waiting_for_100_continue:
            self._sending.begin(now)  # the server does not read now
        elif self._sending.has_failed(now):
            self._end_with(TOO_SLOW)
            return TOO_SLOW.code
        return None

    def _stop(self, refusal: ServiceError) -> None:
        self._refusal = refusal
        raise _Refused(refusal.code)

    def _end_with(self, refusal: ServiceError) -> None:
        """Say why, if an answer can still be told apart, and throw away what comes until the client has read it."""
        behind = self._pending - (self._part is Part.BODY)  # other requests whose answers come first
        started = self._part is Part.BODY and self._pending and self.cycle.response_started
        self._ended, self._since = True, self.table.clock()
        self.flow.resume_reading()
        has_cycle = self.cycle is not None  # None before the first request, whatever uvicorn's types say
        if has_cycle and not self.cycle.response_complete:
            self.cycle.disconnected, self.cycle.waiting_for_100_continue = True, False
            self.cycle.message_event.set()
        if behind or started:
            self.transport.close()
            return
        self.transport.write(whole_answer(refusal))
        self.transport.write_eof()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application; long bodies go out in pieces, so that they wait here and are counted."""

        async def send_in_pieces(message: Message) -> None:
            body = message.get("body", b"")
            if len(body) <= PIECE:
                await self._send(message, send)
                return
            view, more = memoryview(body), message.get("more_body", False)
            with self.table.holding(self, len(body)) as gone:
                for start in range(0, len(body), PIECE):
                    piece = view[start : start + PIECE]
                    last = start + PIECE >= len(body)
                    await self._send({"type": message["type"], "body": piece, "more_body": more or not last}, send)
                    gone(len(piece))

        await self._application(scope, receive, send_in_pieces)

    async def _send(self, message: Message, send: Send) -> None:
        self._output.is_head = message["type"] == "http.response.start"
        await send(message)
        self._reader.written += len(message.get("body", b""))
