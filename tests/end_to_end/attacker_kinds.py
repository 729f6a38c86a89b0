"""What an attacker does to a server: each kind does its worst once, and is called again and again.

Those without a key come first; the others have one of an account of their own.
"""

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from uuid import uuid4

import numpy as np

from tests.end_to_end.attacks import PIECE, connected, flood
from tests.end_to_end.costs import rows

HELD_SECONDS = 5.0
SCRIPT = b"GET /static-offline-docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n"
UPLOADS, FLEETS, STREAMS = 40, 50, 1005


def endless_url(port: int, key: str) -> None:
    """A request line without end."""
    flood(port, b"GET /", b"a" * PIECE, 40 * 2**20)


def endless_header(port: int, key: str) -> None:
    """One header without end: its name, and its value."""
    for begin in (b"", b"A: "):
        flood(port, b"GET / HTTP/1.1\r\nHost: x\r\n" + begin, b"b" * PIECE, 40 * 2**20)


def many_headers(port: int, key: str) -> None:
    """Header lines without end."""
    flood(port, b"GET / HTTP/1.1\r\nHost: x\r\n", b"a: b\r\n" * 10_000, 40 * 2**20)


def half_requests(port: int, key: str) -> None:
    """Two hundred requests that are begun and never end."""
    _held(port, [b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Le"] * 200)


def slow_bodies(port: int, key: str) -> None:
    """Two hundred bodies of which a few bytes come."""
    begun = b"POST /ui/sign-in HTTP/1.1\r\nHost: x\r\nOrigin: http://x\r\nContent-Length: 9000\r\n\r\nkey="
    _held(port, [begun] * 200)


def sent_ahead(port: int, key: str) -> None:
    """Requests without waiting for an answer."""
    flood(port, b"", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 2000, 40 * 2**20)


def unread_answers(port: int, key: str) -> None:
    """Large files, three on each connection, that nobody reads."""
    _held(port, [SCRIPT * 3] * 40)


def wrong_keys(port: int, key: str) -> None:
    """Guesses."""
    for number in range(50):
        asked(port, f"sw_{number:016x}_{'x' * 43}", "GET", "/jobs")


def unread_predictions(port: int, key: str) -> None:
    """Large answers to batches that nobody reads."""
    body = json.dumps({"requests": [rows(12_000, 12_000.0, known=False)] * 8}).encode()
    head = f"POST /predict/batch HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    _held(port, [head.encode() + body] * 4)


def segment_batches(port: int, key: str) -> None:
    """Batches of workouts of which each sample is a segment of its own."""
    for count in (4, 64):
        asked(port, key, "POST", "/predict/batch", {"requests": [rows(1416, 86_390.0, known=True, gap=1)] * count})


def big_batches(port: int, key: str) -> None:
    """As much as a batch may hold, and more."""
    asked(port, key, "POST", "/predict/batch", {"requests": [rows(560, 5600.0, known=True)] * 64})
    asked(port, key, "POST", "/predict/batch", {"requests": [rows(50_000, 50_000.0, known=True)] * 20})


def long_plans(port: int, key: str) -> None:
    """The longest routes, and longer ones."""
    for metres in (42_000, 100_000, 200_000):
        distance = np.linspace(0, metres, 2000)
        altitude = (99 * np.sin(distance / 900)).tolist()
        body = {"distance": distance.tolist(), "altitude": altitude, "heart_rate_cap": 140}
        asked(port, key, "POST", "/predict/plan", body)


def odd_json(port: int, key: str) -> None:
    """Empty objects again and again, and as many texts as fit."""
    for content in (b"[" + b'{"":0},' * 1_100_000 + b"0]", b'{"x": [' + b'"",' * 2_600_000 + b'""]}'):
        for path in ("/predict", "/predict/batch", "/jobs/stage1"):
            asked(port, key, "POST", path, content)


def deep_json(port: int, key: str) -> None:
    """One inside another, as often as fits."""
    for content in (b"[" * 8_000_000, b'{"a":' * 100_000):
        for path in ("/predict", "/jobs/stage1"):
            asked(port, key, "POST", path, content)


def uploads(port: int, key: str) -> None:
    """Forty at once, none of which says how large it is."""
    _at_once(lambda _: _upload(port, key), range(UPLOADS))


def live_streams(port: int, key: str) -> None:
    """A thousand streams of one job."""
    job = json.loads(asked(port, key, "POST", "/datasets", uuid4().bytes)).get("job_id")
    head = f"GET /jobs/{job}/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
    _held(port, [f"{head}Accept: text/event-stream\r\n\r\n".encode()] * STREAMS)


def fleets(port: int, key: str) -> None:
    """Fleets of everybody, and of two thousand datasets that are not there."""
    for body in ({"subjects": "all"}, {"dataset_ids": [str(uuid4()) for _ in range(2000)]}):
        _at_once(lambda _, body=body: asked(port, key, "POST", "/jobs/fleet", body), range(FLEETS))


def asked(port: int, key: str, method: str, path: str, body: Any = None) -> bytes:
    """The answer to an ordinary request, whatever it is; empty when the connection ended without one."""
    content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    kind = "application/octet-stream" if path == "/datasets" else "application/json"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.request(method, path, content, {"Authorization": f"Bearer {key}", "Content-Type": kind})
        return connection.getresponse().read()
    return b"{}"


def _held(port: int, begun: Sequence[bytes]) -> None:
    """A connection for each, on which nobody reads, for a while."""
    with contextlib.ExitStack() as stack:
        for content in begun:
            with contextlib.suppress(OSError):
                stream = stack.enter_context(connected(port, HELD_SECONDS))
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                stream.sendall(content)
        time.sleep(HELD_SECONDS)


def _at_once(act: Callable[[int], Any], each: Iterable[int]) -> None:
    threads = [threading.Thread(target=act, args=(number,)) for number in each]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _upload(port: int, key: str) -> None:
    with contextlib.suppress(OSError, http.client.HTTPException):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        headers = {"Authorization": f"Bearer {key}"}
        connection.request("POST", "/datasets", (b"x" * PIECE for _ in range(200)), headers, encode_chunked=True)
        connection.getresponse().read()


KINDS: dict[str, Callable[[int, str], None]] = {
    each.__name__: each
    for each in (
        *(endless_url, endless_header, many_headers, half_requests, slow_bodies, sent_ahead, unread_answers),
        *(wrong_keys, unread_predictions, segment_batches, big_batches, long_plans, odd_json, deep_json),
        *(uploads, live_streams, fleets),
    )
}
