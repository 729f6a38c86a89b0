"""The requests of the benchmark, and the clients that send them: wrk, one at a time, or one bare socket."""

import json
import math
import random
import re
import resource
import socket
import statistics
import subprocess
import time
from pathlib import Path
from urllib.request import Request, urlopen

from serving import trees
from serving.servers import Server

SAMPLES, PREFIX = 500, 18  # of 10 s: 180 s are observed
LATENCY = re.compile(r"^\s*(50|99)%\s+([\d.]+)(us|ms|s)\s*$", re.MULTILINE)
DONE = re.compile(r"(\d+) requests in ([\d.]+)(ms|s|m)\b")
FAULTS = re.compile(
    r"Non-2xx or 3xx responses: (\d+)|Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)"
)
SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}
Figures = dict[str, float]


def bodies(**more: str) -> dict[str, bytes]:
    """The two requests, with `more` in each."""
    chance = random.Random(0)
    speed = [round(2.8 + 0.4 * chance.uniform(-1, 1), 2) for _ in range(SAMPLES)]
    altitude = [round(100 + 20 * math.sin(i / 30), 1) for i in range(SAMPLES)]
    heart_rate = [100 + 2 * i for i in range(PREFIX)] + [None] * (SAMPLES - PREFIX)
    blind = {**more, "speed": speed, "altitude": altitude}
    made = {"blind": blind, "180 s observed": {**blind, "heart_rate": heart_rate}}
    return {name: json.dumps(body, separators=(",", ":")).encode() for name, body in made.items()}


def load(server: Server, body: bytes, clients: int, seconds: int, folder: Path) -> Figures:
    """So many clients that each send the next request when they have their answer, on connections that stay.

    Requests a second; p50 and p99 in seconds; answers that were no success and connections that failed; the CPU
    milliseconds of a request in the server's processes, and in wrk, which shares the cores.
    """
    command = ["wrk", "--latency", "-t", "1", "-c", str(clients), "-d", f"{seconds}s", "--timeout", "30s"]
    command += ["-s", str(_script(server, body, folder)), f"http://127.0.0.1:{server.port}/predict"]
    used, own = trees.cpu_seconds(server.pid), _children_seconds()
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    own, used = _children_seconds() - own, trees.cpu_seconds(server.pid) - used
    (count, duration, unit), found = DONE.findall(said)[0], dict[str, float]()
    done = int(count)
    for place, value, scale in LATENCY.findall(said):
        found[f"p{place}"] = float(value) * SECONDS[scale]
    found["faults"] = float(sum(int(number) for numbers in FAULTS.findall(said) for number in numbers if number))
    found["cpu"], found["own"] = 1e3 * used / max(done, 1), 1e3 * own / max(done, 1)
    return {"rate": done / (float(duration) * SECONDS[unit]), **found}


def _script(server: Server, body: bytes, folder: Path) -> Path:
    """What wrk sends, again and again."""
    (folder / "body.json").write_bytes(body)
    lines = [
        'wrk.method = "POST"',
        f'wrk.body = io.open("{folder / "body.json"}"):read("*a")',
        'wrk.headers["Content-Type"] = "application/json"',
        f'wrk.headers["Authorization"] = "Bearer {server.key}"',
    ]
    script = folder / "request.lua"
    script.write_text("\n".join(lines))
    return script


def _children_seconds() -> float:
    """Processor time of the children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def ask(server: Server, body: bytes, times: int = 1) -> list[float]:
    """Ask one after the other; the heart rate of the last answer. Raises HTTPError unless all succeed."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {server.key}"}
    values: list[float] = []
    for _ in range(times):
        with urlopen(Request(f"http://127.0.0.1:{server.port}/predict", body, headers), timeout=120) as answer:
            values = json.load(answer)["heart_rate"]
    return values


def latencies(server: Server, method: str, path: str, body: bytes = b"", times: int = 200) -> tuple[float, float]:
    """Least and median seconds of a request on one bare socket that stays open: what waits for an ACK shows here."""
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {server.key}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    took = []
    with (
        socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection,
        connection.makefile("rb") as answers,
    ):
        for _ in range(times):
            began = time.perf_counter()
            connection.sendall(head.encode() + body)
            status, length = answers.readline(), 0
            while (line := answers.readline().lower()) not in (b"\r\n", b""):
                if line.startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            answers.read(length)
            took.append(time.perf_counter() - began)
            if b" 200 " not in status:
                raise RuntimeError(f"{method} {path}: {status!r}")
    return min(took), statistics.median(took)
