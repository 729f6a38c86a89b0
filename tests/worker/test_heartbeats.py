"""A job that works is never silent for long, however many workouts it has: between two beats lies little work."""

from collections import Counter
from dataclasses import replace

import psycopg
import pytest
from sqlalchemy import event
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from hrmodel.network.lstm import HeartRateLSTM
from hrmodel.prediction import passes
from hrmodel.training.frozen_cache import FrozenLayerCache
from hrmodel.workouts.simulate import simulate_workouts
from service.registry import jobs, model_versions
from service.registry.tables import DatasetKind, JobState, Stage
from tests import registry_builders as builders
from worker.reporter import LeaseLost, Reporter

CHUNK = 3000  # steps that an evaluation runs at once here; a workout has 150 to 360
OVER = 6 * 360  # a chunk may hold one workout more, with all its views


@pytest.fixture
def between_beats(monkeypatch):
    """The most that was done between two beats: steps of the network outside training, batches of training."""
    most, now = Counter(), Counter()

    def count(name, work):
        now[name] += work
        most[name] = max(most[name], now[name])

    def outputs(self, inputs):
        count("steps", inputs.shape[0] * inputs.shape[1])
        return original_outputs(self, inputs)

    def predict(self, *args, **kwargs):
        count("batches", 1)
        return original_predict(self, *args, **kwargs)

    def beat(self):
        now.clear()
        return original_beat(self)

    original_outputs, original_predict = HeartRateLSTM.outputs, FrozenLayerCache.predict
    original_beat = Reporter.beat
    monkeypatch.setattr(passes, "CHUNK_STEPS", CHUNK)
    monkeypatch.setattr(HeartRateLSTM, "outputs", outputs)
    monkeypatch.setattr(FrozenLayerCache, "predict", predict)
    monkeypatch.setattr(Reporter, "beat", beat)
    return most


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_between_two_beats_of_a_base_job_lies_one_chunk_of_workouts_or_one_batch(
    context, upload, work, submit, job_row, between_beats
):
    people = simulate_workouts(people=3, workouts=12, seed=1)
    dataset_id = upload(people, kind=DatasetKind.POPULATION, subject_id=None)
    work()
    job_id = submit(dataset_id, "base", epochs=1, batch_size=8)
    work()
    assert job_row(job_id).state == JobState.SUCCEEDED
    assert 0 < between_beats["steps"] <= CHUNK + OVER
    assert between_beats["batches"] == 1


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_between_two_beats_of_a_personal_job_lies_one_chunk_of_workouts_or_one_batch(
    context, dataset_id, work, submit, job_row, between_beats
):
    with context.database.reading() as session:
        shipped = model_versions.shipped(session).id
    job_id = submit(dataset_id, "stage1", start=shipped, epochs=2, batch_size=2)
    work()
    assert job_row(job_id).state == JobState.SUCCEEDED
    assert 0 < between_beats["steps"] <= CHUNK + OVER
    assert between_beats["batches"] == 1


@pytest.mark.parametrize(
    "error",
    [
        OperationalError("UPDATE", {}, Exception("the server is gone")),
        InterfaceError("UPDATE", {}, Exception("connection already closed")),
        InternalError("UPDATE", {}, psycopg.errors.ReadOnlySqlTransaction("a failover: no writes yet")),
        PoolTimeout("no connection"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_job_works_on_without_an_answer_of_the_database_until_its_lease_is_over(context, error):
    dataset = builders.add_dataset(context.database)
    with context.database.unit_of_work() as session:
        jobs.add(session, dataset, stage=Stage.STAGE1, configuration={})
    with context.database.unit_of_work() as session:
        claim = jobs.claim_next(session, "test", (Stage.STAGE1,), context.lease_seconds)

    def fail(*_):
        raise error

    reporter, late = Reporter(context, claim), Reporter(replace(context, lease_seconds=0.0), claim)
    event.listen(context.database.engine, "before_cursor_execute", fail)
    reporter.report()
    with pytest.raises(LeaseLost):
        late.report()
