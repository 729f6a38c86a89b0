"""A job says in which phase it is, how far that is, and how long it will still take."""

import time
from dataclasses import replace

import pytest
from sqlalchemy import select

from hrmodel.workouts.simulate import simulate_workouts
from service.registry import jobs, model_versions
from service.registry.tables import DatasetKind, Job, JobEvent, JobState
from worker import phases, reporter
from worker.phases import PhaseClock
from worker.reporter import Reporter
from worker.runner import run_job

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def told(context, monkeypatch):
    """Phase, done, total and progress of the job's row after each report; a report at every step of the work."""
    rows = []
    real = Reporter.report

    def report(self):
        real(self)
        with context.database.reading() as session:
            job = session.get_one(Job, self.claim.job_id)
        if job.state == JobState.RUNNING and job.phase:
            rows.append((job.phase, job.phase_done, job.phase_total, job.progress))

    monkeypatch.setattr(reporter, "TELL_SECONDS", 0.0)
    monkeypatch.setattr(Reporter, "report", report)
    return rows


def phases_of(context, job_id) -> list[tuple[int, str, float]]:
    with context.database.reading() as session:
        events = session.scalars(select(JobEvent).where(JobEvent.job_id == job_id).order_by(JobEvent.id)).all()
    return [(e.attempt, e.detail["phase"], e.detail["total"]) for e in events if e.event == "phase"]


def shipped_id(context):
    with context.database.reading() as session:
        return model_versions.shipped(session).id


@on_sqlite
def test_a_personal_job_goes_through_its_phases_in_order_and_moves_in_each(
    context, submit, dataset_id, work, job_row, told
):
    job_id = submit(dataset_id, "stage1", start=shipped_id(context), epochs=3)
    work()
    assert job_row(job_id).state == JobState.SUCCEEDED
    assert phases_of(context, job_id) == [
        (1, "reading", 12), (1, "targets", 9), (1, "training", 3), (1, "testing", 3), (1, "deciding", 3),
    ]  # fmt: skip
    for name in ("reading", "targets", "training", "testing"):
        done = [row[1] for row in told if row[0] == name]
        assert done[0] == 0
        assert done == sorted(done)
        assert len(set(done)) >= 3, name
    progress = [row[3] for row in told]
    assert progress == sorted(progress)
    assert all(0 <= done <= total for _, done, total, _ in told)


@on_sqlite
def test_a_base_also_calibrates_its_bands(context, upload, submit, work, job_row):
    dataset_id = upload(simulate_workouts(people=3, workouts=12, seed=1), kind=DatasetKind.POPULATION, subject_id=None)
    work()
    job_id = submit(dataset_id, "base", epochs=1, batch_size=8)
    work()
    assert job_row(job_id).state == JobState.SUCCEEDED
    names = [name for _, name, _ in phases_of(context, job_id)]
    assert names == ["reading", "training", "calibrating", "testing", "deciding"]


@on_sqlite
def test_an_import_reads_merges_and_scores(context, upload, work, runner_workouts, told):
    dataset_id = upload(runner_workouts)
    work()
    with context.database.reading() as session:
        job_id = session.scalars(select(Job.id).where(Job.dataset_id == dataset_id)).one()
    assert [name for _, name, _ in phases_of(context, job_id)] == ["reading", "merging", "scoring"]
    assert len({row[1] for row in told if row[0] == "scoring"}) >= 3


@on_sqlite
def test_a_cancel_is_seen_inside_the_evaluation(context, submit, dataset_id, work, job_row, told, monkeypatch):
    job_id = submit(dataset_id, "stage1", start=shipped_id(context), epochs=1)
    real = Reporter.report

    def report(self):
        real(self)
        if told and told[-1][0] == "testing" and told[-1][1] > 0 and not job_row(job_id).cancel_requested:
            with context.database.unit_of_work() as session:
                jobs.request_cancel(session, session.get_one(Job, job_id))

    monkeypatch.setattr(Reporter, "report", report)
    work()
    assert job_row(job_id).state == JobState.CANCELLED
    assert phases_of(context, job_id)[-1][1] == "testing"


@on_sqlite
def test_a_resumed_job_goes_through_the_phases_again_and_trains_on(context, submit, dataset_id, work, job_row, told):
    job_id = submit(dataset_id, "stage1", start=shipped_id(context), epochs=4)
    third_epoch = replace(context, stopping=lambda: bool(told) and told[-1][0] == "training" and told[-1][1] > 2)
    with context.database.unit_of_work() as session:
        claim = jobs.claim_next(session, "test", jobs.TRAINING_STAGES, context.lease_seconds)
    run_job(third_epoch, claim, "cpu")
    assert job_row(job_id).state == JobState.QUEUED
    told.clear()
    work()
    assert job_row(job_id).state == JobState.SUCCEEDED
    first, second = ([name for at, name, _ in phases_of(context, job_id) if at == attempt] for attempt in (1, 2))
    assert first == ["reading", "targets", "training"]
    assert second == ["reading", "targets", "training", "testing", "deciding"]
    assert next(done for name, done, _, _ in told if name == "training") == 2.0


def test_the_time_left_is_unknown_until_the_pace_is_measured_and_then_follows_it(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    clock = PhaseClock(phase=phases.Phase.TRAINING, total=20, done=4)  # resumed after four epochs
    assert clock.place().eta_seconds is None
    now[0] += 10.0
    assert clock.place().eta_seconds is None  # nothing has advanced
    clock.done = 6
    assert clock.place().eta_seconds == pytest.approx(14 * 5.0)
    clock.done = 20
    assert clock.place().eta_seconds == 0
