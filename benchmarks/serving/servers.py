"""Starts `stagewise up` and its peers, each on a free port, gone with this process."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from hrmodel.workouts.simulate import simulate_runner
from service.cli.demo import write_parquet
from service.client.client import Client
from service.local import background
from service.local.child import die_with_parent
from serving import trees

HERE = Path(__file__).resolve().parents[1]
START_SECONDS, STOP_SECONDS = 120.0, 30.0
SUBJECT, WORKOUTS = "me", 20
CORES = max(2, min(os.cpu_count() or 1, 8))  # a peer that uses all of a machine is what ours is compared with
OURS, PLAIN, LEAN, LEAN_ALL = "stagewise up", "plain FastAPI", "lean, 1 process", f"lean, {CORES} processes"
ALL = str(CORES)
LITS = {  # batches of 8 where nothing else is said
    "1 worker": (),
    f"{CORES} workers": ("--workers", ALL),
    "fast queue": ("--fast-queue",),
    f"{CORES} workers, {CORES} APIs": ("--workers", ALL, "--apis", ALL),
    "batches of 4": ("--batch", "4"),
    "batches of 16": ("--batch", "16"),
    "no batches": ("--batch", "1"),
}
UVICORN = ("-m", "uvicorn", "--no-access-log", "--log-level", "warning")
FAST = ("--loop", "uvloop", "--http", "httptools")
PEERS = {
    PLAIN: (*UVICORN, "serving.plain:app", "--port"),
    LEAN: (*UVICORN, *FAST, "serving.lean:app", "--port"),
    LEAN_ALL: (*UVICORN, *FAST, "--workers", ALL, "serving.lean:app", "--port"),
    **{f"LitServe, {name}": ("-m", "serving.lit", *options) for name, options in LITS.items()},
}
# a minute of one account's predictions is limited, and a benchmark is one account
UNLIMITED = {"STAGEWISE_MAX_PREDICTIONS_PER_MINUTE": "1000000000"}


@dataclass(frozen=True)
class Server:
    """A server that listens."""

    port: int
    key: str
    pid: int  # of the process above all of its processes
    started: float  # time.monotonic() when it was started


@contextmanager
def running(name: str, folder: Path, **variables: str) -> Iterator[Server]:
    """Start ours, as its users do, with these variables of the environment, or a peer; `folder` is for its files."""
    folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    if name.startswith(OURS):
        with background.running(folder / "state", **UNLIMITED, **variables) as service:
            yield Server(int(service.url.rpartition(":")[2]), service.key, service.pid, started)
        return
    port, path = free_port(), {"PYTHONPATH": f"{HERE.parent}:{HERE}"}
    command = [sys.executable, *PEERS[name], str(port)]
    with listening(command, port, folder / "log", {**os.environ, **path}) as pid:
        yield Server(port, "", pid, started)


def import_person(server: Server, folder: Path, subject: str = SUBJECT, workouts: int = WORKOUTS) -> None:
    """Upload a simulated runner, whom the shipped base serves from then on."""
    upload = write_parquet(simulate_runner(workouts=workouts), folder / f"{subject}.parquet")
    with Client(f"http://127.0.0.1:{server.port}", server.key) as client:
        client.wait(client.upload_dataset(upload, subject=subject)["job_id"])


@contextmanager
def paused(server: Server) -> Iterator[None]:
    """Stop a server's processes inside the block: most work a little without being asked."""
    trees.pause(server.pid)
    try:
        yield
    finally:
        trees.resume(server.pid)


def lits() -> list[str]:
    """LitServe's configurations; none where it is not installed."""
    return [f"LitServe, {name}" for name in LITS] if find_spec("litserve") else []


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
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=STOP_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


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
