"""POST /predict against what one would otherwise put around the same network: plain FastAPI, and LitServe.

python benchmarks/bench_predict.py [--seconds 3] [--rounds 4] [--clients 1,16,64]     (needs wrk: apt install wrk)

Bodies of 500 samples at 10 s, once blind and once with 180 s of heart rate; the peers run the same passes of the same
network, without bands, response or checks. The servers take short turns, while the others are stopped: machines are
faster one minute than the next, so a ratio compares neighbours, and the table shows the middle one of the rounds.
Prints requests a second, latencies and ratios; asserts nothing.
"""

import argparse
import json
import platform
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.request import Request, urlopen

import numpy as np
import torch

from serving.passes import Passes
from serving.servers import LIT, OURS, PLAIN, SUBJECT, TUNED, Server, awake, pause, running

SAMPLES, PREFIX = 500, 18
PACKAGES = ("stagewise", "torch", "fastapi", "uvicorn", "pydantic", "msgspec", "numpy", "litserve")
LATENCY = re.compile(r"^\s*(50|99)%\s+([\d.]+)(us|ms|s)\s*$", re.MULTILINE)
RATE = re.compile(r"Requests/sec:\s+([\d.]+)")
FAULTS = re.compile(r"(?:Non-2xx or 3xx responses: (\d+)|Socket errors: (.*))")
SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
TRAIN = """
import os
import torch
os.nice(5)  # as the worker's processes
torch.set_num_threads(1)
from hrmodel.network.config import NetworkConfig
from hrmodel.network.lstm import HeartRateLSTM
network = HeartRateLSTM(NetworkConfig())
optimizer = torch.optim.Adam(network.parameters())
inputs, target = torch.randn(32, 500, 3), torch.randn(32, 500)
while True:
    optimizer.zero_grad()
    ((network(inputs) - target) ** 2).mean().backward()
    optimizer.step()
"""


def bodies() -> dict[str, bytes]:
    """The two requests."""
    chance = random.Random(0)
    speed = [round(2.8 + 0.4 * chance.uniform(-1, 1), 2) for _ in range(SAMPLES)]
    altitude = [round(100 + 20 * float(np.sin(i / 30)), 1) for i in range(SAMPLES)]
    heart_rate = [100 + 2 * i for i in range(PREFIX)] + [None] * (SAMPLES - PREFIX)
    blind = {"subject": SUBJECT, "speed": speed, "altitude": altitude}
    made = {"blind": blind, "180 s observed": {**blind, "heart_rate": heart_rate}}
    return {name: json.dumps(body, separators=(",", ":")).encode() for name, body in made.items()}


def load(server: Server, body: bytes, clients: int, seconds: float, folder: Path) -> dict[str, float]:
    """One run of wrk: requests a second, p50 and p99 in seconds, answers that were no success."""
    script = folder / "request.lua"
    (folder / "body.json").write_bytes(body)
    lines = [
        'wrk.method = "POST"',
        f'wrk.body = io.open("{folder / "body.json"}"):read("*a")',
        'wrk.headers["Content-Type"] = "application/json"',
        f'wrk.headers["Authorization"] = "Bearer {server.key}"',
    ]
    script.write_text("\n".join(lines))
    time.sleep(1.0)  # what the run before has left behind is still being answered
    command = ["wrk", "--latency", "-t", "1", "-c", str(clients), "-d", f"{seconds:g}s", "--timeout", "30s"]
    command += ["-s", str(script), f"http://127.0.0.1:{server.port}/predict"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = {place: float(value) * SECONDS[unit] for place, value, unit in LATENCY.findall(said)}
    faults = sum(int(bad) if bad else 1 for bad, _ in FAULTS.findall(said))
    return {"rate": float(RATE.findall(said)[0]), "p50": found["50"], "p99": found["99"], "faults": float(faults)}


def warm(server: Server, body: bytes, times: int = 20) -> int:
    """Ask until the model is in memory; the number of values that came back."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {server.key}"}
    for _ in range(times):
        with urlopen(Request(f"http://127.0.0.1:{server.port}/predict", body, headers), timeout=60) as answer:
            values = len(json.load(answer)["heart_rate"])
    return values


def bare_seconds(body: bytes) -> float:
    """Median time of the bare passes of one request, each by itself, in this process."""
    torch.set_num_threads(1)
    passes, request = Passes(), json.loads(body)
    rows = passes.inputs(request["speed"], request["altitude"], request.get("heart_rate") or [])
    times = []
    for _ in range(300):
        started = time.perf_counter()
        for row in rows:
            passes.run(row[None])
        times.append(time.perf_counter() - started)
    return statistics.median(times)


@contextmanager
def training() -> Iterator[None]:
    """A training loop on one thread beside what is measured."""
    process = subprocess.Popen([sys.executable, "-c", TRAIN])
    try:
        time.sleep(4.0)
        yield
    finally:
        process.kill()
        process.wait()


def main() -> None:
    """Read the options, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--clients", default="1,16,64")
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("This needs wrk: apt install wrk")
    clients = [int(number) for number in options.clients.split(",")]
    names = [OURS, PLAIN, TUNED, *([LIT] if installed("litserve") else [])]
    print(machine())
    rows: dict[tuple[str, str, int], list[dict[str, float]]] = defaultdict(list)
    beside: dict[str, list[dict[str, float]]] = defaultdict(list)
    bare: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="bench-predict-") as temporary, ExitStack() as started:
        servers = {}
        for name in names:
            folder = Path(temporary) / name.replace(" ", "-")
            folder.mkdir()
            servers[name] = started.enter_context(running(name, folder))
            assert all(warm(servers[name], body) == SAMPLES for body in bodies().values())
            pause(servers[name])
        for _ in range(options.rounds):
            for kind, body in bodies().items():
                bare[kind].append(bare_seconds(body))
                for count in clients:
                    for name in names:
                        with awake(servers[name]) as server:
                            warm(server, body, times=3)
                            row = load(server, body, count, options.seconds, Path(temporary))
                        rows[(name, kind, count)].append(row)
            with awake(servers[OURS]) as server:
                while_training(server, options.seconds, Path(temporary), beside)
    report(rows, bare, beside, names, clients)


