"""Sixty seconds with an attacker of each kind beside four ordinary clients, on `stagewise up`.

python -m tests.end_to_end.attackers [--seconds 60] [--each] [kind ...]

First the clients are alone, then all attackers come at once; `--each`: one kind after the other. The attackers run in a
process of their own at the lowest priority: they would be on other machines. Prints the clients' waits and errors
and the memory of the API; the exit status is 1 when a client met an error or its 99th percentile is over three times
that of the clients alone (0.1 s at least).
"""

import argparse
import contextlib
import http.client
import json
import multiprocessing
import os
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from service.background import Running, running
from service.child import die_with_parent
from tests.end_to_end.costs import api_of, key_of, resident, rows

CLIENTS = 4
PAUSE = 0.05  # s between two requests of a client
PIECE = 1 << 16
TIMES, FLOOR = 3.0, 0.1
ALONE_SECONDS = 15.0


@dataclass
class Ordinary:
    """A client that predicts again and again, and what it met."""

    port: int
    key: str
    waits: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def run(self, until: float) -> None:
        """Ask until then."""
        body = json.dumps(rows(500, 5000.0, known=False) | {"heart_rate": [140] * 18 + [None] * 482})
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        while time.monotonic() < until:
            started = time.monotonic()
            try:
                connection.request("POST", "/predict", body, headers)
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    self.errors.append(str(answer.status))
            except (OSError, http.client.HTTPException) as error:
                self.errors.append(repr(error))
                connection.close()
            self.waits.append(time.monotonic() - started)
            time.sleep(PAUSE)
        connection.close()


def clients(port: int, key: str, seconds: float) -> tuple[list[float], list[str]]:
    """What four of them met in this time."""
    each = [Ordinary(port, key) for _ in range(CLIENTS)]
    threads = [threading.Thread(target=one.run, args=(time.monotonic() + seconds,)) for one in each]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [wait for one in each for wait in one.waits], [error for one in each for error in one.errors]


# -- attackers: each does its worst once, and is called again and again ------------------------------------------------


