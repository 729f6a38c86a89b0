"""A worker that is killed: its job goes on elsewhere and ends as if nothing had happened."""

import subprocess
import sys
import time
from uuid import UUID

import pytest
from sqlalchemy import select

from service.registry import jobs
from service.registry.tables import Dataset, EpochMetrics, Job, JobState, Stage
from tests.worker.fake_job import EPOCHS, uninterrupted

LEASE = 2.0


def start(database_url: str, store) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.worker.fake_job", database_url, str(store.root), str(LEASE), "0.3"]
    return subprocess.Popen(command)


def wait_for_epoch(database, job_id: UUID, epoch: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with database.reading() as session:
            if session.get_one(Job, job_id).epoch >= epoch:
                return
        time.sleep(0.05)
    pytest.fail(f"epoch {epoch} was not reached")


@pytest.mark.slow
def test_a_fake_job_of_8_epochs_survives_kill_9_without_losing_or_doubling_an_epoch(
    database, database_url, store, make_dataset
):
    dataset_id = make_dataset().id
    with database.unit_of_work() as session:
        job_id = jobs.add(session, session.get_one(Dataset, dataset_id), stage=Stage.STAGE1, configuration={}).id
    first = start(database_url, store)
    wait_for_epoch(database, job_id, 3)
    first.kill()
    first.wait()
    second = start(database_url, store)
    assert second.wait(timeout=60) == 0
    with database.reading() as session:
        job = session.get_one(Job, job_id)
        epochs = session.scalars(select(EpochMetrics.epoch).where(EpochMetrics.job_id == job_id)).all()
        assert (job.state, job.attempt) == (JobState.SUCCEEDED, 2)
        assert job.result == {"digest": uninterrupted().hex()}
        assert sorted(epochs) == list(range(1, EPOCHS + 1))