def while_training(server: Server, seconds: float, folder: Path, beside: dict[str, list[dict[str, float]]]) -> None:
    """One client, by itself and with a training loop beside it."""
    body = bodies()["blind"]
    beside["alone"].append(load(server, body, 1, seconds, folder))
    with training():
        beside["training"].append(load(server, body, 1, seconds, folder))


def report(
    rows: dict[tuple[str, str, int], list[dict[str, float]]],
    bare: dict[str, list[float]],
    beside: dict[str, list[dict[str, float]]],
    names: list[str],
    clients: list[int],
) -> None:
    header = ("req/s", "p50 ms", "p99 ms", "faults", "ours is")
    print(f"\n{'request':16}{'clients':>8}  {'server':15}" + "{:>8}{:>9}{:>9}{:>8}{:>9}".format(*header))
    for kind in bare:
        for count in clients:
            ours = rows[(OURS, kind, count)]
            for name in names:
                theirs = rows[(name, kind, count)]
                times = statistics.median(one["rate"] / other["rate"] for one, other in zip(ours, theirs, strict=True))
                row, ratio = middle(theirs), "" if name == OURS else f"{times:8.1f}x"
                figures = f"{row['rate']:8.0f}{1e3 * row['p50']:9.1f}{1e3 * row['p99']:9.1f}{row['faults']:8.0f}"
                print(f"{kind:16}{count:8}  {name:15}{figures}{ratio:>9}")
    print()
    for kind, passes in bare.items():
        if 1 in clients:
            p50 = [row["p50"] for row in rows[(OURS, kind, 1)]]
            times = statistics.median(one / other for one, other in zip(p50, passes, strict=True))
            shown = f"one client p50 {1e3 * statistics.median(p50):.2f} ms, bare passes"
            print(f"{kind}: {shown} {1e3 * statistics.median(passes):.2f} ms: {times:.2f}x")
    alone, training_beside = middle(beside["alone"]), middle(beside["training"])
    print(
        f"one client while a training runs beside: p99 {1e3 * training_beside['p99']:.1f} ms,"
        f" alone {1e3 * alone['p99']:.1f} ms: {training_beside['p99'] / alone['p99']:.2f}x"
    )


def middle(runs: list[dict[str, float]]) -> dict[str, float]:
    """Medians over the rounds; faults are added up."""
    found = {name: statistics.median(run[name] for run in runs) for name in ("rate", "p50", "p99")}
    return {**found, "faults": sum(run["faults"] for run in runs)}


def installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def machine() -> str:
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        "",
    )
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES if installed(name))
    return (
        f"{cpu}, {torch.get_num_threads()} threads, {platform.system()}, Python {platform.python_version()}; {versions}"
    )


if __name__ == "__main__":
    main()
