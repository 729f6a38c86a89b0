"""Recordings that nobody stopped: they are cut to a day, and a job with them is never silent for long."""

import resource
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from sqlalchemy import select

from hrmodel.workouts.workout import Workout
from service.registry import model_versions
from service.registry.tables import Dataset, DatasetState, DatasetWorkout, Job, JobState, WorkoutRow
from worker.data import load_workout
from worker.reporter import Reporter

MEGABYTE = 1024  # of ru_maxrss


def recording(every: float, seconds: float, **changes) -> Workout:
    t = np.arange(0.0, seconds, every)
    heart_rate = np.round(135 + 15 * np.sin(t / 300) + np.random.default_rng(0).normal(0, 2, len(t)))
    values = {"t": t, "speed": 2.5 + 0.4 * np.sin(t / 300), "altitude": 20 * np.sin(t / 900), "heart_rate": heart_rate}
    return Workout(**values | changes)


def rows_of(context, dataset_id):
    with context.database.reading() as session:
        workouts = session.scalars(select(DatasetWorkout).where(DatasetWorkout.dataset_id == dataset_id)).all()
        job = session.scalars(select(Job).where(Job.dataset_id == dataset_id)).one()
        return session.get_one(Dataset, dataset_id), workouts, job


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_41_days_of_a_point_a_minute_are_imported_as_one_day_at_the_first_attempt(context, upload, work):
    dataset_id = upload([recording(60.0, 59_040 * 60.0)], min_hr_per_minute=0.0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    work()
    dataset, (workout,), job = rows_of(context, dataset_id)
    assert (dataset.state, job.state, job.attempt) == (DatasetState.READY, JobState.SUCCEEDED, 1)
    assert [reason["code"] for reason in workout.reasons] == ["too_long"]
    assert workout.duration_s == 86_340.0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * MEGABYTE


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_day_among_the_test_workouts_is_scored_and_the_job_beats_several_times_inside_it(
    context, upload, work, runner_workouts, monkeypatch
):
    beats = []
    original = Reporter.beat
    monkeypatch.setattr(Reporter, "beat", lambda self, *args: (beats.append(1), original(self, *args))[1])
    newest = runner_workouts[-1]
    day = recording(5.0, 86_400.0, started_at=newest.started_at + timedelta(days=30), person=newest.person)
    dataset_id = upload([*runner_workouts, day])
    work()
    dataset, workouts, job = rows_of(context, dataset_id)
    assert (dataset.state, job.attempt, len(workouts)) == (DatasetState.READY, 1, 13)
    with context.database.reading() as session:
        report = model_versions.evaluation(session, model_versions.shipped(session).id, dataset_id).report
    assert report["per_workout"][-1]["minutes"] == 1440.0
    tests, baselines, tasks = 3, 4, 5
    assert len(beats) > tests * tasks * (1 + baselines)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_what_was_stored_before_there_were_bounds_is_read_within_them(context, upload, work, runner_workouts):
    dataset_id = upload([replace(workout, started_at=None) for workout in runner_workouts[:1]])
    work()
    dataset, _, _ = rows_of(context, dataset_id)
    digest = context.store.put(dataset.account_id, recording(60.0, 30 * 86_400.0).to_bytes())
    stored = WorkoutRow(digest=digest, account_id=dataset.account_id)
    gridded = load_workout(context.store, dataset.account_id, stored)
    assert sum(segment.steps for segment in gridded.segments) <= 8_640
