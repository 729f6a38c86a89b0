"""API, worker, database and broker start in any order and come to work without anybody's help."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest

from hrmodel.workouts.simulate import simulate_runner
from service.cli.demo import write_parquet
from service.forking import die_with_parent
from service.registry.session import Database
from tests import builders, servers
from tests.processes import wait_until

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
ORDERS = (
    ("api", "worker", "broker", "database", "migrate"),
    ("worker", "database", "api", "migrate", "broker"),
    ("broker", "database", "migrate", "worker", "api"),
)


class Parts:
    """What makes up the service, each still to be started."""

    def __init__(self, folder: Path, at_end: ExitStack) -> None:
        self._at_end, self._folder = at_end, folder
        (folder / "postgresql").mkdir()
        (folder / "valkey").mkdir()
        folder.chmod(0o755)
        self._postgresql = servers.postgresql_server(folder / "postgresql")
        self._valkey = servers.valkey_server(folder / "valkey")
        self._port = servers.free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "DATABASE_URL": f"{self._postgresql.url}/stagewise",
            "BROKER_URL": self._valkey.url,
            "ARTIFACT_DIR": str(folder / "artifacts"),
            "STAGEWISE_STATE_DIR": str(folder / "state"),
            "STAGEWISE_DEVICE": "cpu",
            "STAGEWISE_PORT": str(self._port),
        }

    def start(self, name: str) -> None:
        """One part."""
        starts: dict[str, Callable[[], Any]] = {
            "api": lambda: self._run("service.cli", "api"),
            "worker": lambda: self._run("service.cli", "worker"),
            "broker": lambda: self._at_end.enter_context(self._valkey),
            "database": self._start_database,
            "migrate": lambda: self._run("service.cli", "migrate").wait(timeout=60),
        }
        starts[name]()

    def _start_database(self) -> None:
        self._at_end.enter_context(self._postgresql)
        with psycopg.connect(f"{self._postgresql.url}/postgres", autocommit=True) as connection:
            connection.execute("CREATE DATABASE stagewise")

    def _run(self, *command: str) -> "subprocess.Popen[bytes]":
        with (self._folder / f"{command[-1]}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *command],
                env=self._environment,
                cwd=ROOT,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent,
            )
        self._at_end.callback(process.wait)
        self._at_end.callback(process.terminate)
        return process

    def key(self) -> str:
        """A new one."""
        database = Database(self._environment["DATABASE_URL"])
        self._at_end.callback(database.dispose)
        return builders.add_key(database, "admin")


@pytest.fixture
def parts() -> Iterator[Parts]:
    # not pytest's folder: PostgreSQL's user may not enter it
    with tempfile.TemporaryDirectory(prefix="stagewise-order-") as folder, ExitStack() as at_end:
        yield Parts(Path(folder), at_end)


@pytest.mark.parametrize("order", ORDERS, ids=", ".join)
def test_in_any_order_of_start_an_upload_is_imported(parts, order, tmp_path):
    for name in order:
        parts.start(name)
    wait_until(lambda: _ready(parts.url), 60)
    write_parquet(simulate_runner(workouts=3), tmp_path / "runs.parquet")
    content, headers = (tmp_path / "runs.parquet").read_bytes(), {"Authorization": f"Bearer {parts.key()}"}
    with httpx2.Client(base_url=parts.url, headers=headers, timeout=30) as client:
        answer = client.post("/datasets", params={"subject": "me"}, content=content)
        assert answer.status_code == 202, answer.text
        job = answer.json()["job_id"]
        wait_until(lambda: client.get(f"/jobs/{job}").json()["state"] == "succeeded", 120)


def _ready(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/readyz", timeout=10).status_code == 200
    except httpx2.TransportError:
        return False
