"""`stagewise up` under load, beside what one would otherwise put around the same network, and what no server can beat.

python benchmarks/bench_predict.py [--quick] [--seconds 2] [--rounds 3] [--clients 1,16,64]     (needs wrk: apt install
wrk; and LitServe, where that is to be compared: pip install --group bench)

Bodies of 500 samples at 10 s, once blind and once with 180 s of heart rate, for a person with 20 imported workouts. The
peers run the same passes of the same network, without keys, bands, response or checks: plain FastAPI as it is usually
written; a lean route as a careful engineer writes it, in one process and in one per core; LitServe in the configuration
that is fastest under each load. Only one server is awake at a time. They take short turns, in both orders: machines are
faster one minute than the next, so a ratio compares neighbours, and the tables show the middle one of the rounds.
Ours has its defaults, but no limit of predictions a minute. About 8 minutes, with --quick 3. Prints; asserts nothing.
"""

import argparse
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch

from service.local.child import die_with_parent
from serving import trees
from serving.limits import Bare
from serving.loads import Figures, ask, bodies, latencies, load
from serving.report import DELAYED_ACK, LIT, Cell, Results, show_goal, show_goals, show_limits, show_table
from serving.servers import LEAN, LEAN_ALL, OURS, PLAIN, SUBJECT, Server, import_person, lits, paused, running

PACKAGES = ("stagewise", "torch", "fastapi", "uvicorn", "pydantic", "orjson", "numpy", "litserve")
CLOSE = 0.02  # bpm
ONE_SAMPLE = b'{"speed": [2.8]}'
TRAINER = Path(__file__).parent / "serving" / "trainer.py"


class Bench:
    """The servers, all started and all but one paused, and the loads that they get."""

    def __init__(self, started: ExitStack, folder: Path, seconds: int) -> None:
        self._started, self._folder, self._seconds = started, folder, seconds
        self._servers: dict[str, Server] = {}
        self._bodies = bodies(subject=SUBJECT)

    def start(self, name: str, **variables: str) -> None:
        """Start a server, let each of its processes answer, and pause it."""
        folder = self._folder / name.replace(" ", "-")
        server = self._started.enter_context(running(name, folder, **variables))
        if name.startswith(OURS):
            import_person(server, folder)
        for kind, body in self._bodies.items():
            check(name, kind, body, ask(server, body))
            load(server, body, 16, 1, self._folder)
        self._started.enter_context(paused(server))
        self._servers[name] = server

    @contextmanager
    def awake(self, name: str) -> Iterator[Server]:
        """The server, which has answered what an earlier load left behind."""
        server = self._servers[name]
        with trees.awake(server.pid):
            ask(server, self._bodies["blind"], times=5)
            yield server

    def load(self, name: str, cell: Cell, seconds: int = 0) -> Figures:
        """One turn of a server."""
        with self.awake(name) as server:
            return load(server, self._bodies[cell[0]], cell[1], seconds or self._seconds, self._folder)


def check(name: str, kind: str, body: bytes, values: list[float]) -> None:
    """Raise RuntimeError unless ours has answered every sample, or a peer what all peers answer."""
    wanted = Bare(body).answer()
    if len(values) != len(wanted):
        raise RuntimeError(f"{name}, {kind}: {len(values)} values instead of {len(wanted)}")
    if not name.startswith(OURS) and not np.allclose(values, wanted, atol=CLOSE):
        raise RuntimeError(f"{name}, {kind}: not the values of the same passes")


def fastest(bench: Bench, names: list[str], cells: list[Cell], rounds: int) -> dict[Cell, str]:
    """The fastest of LitServe's configurations under each load, by loads of a second."""
    found = {}
    for cell in cells if names else ():
        turns = [{name: bench.load(name, cell, 1)["rate"] for name in names} for _ in range(rounds)]
        found[cell] = max(names, key=lambda name: sum(rates[name] for rates in turns))
    return found


