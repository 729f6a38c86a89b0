"""Faults at random, all from one seed: what is killed, stopped or held, when, and for how long."""

import heapq
import itertools
import json
import os
import pickle
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ClassVar

import psycopg
import redis

from service.operations import queue
from tests.chaos.cluster import BROKER, DATABASE, LEASE, Cluster, Process, some
from tests.processes import alive, children

APART = 3.0  # s between faults at least: a worker needs 5 to 8 s to start
KILLS_WITHOUT_WARNING, KILLS_WITH_WARNING = "worker killed", "worker told to stop, then killed"
QUOTA = {  # of a whole run of 20 minutes
    KILLS_WITHOUT_WARNING: 85,
    KILLS_WITH_WARNING: 15,
    "worker told to stop": 8,
    "training process killed": 10,
    "worker stopped for longer than its lease": 15,
    "API killed": 5,
    "API's parent killed": 5,
    "API process killed": 10,
    "broker killed": 10,
    "broker flushed": 5,
    "broker filled with garbage": 6,
    "PostgreSQL killed": 10,
    "network to the database broken": 12,
    "network to the broker broken": 8,
}
Action = Callable[[], None]


def scaled(share: float) -> dict[str, int]:
    """The quota of a shorter run: one of each at least."""
    return {name: max(1, round(count * share)) for name, count in QUOTA.items()}


