"""The whole service in real processes, each of which may be killed: PostgreSQL, Valkey, proxies, API, workers."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
import redis

from hrmodel.network.checkpoint import Checkpoint
from hrmodel.network.original_format import to_original_pt
from hrmodel.signals.contract import FeatureContract
from service.forking import die_with_parent
from service.registry.artifacts import ArtifactStore
from service.registry.session import Database
from service.registry.shipped import install_shipped_base
from tests import servers
from tests.chaos import entry
from tests.chaos.proxy import Proxies
from tests.network_builders import tiny_network
from tests.processes import alive, descendants

ROOT = Path(__file__).resolve().parents[2]
LEASE = 6.0
WORKERS = 4
DATABASE, BROKER = "database", "broker"  # what stands behind a proxy


@dataclass
class Process:
    """One of ours, started again when it has ended."""

    name: str
    launch: Callable[[Path], int]  # takes the log, gives the process id
    log: Path
    pid: int = 0
    stopped: bool = False  # by SIGSTOP
    started: float = 0.0  # epoch seconds

    def start(self) -> None:
        self.pid, self.stopped, self.started = self.launch(self.log), False, time.time()

    @property
    def running(self) -> bool:
        return bool(alive({self.pid}))

    @property
    def family(self) -> set[int]:
        return {self.pid, *descendants(self.pid)} if self.running else set()

    def signal_all(self, number: int) -> None:
        """To the process and everything that it started, at the same instant."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)


class Template:
    """A process that has loaded what a worker needs, and forks one when asked: entry.py."""

    def __init__(self, environment: dict[str, str]) -> None:
        command = [sys.executable, "-m", "tests.chaos.entry"]
        self._process = subprocess.Popen(
            command, env=environment, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def fork(self, log: Path) -> int:
        self._process.stdin.write(f"{log}\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


class Cluster:
    """Everything running; ends with the `with` block. `without`: a promise that the workers break (entry.py)."""

    def __init__(self, folder: Path, without: str = "") -> None:
        self.folder, self.artifacts = folder, folder / "artifacts"
        self._at_end = ExitStack()
        (folder / "postgresql").mkdir()
        (folder / "valkey").mkdir()
        folder.chmod(0o755)
        self.postgresql = servers.postgresql_server(folder / "postgresql")
        self.valkey = servers.valkey_server(folder / "valkey")
        self.ports = {name: servers.free_port() for name in (DATABASE, BROKER, "api")}
        self.database_url = f"{self.postgresql.url}/stagewise"  # past the proxy
        self.api_url = f"http://127.0.0.1:{self.ports['api']}"
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "DATABASE_URL": f"postgresql://postgres@127.0.0.1:{self.ports[DATABASE]}/stagewise",
            "BROKER_URL": f"redis://127.0.0.1:{self.ports[BROKER]}/0",
            "ARTIFACT_DIR": str(self.artifacts),
            "STAGEWISE_STATE_DIR": str(folder / "state"),
            "STAGEWISE_LEASE_SECONDS": str(LEASE),
            "STAGEWISE_DEVICE": "cpu",
            "STAGEWISE_PORT": str(self.ports["api"]),
            "STAGEWISE_API_PROCESSES": "2",
            entry.WITHOUT: without,
        }
        self._apis: list[subprocess.Popen[bytes]] = []
        self.api = Process("api", self._launch_api, folder / "api.log")
        names = [f"worker{number}" for number in range(WORKERS)]
        self.workers = [Process(name, lambda log: self._template.fork(log), folder / f"{name}.log") for name in names]

    def __enter__(self) -> "Cluster":
        with ExitStack() as started:
            started.enter_context(self.postgresql)
            started.enter_context(self.valkey)
            with psycopg.connect(f"{self.postgresql.url}/postgres", autocommit=True) as connection:
                connection.execute("CREATE DATABASE stagewise")
            behind = {DATABASE: _port(self.postgresql.url), BROKER: _port(self.valkey.url.removesuffix("/0"))}
            self.proxies = Proxies({self.ports[name]: port for name, port in behind.items()})
            started.callback(self.proxies.close)
            self._template = Template(self.environment)
            started.callback(self._template.close)
            self._migrate()
            started.callback(self._reap_apis)
            for process in self.processes:
                started.callback(self._end, process)
                process.start()
            self._at_end = started.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._at_end.close()

    @property
    def processes(self) -> list[Process]:
        return [self.api, *self.workers]

    @property
    def key(self) -> str:
        return (self.folder / "state" / "api-key").read_text().strip()

    def keep_alive(self) -> None:
        """Start again what has ended."""
        for process in self.processes:
            if not process.running:
                process.signal_all(signal.SIGKILL)  # nothing of the old one may go on beside the new one
                process.start()

    def turn(self, name: str, mode: str, seconds: float = 0.0) -> None:
        """Let the network to the database or the broker behave so."""
        self.proxies.turn(self.ports[name], mode, seconds)

    def broker(self) -> redis.Redis:
        """A client past the proxy."""
        return redis.Redis.from_url(self.valkey.url)

    def wait_until_ready(self, seconds: float = 60.0) -> None:
        """Every worker says so in its log."""
        deadline = time.monotonic() + seconds
        while not all(b"ready." in worker.log.read_bytes() for worker in self.workers):
            assert time.monotonic() < deadline, "the workers did not start"
            time.sleep(0.2)

    def _launch_api(self, log: Path) -> int:
        command = [sys.executable, "-m", "service.cli", "api"]
        with log.open("ab") as output:
            popen = subprocess.Popen(
                command,
                env=self.environment,
                cwd=ROOT,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        self._apis.append(popen)  # kept: it is ours to wait for
        return popen.pid

    def _end(self, process: Process) -> None:
        process.signal_all(signal.SIGKILL)
        servers.wait_until_gone({process.pid})

    def _reap_apis(self) -> None:
        for api in self._apis:
            api.wait()

    def _migrate(self) -> None:
        command = [sys.executable, "-m", "service.cli", "migrate", "--key-file", str(self.folder / "state" / "api-key")]
        subprocess.run(command, env=self.environment, cwd=ROOT, check=True)
        database = Database(self.database_url)
        install_shipped_base(database, ArtifactStore(self.artifacts), _tiny_base(self.folder / "base"))
        database.dispose()


def _port(url: str) -> int:
    return int(url.rsplit(":", 1)[1])


def _tiny_base(folder: Path) -> Path:
    """The files of a base model of 8 hidden units; installed last, it is the one that new subjects start from."""
    folder.mkdir()
    model = tiny_network()
    facts = {"data_digest": "d" * 64, "code_version": "chaos"}
    checkpoint = Checkpoint(
        network=model.config,
        contract=FeatureContract(),
        weights=model.state_dict(),
        stage="base",
        configuration={},
        history=[],
        **facts,
    )
    checkpoint.write(folder / "base.safetensors")
    to_original_pt(checkpoint, folder / "base.pt")
    (folder / "base.json").write_text(json.dumps(facts))
    return folder


def some(choices: list[Process], rng: random.Random) -> Process | None:
    """One of those that run and are not stopped."""
    able = [process for process in choices if process.running and not process.stopped]
    return rng.choice(able) if able else None
