"""HTTP/1.1 as bytes: an ordinary client would refuse to send what the tests send."""

import socket
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

TIMEOUT, SHORT = 30.0, 0.25  # s; the short one is for requests that may never be answered
Header = tuple[str, str | bytes]


class NoAnswer(Exception):
    """The connection ended, or nothing came in time."""


@dataclass(frozen=True)
class Answer:
    """Status, headers (lower-case names) and body."""

    status: int
    headers: dict[str, str]
    body: bytes


def request(method: str, target: str | bytes, headers: Iterable[Header] = (), body: bytes = b"") -> bytes:
    """A request as it is sent, nothing added."""
    head = [encoded(method) + b" " + encoded(target) + b" HTTP/1.1"]
    head += [encoded(name) + b": " + encoded(value) for name, value in headers]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def encoded(text: str | bytes) -> bytes:
    """UTF-8, with half surrogates as the bytes that they are."""
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")


class Connection:
    """Keeps one connection open from request to request, as long as the server does."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None
        self._buffer = b""

    def send(self, raw: bytes, *, last: bool = False) -> Answer:
        """Send bytes and read the answer. `last`: it may be incomplete, and ends this connection. Raises NoAnswer."""
        for fresh in (self._socket is None, True):  # the server may have closed an idle connection
            try:
                return self._send(raw, last)
            except NoAnswer:
                self.close()
                if fresh or last:
                    raise
        raise AssertionError("not reached")

    def close(self) -> None:
        """Forget the connection."""
        if self._socket is not None:
            self._socket.close()
        self._socket, self._buffer = None, b""

    def _send(self, raw: bytes, last: bool) -> Answer:
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port))
        self._socket.settimeout(SHORT if last else TIMEOUT)
        with suppress(OSError):  # the server may have answered and closed before it read everything
            self._socket.sendall(raw)
        answer = self._read(raw.startswith(b"HEAD "))
        if last or answer.headers.get("connection", "").lower() == "close":
            self.close()
        return answer

    def _read(self, head_only: bool) -> Answer:
        while True:
            status, headers = self._head()
            if status >= 200:
                break
        if head_only or status in (204, 304):
            return Answer(status, headers, b"")
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return Answer(status, headers, self._chunks())
        return Answer(status, headers, self._take(int(headers.get("content-length", "0"))))

    def _head(self) -> tuple[int, dict[str, str]]:
        first, *lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        return int(first.split()[1]), {name.strip().lower(): value.strip() for name, _, value in pairs}

    def _chunks(self) -> bytes:
        parts = []
        while size := int(self._until(b"\r\n"), 16):
            parts.append(self._take(size))
            self._take(2)
        self._until(b"\r\n")
        return b"".join(parts)

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._buffer:
            self._more()
        found, _, self._buffer = self._buffer.partition(mark)
        return found

    def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._more()
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    def _more(self) -> None:
        assert self._socket is not None
        try:
            data = self._socket.recv(1 << 16)
        except OSError as error:
            raise NoAnswer(type(error).__name__) from error
        if not data:
            raise NoAnswer("closed")
        self._buffer += data
