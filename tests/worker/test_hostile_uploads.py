"""A real worker imports what was made to hurt it: every job ends, and the same processes go on."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select

from service.operations import queue
from service.registry.tables import TERMINAL_STATES, DatasetFile, Job, JobState
from tests import hostile_files, hostile_recordings, servers
from tests.processes import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.parametrize("database_url", ["postgresql"], indirect=True),  # which checks every text and length
    pytest.mark.filterwarnings("ignore::UserWarning"),  # torch and pyarrow tell of experiments as the files are made
]
ROOT = Path(__file__).resolve().parents[2]
LARGE = ("a million records.fit", "a million points.gpx", "ten tracks of 100000 points.gpx", "a line of 200 MB.json")
EVERY = 20  # of those that need torch: each takes seconds to load it
SECONDS = 1500.0
REFUSALS = ("unreadable_upload", "no_workouts", "several_people")


@pytest.fixture
def worker(database_url: str, context, store, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker with a broker of its own."""
    with servers.valkey(tmp_path) as url, (tmp_path / "worker.log").open("wb") as log:
        environment = {
            **os.environ,
            "DATABASE_URL": database_url,
            "BROKER_URL": url,
            "ARTIFACT_DIR": str(store.root),
            "STAGEWISE_DEVICE": "cpu",
            "STAGEWISE_STATE_DIR": str(tmp_path),
        }
        command = [sys.executable, "-m", "celery", "-A", "worker.app", "worker", "-l", "INFO"]
        process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=log, stderr=log)
        try:
            queue.BrokerSender(url).send(queue.IMPORTS)
            yield process
        finally:
            process.kill()
            process.wait()


def hostile() -> Iterator[tuple[str, bytes]]:
    """Most of the corpus."""
    small = list(hostile_files.small())
    torch = [one for one in small if one[0].endswith("/train.pt")]
    yield from (one for one in small if one not in torch)
    yield from torch[::EVERY]
    yield from (one for one in hostile_recordings.large() if one[0] in LARGE)


def test_a_worker_outlives_the_import_of_every_hostile_file_and_then_imports_a_good_one(
    context, upload, worker, runner_workouts
):
    names = {
        upload(content, name=name.rsplit("/", 1)[-1], subject=f"s{number}"): name
        for number, (name, content) in enumerate(hostile())
    }
    assert len(names) > 240
    wait_until(lambda: not unfinished(context), SECONDS)
    good = upload(runner_workouts)
    wait_until(lambda: not unfinished(context), 300)

    with context.database.reading() as session:
        jobs = {job.dataset_id: job for job in session.scalars(select(Job))}
        reported = set(session.scalars(select(DatasetFile.dataset_id)))
    assert jobs[good].state == JobState.SUCCEEDED
    assert {names[dataset] for dataset in names if not ended_well(jobs[dataset])} == set()
    assert {names[dataset] for dataset in names.keys() - reported} == set()
    assert worker.poll() is None
    assert {job.attempt for job in jobs.values()} == {1}, "no process died of one"
    assert list((context.store.root / "scratch").iterdir()) == []


def ended_well(job: Job) -> bool:
    """At once, for a reason that lies in the file."""
    if job.state == JobState.SUCCEEDED:
        return job.attempt == 1
    return job.attempt == 1 and job.error_code in REFUSALS and bool(job.error_message)


def unfinished(context) -> int:
    with context.database.reading() as session:
        jobs = select(func.count()).select_from(Job).where(Job.state.not_in(TERMINAL_STATES))
        return session.scalar(jobs)
