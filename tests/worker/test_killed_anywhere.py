"""A training job that dies in every epoch is the uninterrupted job, bit for bit: all that it knows is in files and rows."""

import os
import random
import signal
import subprocess
import sys

import pytest
from sqlalchemy import select

from hrmodel.network.checkpoint import Checkpoint
from service.registry import jobs, model_versions
from service.registry.tables import BackupPin, EpochMetrics, JobEvent, JobState
from tests.builders import on_sqlite
from tests.clock import bound_clock
from tests.worker.dying_job import BATCHES, dies_at
from worker import training
from worker.reporter import Reporter
from worker.runner import run_job

STAGES = {
    "stage1": {"recipe": "auto", "epochs": 4, "batch_size": 2},  # averaged weights
    "stage2": {"recipe": "original", "epochs": 20, "batch_size": 2, "learning_rate": 0.1, "patience": 2},  # stops early
}


class Died(BaseException):
    """What no handler sees: the process is gone."""


def die():
    raise Died


@pytest.fixture
def queue(context, submit, dataset_id):
    with context.database.reading() as session:
        start = model_versions.shipped(session).id
    with context.database.unit_of_work() as session:
        session.add(BackupPin(until=1e12))  # files that are to go stay to be compared
    return lambda stage: submit(dataset_id, stage, start=start, **STAGES[stage])


def everything(context, job_id):
    """The last checkpoint (weights, averages, optimiser, scheduler, early stopping, history), the version, all rows."""
    with context.database.reading() as session:
        job, version = session.get_one(jobs.Job, job_id), model_versions.of_job(session, job_id)
        rows = session.scalars(select(EpochMetrics).where(EpochMetrics.job_id == job_id).order_by(EpochMetrics.epoch))
        epochs = [(row.epoch, row.train_loss, row.val_loss, row.learning_rate) for row in rows]
        ends = (JobEvent.job_id == job_id) & (JobEvent.event == "checkpoint")
        last = session.scalars(select(JobEvent.detail).where(ends).order_by(JobEvent.id.desc())).first()["sha256"]
        report = model_versions.evaluation(session, version.id, job.dataset_id).report
    latest = Checkpoint.from_bytes(context.store.read(job.account_id, last))
    latest.training_meta.pop("job_id")
    for entry in (*latest.history, *latest.training_meta["history"]):
        entry.pop("epoch_time")
    served = Checkpoint.from_bytes(context.store.read(version.account_id, version.sha256))
    for entry in served.history:
        entry.pop("epoch_time")
    return {
        "latest": latest.to_bytes(),
        "served": served.to_bytes(),
        "epochs": epochs,
        "report": report,
    }


def attempt(context):
    """Run the job until it dies or ends; whether it died. Its lease is over at once."""
    with context.database.unit_of_work() as session:
        mine = jobs.claim_next(session, "test", jobs.TRAINING_STAGES, context.lease_seconds)
    try:
        run_job(context, mine, "cpu")
    except Died:
        lease_is_over(context)
        return True
    return False


def lease_is_over(context):
    with bound_clock(1e12), context.database.unit_of_work() as session:
        assert jobs.reconcile(session) == 1


def in_a_batch(monkeypatch, epoch, chance):
    monkeypatch.setattr(training, "fit", dies_at(epoch, chance.randint(1, BATCHES), die))


def before_the_row(monkeypatch, epoch, chance):
    record = Reporter.epoch
    monkeypatch.setattr(Reporter, "epoch", lambda s, r: die() if r.metrics["epoch"] == epoch else record(s, r))


def after_the_row(monkeypatch, epoch, chance):
    record = Reporter.epoch
    monkeypatch.setattr(Reporter, "epoch", lambda s, r: (record(s, r), r.metrics["epoch"] == epoch and die()))


@pytest.fixture
def dies_in_every_epoch(context, queue, work, job_row, monkeypatch):
    def check(stage, moment):
        whole = queue(stage)
        work()
        killed, chance, epoch = queue(stage), random.Random(stage), 1
        while True:
            with monkeypatch.context() as patched:
                moment(patched, epoch, chance)
                if not attempt(context):
                    break
            epoch += 1
        trained = len(everything(context, whole)["epochs"])
        assert trained == 4 if stage == "stage1" else trained < 20
        assert (job_row(killed).state, job_row(killed).attempt) == (JobState.SUCCEEDED, trained + 1)
        assert everything(context, killed) == everything(context, whole)

    return check


@pytest.mark.parametrize("stage", STAGES)
def test_a_job_that_dies_in_every_epoch_at_a_random_batch_is_the_uninterrupted_one(dies_in_every_epoch, stage):
    dies_in_every_epoch(stage, in_a_batch)


@on_sqlite
@pytest.mark.parametrize("moment", [before_the_row, after_the_row])
def test_so_is_one_that_dies_between_the_file_and_the_row_of_every_epoch_or_after_it(dies_in_every_epoch, moment):
    dies_in_every_epoch("stage1", moment)


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_a_job_whose_process_is_killed_with_signal_9_is_the_uninterrupted_one(
    context, database_url, queue, work, job_row, stage
):
    whole = queue(stage)
    work()
    killed, chance = queue(stage), random.Random(stage)
    where = ["3", str(chance.randint(1, BATCHES))]
    command = [sys.executable, "-m", "tests.worker.dying_job", database_url, str(context.store.root), *where]
    died = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=120)
    assert died.returncode == -signal.SIGKILL
    assert (job_row(killed).state, job_row(killed).epoch) == (JobState.RUNNING, 2)
    lease_is_over(context)
    work()
    assert (job_row(killed).state, job_row(killed).attempt) == (JobState.SUCCEEDED, 2)
    assert everything(context, killed) == everything(context, whole)
