"""What strangers do to a server before it knows who they are, and a neighbour who notices."""

import contextlib
import http.client
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

PIECE = 1 << 16
PAUSE = 0.02  # s between two requests of the neighbour


def connected(port: int, timeout: float = 60.0) -> socket.socket:
    """A connection to the server."""
    opened = socket.create_connection(("127.0.0.1", port), timeout=timeout)
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return opened


def flood(port: int, begin: bytes, piece: bytes, size: int) -> int:
    """Send `begin`, then `piece` again and again; the number of bytes that the server took, `size` at most."""
    with connected(port) as opened:
        sent = opened.send(begin)
        with contextlib.suppress(OSError):
            while sent < size:
                opened.sendall(piece)
                sent += len(piece)
    return sent


def answer_to(port: int, *pieces: bytes, pause: float = 0.0, timeout: float = 60.0) -> bytes:
    """All that comes back until the connection ends, while the pieces are sent."""
    received = b""
    with connected(port, timeout) as opened:
        for piece in pieces:
            with contextlib.suppress(ConnectionError):  # the server may have had enough
                opened.sendall(piece)
            if select.select([opened], [], [], pause)[0]:
                break
        with contextlib.suppress(ConnectionError):
            while data := opened.recv(PIECE):
                received += data
    return received


@dataclass
class Neighbour:
    """Somebody who asks all the time; what that was like."""

    port: int
    path: str = "/healthz"
    headers: dict[str, str] = field(default_factory=dict)
    body: str | None = None  # with one it is a POST
    waits: list[float] = field(default_factory=list)  # s
    errors: list[str] = field(default_factory=list)

    @property
    def longest(self) -> float:
        """The longest wait, s."""
        return max(self.waits)

    def quantile(self, part: float) -> float:
        """A quantile of the waits, s."""
        return sorted(self.waits)[int(part * (len(self.waits) - 1))]

    def ask(self, connection: http.client.HTTPConnection) -> None:
        """Once."""
        started = time.monotonic()
        try:
            connection.request("POST" if self.body else "GET", self.path, self.body, self.headers)
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                self.errors.append(str(answer.status))
        except (OSError, http.client.HTTPException) as error:
            self.errors.append(repr(error))
            connection.close()
        self.waits.append(time.monotonic() - started)


@contextmanager
def neighbour(port: int, fresh: bool = True, **options: Any) -> Iterator[Neighbour]:
    """Asks in a thread until the block ends; `fresh`: on a connection of its own each time."""
    found, stop = Neighbour(port, **options), threading.Event()

    def run() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        while not stop.wait(PAUSE):
            found.ask(connection)
            if fresh:
                connection.close()
        connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield found
    finally:
        stop.set()
        thread.join()