def opened(port: int) -> socket.socket:
    """A connection."""
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def flood(port: int, begin: bytes, piece: bytes, size: int) -> None:
    """Send pieces for as long as they are taken."""
    with opened(port) as stream:
        stream.sendall(begin)
        for _ in range(size // len(piece)):
            stream.sendall(piece)
        stream.recv(PIECE)


def endless_url(port: int, key: str) -> None:
    """A request line without end."""
    flood(port, b"GET /", b"a" * PIECE, 40 * 2**20)


def endless_headers(port: int, key: str) -> None:
    """Header lines without end."""
    flood(port, b"GET / HTTP/1.1\r\nHost: x\r\n", b"a: b\r\n" * 10_000, 40 * 2**20)


def half_requests(port: int, key: str) -> None:
    """Two hundred requests that are begun and never end."""
    with contextlib.ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(opened(port)).sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Le")
        time.sleep(5)


def slow_reads(port: int, key: str) -> None:
    """Large answers that nobody reads."""
    body = json.dumps({"requests": [rows(12_000, 12_000.0, known=False)] * 8}).encode()
    head = (
        f"POST /predict/batch HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
    )
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            stream = stack.enter_context(opened(port))
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stream.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        time.sleep(5)


def wrong_keys(port: int, key: str) -> None:
    """Guesses."""
    for number in range(50):
        asked(port, f"sw_{number:016x}_{'x' * 43}", "GET", "/jobs")


def segment_batches(port: int, key: str) -> None:
    """Batches of workouts of which each sample is a segment of its own."""
    asked(port, key, "POST", "/predict/batch", {"requests": [rows(1416, 86_390.0, known=True, gap=1)] * 4})
    asked(port, key, "POST", "/predict/batch", {"requests": [rows(1416, 86_390.0, known=True, gap=1)] * 64})


def big_batches(port: int, key: str) -> None:
    """As much as a batch may hold, and more."""
    asked(port, key, "POST", "/predict/batch", {"requests": [rows(560, 5600.0, known=True)] * 64})
    asked(port, key, "POST", "/predict/batch", {"requests": [rows(50_000, 50_000.0, known=True)] * 20})


def long_plans(port: int, key: str) -> None:
    """The longest routes."""
    distance = np.linspace(0, 150_000, 2000)
    body = {"distance": distance.tolist(), "altitude": (99 * np.sin(distance / 900)).tolist(), "heart_rate_cap": 140}
    asked(port, key, "POST", "/predict/plan", body)


def odd_json(port: int, key: str) -> None:
    """Deep, and empty again and again."""
    for content in (b"[" * 8_000_000, b"[" + b'{"":0},' * 1_100_000 + b"0]", b'{"a":' * 100_000):
        asked(port, key, "POST", "/predict", content)
        asked(port, key, "POST", "/jobs/stage1", content)


def uploads(port: int, key: str) -> None:
    """Forty at once, none of which says how large it is."""
    threads = [threading.Thread(target=_upload, args=(port, key)) for _ in range(40)]
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


def asked(port: int, key: str, method: str, path: str, body: Any = None) -> None:
    """An ordinary request, whatever is answered."""
    content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with contextlib.closing(connection):
        connection.request(method, path, content, headers)
        connection.getresponse().read()


KINDS: dict[str, Callable[[int, str], None]] = {
    each.__name__: each
    for each in (
        *(endless_url, endless_headers, half_requests, slow_reads, wrong_keys),
        *(segment_batches, big_batches, long_plans, odd_json, uploads),
    )
}


def attack(names: Sequence[str], port: int, key: str) -> None:
    """The process of the attackers: each kind again and again, until it is ended."""
    die_with_parent()
    os.nice(19)

    def again(act: Callable[[int, str], None]) -> None:
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                act(port, key)
            time.sleep(0.05)

    for name in names:
        threading.Thread(target=again, args=(KINDS[name],), daemon=True).start()
    time.sleep(3600)


def beside(names: Sequence[str], port: int, keys: tuple[str, str], seconds: float) -> tuple[list[float], list[str]]:
    """What clients met beside these attackers."""
    process = multiprocessing.get_context("spawn").Process(target=attack, args=(names, port, keys[1]))
    process.start()
    time.sleep(3)  # it imports, and begins
    try:
        return clients(port, keys[0], seconds)
    finally:
        process.kill()
        process.join()


def line(name: str, met: tuple[list[float], list[str]], api: int) -> None:
    """One row of the table."""
    waits, errors = met
    middle, worst = 1000 * statistics.median(waits), 1000 * max(waits)
    figures = f"{middle:8.0f} {1000 * slow(waits):8.0f} {worst:8.0f} {len(errors):7} {resident(api) / 2**20:8.0f}"
    print(f"{name:18} {len(waits):8} {figures}  {', '.join(sorted(set(errors)))[:60]}", flush=True)


def slow(waits: Sequence[float]) -> float:
    """The 99th percentile."""
    return sorted(waits)[int(0.99 * (len(waits) - 1))]


def run(service: Running, other: str, kinds: Sequence[str], seconds: float, *, each: bool) -> int:
    """Print the table; the exit status."""
    port, api = urlsplit(service.url).port or 0, api_of(service)
    clients(port, service.key, 3.0)
    print(f"{'beside':18} {'requests':>8} {'p50 ms':>8} {'p99':>8} {'longest':>8} {'errors':>7} {'API MB':>8}")
    alone = clients(port, service.key, ALONE_SECONDS)
    line("nobody", alone, api)
    bound, failed = max(FLOOR, TIMES * slow(alone[0])), False
    for names in [[kind] for kind in kinds] if each else [kinds]:
        met = beside(names, port, (service.key, other), seconds)
        line(names[0] if each else f"{len(names)} kinds", met, api)
        failed = failed or bool(met[1]) or slow(met[0]) > bound
    return int(failed)


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--each", action="store_true")
    parser.add_argument("kinds", nargs="*", metavar="kind", help="all unless some are named")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="stagewise-attackers-") as name, running(Path(name)) as service:
        other = key_of("attacker", Path(name))
        return run(service, other, options.kinds or list(KINDS), options.seconds, each=options.each)


if __name__ == "__main__":
    sys.exit(main())
