"""Starts ours and the peers, each alone on a free port, gone with this process."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from service.local import preparing
from service.local.child import die_with_parent
from service.local.embedded import API
from service.registry import accounts, subjects
from service.registry.session import Database
from service.settings import Settings, environment

HERE = Path(__file__).resolve().parents[1]
START_SECONDS = 120.0
SUBJECT = "me"
LEVEL = {"heart_rate": 148.0, "spread": 13.0, "speed": 2.8, "speed_spread": 0.45, "workouts": 20}
OURS, PLAIN, TUNED, LIT = "stagewise", "plain FastAPI", "plain, 1 thread", "LitServe"


@dataclass(frozen=True)
class Server:
    """A server that listens."""

    port: int
    key: str
    pid: int
    started: float  # time.monotonic() when the process was started


@contextmanager
def running(name: str, folder: Path) -> Iterator[Server]:
    """Start ours or a peer; `folder` is for its state and its log."""
    port = free_port()
    key, command, variables = "", [], {**os.environ, "PYTHONPATH": f"{HERE.parent}:{HERE}"}
    if name == OURS:
        key, variables = prepare(folder, variables)
        command = [*API, "--host", "127.0.0.1", "--port", str(port)]
    elif name in (PLAIN, TUNED):
        if name == TUNED:
            variables["OMP_NUM_THREADS"] = "1"  # what its author finds out after some days
        serve = [sys.executable, "-m", "uvicorn", "serving.plain:app", "--no-access-log", "--log-level", "warning"]
        command = [*serve, "--port", str(port)]
    else:
        command = [sys.executable, "-m", "serving.lit", str(port)]
    started = time.monotonic()
    with listening(command, port, folder / "log", variables) as pid:
        yield Server(port=port, key=key, pid=pid, started=started)


def pause(server: Server) -> None:
    """Stop its processes where they are: some peers work without being asked."""
    os.killpg(server.pid, signal.SIGSTOP)


@contextmanager
def awake(server: Server) -> Iterator[Server]:
    """Let a paused server go on inside the block."""
    os.killpg(server.pid, signal.SIGCONT)
    yield server
    pause(server)


@contextmanager
def listening(command: list[str], port: int, log: Path, variables: dict[str, str]) -> Iterator[int]:
    """A process that listens at the port; its id."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=variables, stdout=output, stderr=output, preexec_fn=die_with_parent, start_new_session=True
        )
    try:
        _wait_for(port, process, log)
        yield process.pid
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        os.killpg(process.pid, signal.SIGCONT)
        process.wait(timeout=30)


def prepare(folder: Path, variables: dict[str, str]) -> tuple[str, dict[str, str]]:
    """A database with a key, the shipped base, and a person with a level; the environment of an API on it."""
    settings = Settings(
        state_dir=folder, broker_url_setting="redis://127.0.0.1:1/0", max_predictions_per_minute=10_000_000
    )
    preparing.prepare(settings, key_file=None)
    database = Database(settings.database_url)
    with database.unit_of_work() as session:
        account = accounts.ensure_account(session)
        key = accounts.create_key(session, account, "bench", ["predict"])
        subjects.ensure(session, account.id, SUBJECT).level = LEVEL
    database.dispose()
    return key, {**variables, **environment(settings)}


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


def _wait_for(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server does not listen: {log.read_text()[-2000:]}") from None
            time.sleep(0.1)
