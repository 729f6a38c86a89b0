"""A real API process on SQLite, with a person, a job and models to ask for; nothing listens at its broker's address."""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.forking import die_with_parent
from service.local.embedded import API
from service.local.preparing import prepare
from service.registry.artifacts import ArtifactStore
from service.registry.session import Database
from service.settings import Settings, environment
from tests import builders
from tests.processes import memory
from tests.servers import free_port

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 120.0


@dataclass(frozen=True)
class ApiProcess:
    """An API that answers, and what its account has."""

    port: int
    key: str  # an admin key
    pid: int  # the parent of its processes
    folder: Path
    named: dict[str, Any]  # something for every name that an operation takes

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def resident_bytes(self) -> int:
        """Memory that its processes hold now."""
        return memory(self.pid)

    def log(self) -> str:
        """Everything that it wrote."""
        return (self.folder / "api.log").read_text()

    def uploads(self) -> set[Path]:
        """Files of the account, temporary ones too."""
        return {path for path in (self.folder / "artifacts").rglob("*") if path.is_file()}


@contextmanager
def running_api(folder: Path, **changed: Any) -> Iterator[ApiProcess]:
    """Start it on a free port; gone with this process."""
    nowhere = {"broker_url_setting": "redis://127.0.0.1:1/0"}
    settings = Settings(state_dir=folder, port=free_port(), **{**nowhere, **changed})
    prepare(settings, key_file=None)
    database, store = Database(settings.database_url), ArtifactStore(settings.artifact_dir)
    key, named = builders.add_key(database, "admin"), add_things(database, store)
    database.dispose()
    command = [*API, "--host", settings.host, "--port", str(settings.port)]
    variables = {**environment(settings), "PYTHONPATH": str(ROOT)}
    with (folder / "api.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=variables, stdout=log, stderr=log, preexec_fn=die_with_parent)
    try:
        wait_for(settings.port, process)
        yield ApiProcess(port=settings.port, key=key, pid=process.pid, folder=folder, named=named)
    finally:
        process.terminate()
        process.wait(timeout=30)


def add_things(database: Database, store: ArtifactStore) -> dict[str, Any]:
    """A person whose model serves, with epochs and an evaluation, as far as requests can name it."""
    dataset = builders.add_ready(database)
    version = builders.add_version(database, store, dataset)
    builders.crown(database, dataset.subject_id, version)
    builders.add_evaluation(database, version, dataset, 5.0)
    with database.reading() as session:
        job = session.get_one(builders.Job, version.job_id)
    builders.add_epochs(database, job, 3)
    ids = dict.fromkeys(("version_id", "model_version_id", "base_model_version_id", "stage1_model_version_id"))
    return {
        **dict.fromkeys(ids, version.id),
        "dataset_id": dataset.id,
        "job_id": job.id,
        "parent_id": job.id,
        "workout_id": builders.add_recorded(database, store, dataset).digest,
        "subject": "me",
    }


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    """Return once it listens."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert process.poll() is None, "the API ended"
            assert time.monotonic() < deadline, "the API does not listen"
            time.sleep(0.1)
