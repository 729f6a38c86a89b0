"""A cancel at any point of a job's life; a job that kills its workers."""

import os
from collections import Counter
from dataclasses import replace

import pytest
from sqlalchemy import select

from service.errors import Conflict
from service.registry import jobs, leftovers, model_versions, promotion
from service.registry.tables import Job, JobEvent, JobState
from tests.builders import files_of
from tests.clock import bound_clock
from worker import training
from worker.runner import run_job

POINTS = 20


class Died(BaseException):
    """What no handler sees: the process is gone."""


@pytest.fixture
def stage1(context, submit, dataset_id):
    with context.database.reading() as session:
        start = model_versions.shipped(session).id
    return lambda: submit(dataset_id, "stage1", start=start, epochs=3, batch_size=4)


def claim(context):
    with context.database.unit_of_work() as session:
        return jobs.claim_next(session, "test", jobs.TRAINING_STAGES, context.lease_seconds)


def ask_to_cancel(context, job_id) -> bool:
    """False: the job had ended."""
    try:
        with context.database.unit_of_work() as session:
            jobs.request_cancel(session, session.get_one(Job, job_id))
    except Conflict:
        return False
    return True


class At:
    """Does something at the n-th question whether the worker shuts down: it asks wherever work advances."""

    def __init__(self, number, action=lambda: None):
        self.number, self.action, self.asked = number, action, 0

    def __call__(self):
        if self.asked == self.number:
            self.action()
        self.asked += 1
        return False


@pytest.mark.slow
def test_a_cancel_at_any_of_twenty_points_of_a_jobs_life_ends_it_once_and_registers_nothing(context, stage1, job_row):
    hasty = replace(context, lease_seconds=0.0)  # a heartbeat at every chance
    whole = At(-1)
    stage1()
    with context.database.unit_of_work() as session:
        mine = jobs.claim_next(session, "test", jobs.TRAINING_STAGES, 60.0)
    run_job(replace(hasty, stopping=whole), mine, "cpu")
    assert whole.asked >= POINTS
    account, serving = job_row(mine.job_id).account_id, champion(context, mine.job_id)
    for point in range(POINTS):
        before, job_id = files_of(context.store, account), stage1()
        mine = claim(context)
        asks = At(point * whole.asked // POINTS, lambda job_id=job_id: ask_to_cancel(context, job_id))
        run_job(replace(hasty, stopping=asks), mine, "cpu")
        job = job_row(job_id)
        assert (job.state, job.result) == (JobState.CANCELLED, None), point
        with context.database.reading() as session:
            ends = Counter(session.scalars(select(JobEvent.event).where(JobEvent.job_id == job_id)))
            assert model_versions.of_job(session, job_id) is None
        assert (ends["cancelled"], ends["succeeded"], ends["failed"]) == (1, 0, 0)
        assert not ask_to_cancel(context, job_id)
        for path in files_of(context.store, account) - before:
            os.utime(path, (0, 0))
        leftovers.work_off(context.database, context.store, hurried=True)
        assert files_of(context.store, account) == before, point  # a model that was not registered, checkpoints
        assert champion(context, job_id) == serving


def champion(context, job_id):
    with context.database.reading() as session:
        return promotion.require(session, session.get_one(Job, job_id).subject_id).model_version_id


def test_a_job_that_kills_every_worker_gets_three_attempts_and_the_queue_moves_on(
    context, stage1, work, job_row, monkeypatch
):
    poison, later = stage1(), stage1()
    train = training.train

    def kills(reporter, job, device):
        if job.id == poison:
            raise Died
        train(reporter, job, device)

    monkeypatch.setattr(training, "train", kills)
    for _ in range(3):
        with pytest.raises(Died):
            work()
        with bound_clock(1e12), context.database.unit_of_work() as session:
            assert jobs.reconcile(session) == 1
    work()
    job = job_row(poison)
    assert (job.state, job.error_code, job.attempt) == (JobState.FAILED, "worker_crashed", 3)
    assert job_row(later).state == JobState.SUCCEEDED