class Nemesis:
    """Does its faults in random order, evenly over `seconds`; `mend` ends what is still broken."""

    def __init__(self, cluster: Cluster, quota: dict[str, int], seconds: float, seed: int) -> None:
        self.cluster, self.rng = cluster, random.Random(seed)
        self.kills: list[tuple[float, set[int]]] = []  # when, and which processes
        self.done: Counter[str] = Counter()
        self.exits: list[float] = []  # s from SIGTERM to the end
        self.log: list[str] = []
        plan = [name for name, count in quota.items() for _ in range(count)]
        self.rng.shuffle(plan)
        pause = max(APART, seconds / max(1, len(plan)))
        self._plan = [(i * pause + self.rng.uniform(0, pause - APART), name) for i, name in enumerate(plan)]
        self._later: list[tuple[float, int, Action]] = []  # what ends a fault
        self._number = itertools.count()

    def run(self, each_round: Action) -> None:
        """Until the last fault is mended; `each_round` is called a few times a second."""
        began = time.monotonic()
        plan = iter(self._plan)
        coming = next(plan, None)
        while coming or self._later:
            now = time.monotonic() - began
            while self._later and self._later[0][0] <= time.monotonic():
                heapq.heappop(self._later)[2]()
            if coming and now >= coming[0]:
                self._strike(coming[1], now)
                coming = next(plan, None)
            each_round()
            time.sleep(0.1)

    def _strike(self, name: str, now: float) -> None:
        happened = self.FAULTS[name](self)
        if happened is None:  # nobody there to be hit: a second later
            self._after(1.0, lambda: self._strike(name, now + 1.0))
            return
        self.done[name] += 1
        self.log.append(f"{now:7.1f} s  {name}: {happened}")

    def _after(self, seconds: float, action: Action) -> None:
        heapq.heappush(self._later, (time.monotonic() + seconds, next(self._number), action))

    # -- workers ------------------------------------------------------------------------------------------------------

    def kill_worker(self) -> str | None:
        worker = self._victim()
        return self._kill(worker) if worker else None

    def _victim(self, among: set[int] | None = None) -> Process | None:
        """A worker without a job that has crashed twice: the third time in a row it would rightly count as poison.

        `among`: only one with a process of these."""
        rows = self._running("AND crashes >= 2")
        if rows is None:
            return None
        at_hand = [w for w in self.cluster.workers if among is None or w.family & among]
        return some([worker for worker in at_hand if not worker.family & rows], self.rng)

    def _running(self, condition: str = "") -> set[int] | None:
        """The processes of running jobs, as the rows name them; None when the database does not answer."""
        try:
            with psycopg.connect(self.cluster.database_url, connect_timeout=2) as connection:
                rows = connection.execute(f"SELECT worker FROM jobs WHERE state = 'running' {condition}").fetchall()
        except psycopg.OperationalError:
            return None
        return {int(worker.rsplit(":", 1)[1]) for (worker,) in rows}

    def _kill(self, worker: Process) -> str:
        self.kills.append((time.time(), worker.family))
        worker.signal_all(signal.SIGKILL)
        return worker.name

    def tell_and_kill_worker(self) -> str | None:
        worker = self._tell()
        if worker is None:
            return None
        told, seconds = worker.pid, self.rng.uniform(0.1, 2.0)

        def kill() -> None:
            if worker.pid == told and worker.running:
                self._kill(worker)

        self._after(seconds, kill)
        return f"{worker.name}, killed after {seconds:.1f} s"

    def tell_worker(self) -> str | None:
        worker = self._tell()
        if worker is None:
            return None
        threading.Thread(target=self._watch_exit, args=(worker.pid,), daemon=True).start()
        return worker.name

    def _tell(self) -> Process | None:
        worker = self._victim()
        if worker:
            os.kill(worker.pid, signal.SIGTERM)
        return worker

    def _watch_exit(self, told: int) -> None:
        began = time.monotonic()
        while alive({told}):
            time.sleep(0.05)
        if not any(told in pids for _, pids in self.kills):  # else it was killed meanwhile
            self.exits.append(time.monotonic() - began)

    def kill_training(self) -> str | None:
        """The process of a running job, as the job's row names it."""
        ours = {pid for worker in self.cluster.workers if not worker.stopped for pid in worker.family}
        running = sorted(ours & (self._running("AND crashes < 2") or set()))
        if not running:
            return None
        pid = self.rng.choice(running)
        self.kills.append((time.time(), {pid}))
        os.kill(pid, signal.SIGKILL)
        return f"process {pid}"

    def stop_worker(self) -> str | None:
        """One that trains: a worker without a job loses nothing in its sleep, and has nothing to write after it."""
        training = self._running("AND stage <> 'import'") or set()
        worker = self._victim(training)
        if worker is None or sum(w.stopped for w in self.cluster.workers) >= len(self.cluster.workers) - 1:
            return None
        seconds = LEASE + self.rng.uniform(1.0, 6.0)
        worker.signal_all(signal.SIGSTOP)
        worker.stopped = True

        def go_on() -> None:
            worker.signal_all(signal.SIGCONT)
            worker.stopped = False

        self._after(seconds, go_on)
        return f"{worker.name} for {seconds:.1f} s"

    # -- what they talk to --------------------------------------------------------------------------------------------

    def kill_api(self) -> str | None:
        if not self.cluster.api.running:
            return None
        self.cluster.api.signal_all(signal.SIGKILL)
        return ""

    def kill_api_parent(self) -> str | None:
        """The kernel ends the others."""
        if not self.cluster.api.running:
            return None
        os.kill(self.cluster.api.pid, signal.SIGKILL)
        return ""

    def kill_api_process(self) -> str | None:
        """One of those that serve: the other one goes on."""
        serving = sorted(children(self.cluster.api.pid)) if self.cluster.api.running else []
        if not serving:
            return None
        pid = self.rng.choice(serving)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return f"process {pid}"

    def kill_broker(self) -> str | None:
        return self._kill_server(self.cluster.valkey, signal.SIGKILL, self.rng.uniform(0.2, 8.0))

    def kill_postgresql(self) -> str | None:
        if self._near_its_end():
            return None
        how = self.rng.choice((signal.SIGKILL, signal.SIGQUIT))  # SIGQUIT: PostgreSQL's "immediate"
        return self._kill_server(self.cluster.postgresql, how, self.rng.uniform(0.2, 4.0))

    def _kill_server(self, server, number: int, seconds: float) -> str | None:
        if not server.running:
            return None
        server.kill(number)
        self._after(seconds, server.start)
        return f"{signal.Signals(number).name}, away for {seconds:.1f} s"

    def flush_broker(self) -> str | None:
        with suppress(redis.RedisError), self.cluster.broker() as broker:
            broker.flushall()
            return ""
        return None

    def fill_broker(self) -> str | None:
        """Noise, pickles and doubles in our queues."""
        proper = {"body": "W1tdLCB7fSwge31d", "content-encoding": "utf-8", "content-type": "application/json"}
        delivery = {"delivery_mode": 2, "delivery_info": {"exchange": "", "routing_key": queue.TRAINING}, "priority": 0}
        properties = {**delivery, "body_encoding": "base64", "delivery_tag": "chaos"}
        headers = {"lang": "py", "task": queue.TRAINING, "id": "chaos"}
        double = json.dumps({**proper, "headers": headers, "properties": properties})
        unknown = json.dumps({**proper, "headers": {**headers, "task": "os.system"}, "properties": properties})
        pickled = json.dumps(
            {**proper, "content-type": "application/x-python-serialize", "headers": headers, "properties": properties}
        )
        messages = [double] * 20 + [
            unknown,
            pickled,
            pickle.dumps({"task": queue.TRAINING}),
            b"\xff\x00noise",
            "{}",
            "[]",
            "null",
        ]
        self.rng.shuffle(messages)
        with suppress(redis.RedisError), self.cluster.broker() as broker:
            for name in (queue.TRAINING, queue.IMPORTS):
                broker.lpush(name, *messages)
            return ""
        return None

    def break_database_network(self) -> str | None:
        return None if self._near_its_end() else self._break(DATABASE)

    def _near_its_end(self) -> bool:
        """A job runs that has crashed twice: a lease that ends while nobody can renew it would be its third."""
        return self._running("AND crashes >= 2") != set()

    def break_broker_network(self) -> str | None:
        return self._break(BROKER)

    def _break(self, name: str) -> str:
        mode, seconds = self.rng.choice(("hold", "reset", "delay", "lose")), self.rng.uniform(0.5, 4.0)
        self.cluster.turn(name, mode, self.rng.uniform(0.05, 0.3))
        self._after(seconds, lambda: self.cluster.turn(name, "pass"))
        return f"{mode} for {seconds:.1f} s"

    FAULTS: ClassVar[dict[str, Callable[[Any], str | None]]] = {
        KILLS_WITHOUT_WARNING: kill_worker,
        KILLS_WITH_WARNING: tell_and_kill_worker,
        "worker told to stop": tell_worker,
        "training process killed": kill_training,
        "worker stopped for longer than its lease": stop_worker,
        "API killed": kill_api,
        "API's parent killed": kill_api_parent,
        "API process killed": kill_api_process,
        "broker killed": kill_broker,
        "broker flushed": flush_broker,
        "broker filled with garbage": fill_broker,
        "PostgreSQL killed": kill_postgresql,
        "network to the database broken": break_database_network,
        "network to the broker broken": break_broker_network,
    }
