"""A job that works is never silent for long, however many workouts it has: between two beats lies little work."""

from collections import Counter

import pytest

from hrmodel.prediction.predictor import Predictor
from hrmodel.training.frozen_cache import FrozenLayerCache
from hrmodel.workouts.simulate import simulate_workouts
from service.registry import model_versions
from service.registry.tables import DatasetKind, JobState
from worker.reporter import Reporter

# what takes its time, once per workout or batch
WORK = ((Predictor, "predict_steps"), (Predictor, "predict_ahead"), (FrozenLayerCache, "predict"))


@pytest.fixture
def between_beats(monkeypatch):
    """The most of each kind of work that was done between two beats."""
    most, now = Counter(), Counter()

    def counted(name, original):
        def call(self, *args, **kwargs):
            now[name] += 1
            most[name] = max(most[name], now[name])
            return original(self, *args, **kwargs)

        return call

    def beat(self, *args):
        now.clear()
        return original_beat(self, *args)

    original_beat = Reporter.beat
    for owner, name in WORK:
        monkeypatch.setattr(owner, name, counted(name, getattr(owner, name)))
    monkeypatch.setattr(Reporter, "beat", beat)
    return most


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_between_two_beats_of_a_base_job_lies_the_work_of_one_workout_or_batch(
    context, upload, work, submit, job_row, between_beats
):
    people = simulate_workouts(people=3, workouts=12, seed=1)
    dataset_id = upload(people, kind=DatasetKind.POPULATION, subject_id=None)
    work()
    job_id = submit(dataset_id, "base", epochs=1, batch_size=8)
    work()
    assert job_row(job_id).state == JobState.SUCCEEDED
    assert between_beats["predict_steps"] <= 4
    assert (between_beats["predict_ahead"], between_beats["predict"]) == (1, 1)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_between_two_beats_of_a_personal_job_lies_the_work_of_one_workout_or_batch(
    context, dataset_id, work, submit, job_row, between_beats
):
    with context.database.reading() as session:
        shipped = model_versions.shipped(session).id
    job_id = submit(dataset_id, "stage1", start=shipped, epochs=2, batch_size=2)
    work()
    assert job_row(job_id).state == JobState.SUCCEEDED
    assert between_beats["predict_steps"] <= 4
    assert (between_beats["predict_ahead"], between_beats["predict"]) == (1, 1)