@contextmanager
def training() -> Iterator[None]:
    """A training loop on one thread beside what is measured."""
    command, apart = [sys.executable, str(TRAINER)], {"start_new_session": True, "preexec_fn": die_with_parent}
    with subprocess.Popen(command, stdout=subprocess.PIPE, **apart) as process:  # a session of its own, as a worker
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield
        finally:
            process.kill()


def measure_rounds(bench: Bench, names: list[str], chosen: dict[Cell, str], cells: list[Cell], rounds: int) -> Results:
    """Every load on every server, in turns."""
    results = Results()
    for number in range(rounds):
        for cell in cells:
            turns = {name: name for name in names} | ({LIT: chosen[cell]} if chosen else {})
            done = {}
            for name in list(turns)[:: -1 if number % 2 else 1]:
                done[name] = bench.load(turns[name], cell)
            for name in turns:
                results.add(cell, name, done[name])
    return results


def show_direct(bench: Bench) -> None:
    """What one client waits for on a socket of its own."""
    print()
    with bench.awake(OURS) as server:
        for method, path, body in (("GET", "/healthz", b""), ("POST", "/predict", ONE_SAMPLE)):
            least, median = latencies(server, method, path, body)
            print(f"a kept connection, {method} {path}: least {1e3 * least:.2f} ms, median {1e3 * median:.2f} ms")
            show_goal("  that waits for no delayed ACK: median ms", 1e3 * median, most=1e3 * DELAYED_ACK / 2)


def show_beside_training(bench: Bench, rounds: int) -> None:
    """One client, by itself and with a training loop beside it."""
    alone, beside = [], []
    for _ in range(rounds):
        alone.append(bench.load(OURS, ("blind", 1))["p99"])
        with training():
            beside.append(bench.load(OURS, ("blind", 1))["p99"])
    p99, trained = statistics.median(alone), statistics.median(beside)
    times = statistics.median(one / other for one, other in zip(beside, alone, strict=True))
    print(
        f"one client while a training runs beside: p99 {1e3 * trained:.1f} ms, alone {1e3 * p99:.1f} ms: {times:.2f}x"
    )


def installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":")[1].strip() for line in lines if "model name" in line), "")
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES if installed(name))
    system = f"{platform.system()}, Python {platform.python_version()}"
    return f"{cpu}, {torch.get_num_threads()} threads, {system}; {versions}"


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=2, help="of each load")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", default="1,16,64")
    parser.add_argument("--api-processes", type=int, help="also ours with STAGEWISE_API_PROCESSES set to this")
    parser.add_argument("--quick", action="store_true", help="one round with loads of a second")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the options, print the tables."""
    options = parse(arguments)
    if shutil.which("wrk") is None:
        sys.exit("This needs wrk: apt install wrk")
    rounds, seconds = (1, 1) if options.quick else (options.rounds, options.seconds)
    cells = [(kind, int(clients)) for kind in bodies() for clients in options.clients.split(",")]
    print(machine())
    with tempfile.TemporaryDirectory(prefix="bench-predict-") as temporary, ExitStack() as started:
        bench = Bench(started, Path(temporary), seconds)
        names = [OURS, PLAIN, LEAN, LEAN_ALL]
        if not (configurations := lits()):
            print("LitServe is not compared with: it is not installed.")
        for name in [*names, *configurations]:
            bench.start(name)
        if options.api_processes:
            names.insert(1, f"{OURS}, {options.api_processes} process{'es' if options.api_processes > 1 else ''}")
            bench.start(names[1], STAGEWISE_API_PROCESSES=str(options.api_processes))
        chosen = fastest(bench, configurations, cells, min(rounds, 2))
        results = measure_rounds(bench, names, chosen, cells, rounds)
        show_table(results, chosen)
        show_limits(results)
        show_goals(results)
        show_direct(bench)
        show_beside_training(bench, rounds)


if __name__ == "__main__":
    main()
