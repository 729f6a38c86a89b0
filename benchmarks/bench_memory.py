"""The memory of `stagewise up`: idle, after predictions, after an import.

python benchmarks/bench_memory.py [--predictions 2000] [--workouts 1000]

MB of proportional set size for each process: pages that several processes share count once in the sum (and less while
other programs share them, too: run it alone). Each column is taken when the processes have come to rest. 16 clients
send the predictions, for a person with 20 imported workouts; the import is another, simulated person's. Settings are
those of the environment. Prints; asserts nothing.
"""

import argparse
import os
import platform
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import psutil

from serving import trees
from serving.loads import ask, bodies
from serving.servers import OURS, SUBJECT, Server, import_person, running

CLIENTS = 16
REST_SECONDS, QUIET_SECONDS, LONGEST_SECONDS = 3.0, 0.3, 120.0
PARTS = {"service.cli": "supervisor", "valkey": "broker", "service.web.serve": "API"}
PARTS |= {"celery": "worker", "worker.reconciler": "reconciler"}


def name_of(process: psutil.Process, known: dict[int, str]) -> str:
    """What part of the service it is; a process below one of the same part is one of its own."""
    line = " ".join(process.cmdline())
    part = next((part for word, part in PARTS.items() if word in line), process.name())
    return f"{part}, child" if known.get(process.ppid(), "").startswith(part) else part


def look(server: Server) -> dict[int, tuple[str, float]]:
    """Of each process: its name and its MB, once all of them have come to rest."""
    rest(server)
    names: dict[int, str] = {}
    found = {}
    for process in trees.members(server.pid):
        names[process.pid] = name_of(process, names)
        found[process.pid] = names[process.pid], trees.megabytes(process)
    return found


def rest(server: Server) -> None:
    """Return when the processes hardly work any more."""
    deadline, used = time.monotonic() + LONGEST_SECONDS, -QUIET_SECONDS
    while time.monotonic() < deadline:
        time.sleep(REST_SECONDS)
        before, used = used, trees.cpu_seconds(server.pid)
        if used - before < QUIET_SECONDS:
            return


def predict(server: Server, times: int) -> None:
    """So many predictions of both kinds by 16 clients."""
    sent = list(bodies(subject=SUBJECT).values())
    with ThreadPoolExecutor(CLIENTS) as clients:
        list(clients.map(lambda number: ask(server, sent[number % len(sent)]), range(times)))


def show(columns: dict[str, dict[int, tuple[str, float]]]) -> None:
    """A row for each process, in the order of their appearance, and the sum."""
    names = {pid: name for column in columns.values() for pid, (name, _) in column.items()}
    numbers: Counter[str] = Counter()
    print(f"\n{'MB':22}" + "".join(f"{title:>24}" for title in columns))
    for pid, name in names.items():
        numbers[name] += 1
        values = (column.get(pid) for column in columns.values())
        row = "".join(f"{value[1]:24.0f}" if value else f"{'-':>24}" for value in values)
        print(f"{f'{name} {numbers[name]}':22}{row}")
    print(f"{'all':22}" + "".join(f"{sum(value for _, value in column.values()):24.0f}" for column in columns.values()))


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the options, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--predictions", type=int, default=2000)
    parser.add_argument("--workouts", type=int, default=1000)
    options = parser.parse_args(arguments)
    print(f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}, torch {version('torch')}")
    columns = {}
    with tempfile.TemporaryDirectory(prefix="bench-memory-") as temporary:
        folder = Path(temporary)
        with running(OURS, folder) as server:
            columns["idle"] = look(server)
            import_person(server, folder)
            predict(server, options.predictions)
            columns[f"{options.predictions} predictions"] = look(server)
            import_person(server, folder, "another", options.workouts)
            columns[f"{options.workouts} workouts imported"] = look(server)
    show(columns)


if __name__ == "__main__":
    main()
