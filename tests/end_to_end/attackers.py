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
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from multiprocessing.synchronize import Event as EventType
from pathlib import Path
from urllib.parse import urlsplit

from service.forking import die_with_parent
from service.local.background import Running, running
from tests.end_to_end.attacker_kinds import KINDS
from tests.end_to_end.attacks import neighbour
from tests.end_to_end.costs import api_of, key_of, resident, rows

CLIENTS = 4
TIMES, FLOOR = 3.0, 0.1
ALONE_SECONDS = 15.0


def clients(port: int, key: str, seconds: float) -> tuple[list[float], list[str]]:
    """The waits (s) and errors of four clients that predict again and again for this time."""
    body = json.dumps(rows(500, 5000.0, known=False) | {"heart_rate": [140] * 18 + [None] * 482})
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    asks = {"path": "/predict", "headers": headers, "body": body}
    with ExitStack() as open_clients:
        several = [open_clients.enter_context(neighbour(port, fresh=False, **asks)) for _ in range(CLIENTS)]
        time.sleep(seconds)
    return [wait for one in several for wait in one.waits], [error for one in several for error in one.errors]


def attack(names: Sequence[str], port: int, key: str, begun: EventType) -> None:
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
    begun.set()
    time.sleep(3600)


def beside(names: Sequence[str], port: int, keys: tuple[str, str], seconds: float) -> tuple[list[float], list[str]]:
    """What clients met beside these attackers."""
    context = multiprocessing.get_context("spawn")
    begun = context.Event()
    process = context.Process(target=attack, args=(names, port, keys[1], begun))
    process.start()
    try:
        begun.wait(120)  # it imports first
        time.sleep(1)
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
    parser.add_argument("kinds", nargs="*", metavar="kind", help=f"all unless some are named: {', '.join(KINDS)}")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="stagewise-attackers-") as name, running(Path(name)) as service:
        other = key_of("attacker", Path(name))
        return run(service, other, options.kinds or list(KINDS), options.seconds, each=options.each)


if __name__ == "__main__":
    sys.exit(main())
