"""A job that works is never silent for long, however many workouts it has: between two beats lies little work."""

from collections import Counter
from dataclasses import replace

import psycopg
import pytest
from sqlalchemy import event
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from hrmodel.prediction.predictor import Predictor
from hrmodel.training.frozen_cache import FrozenLayerCache
from hrmodel.workouts.simulate import simulate_workouts
from service.registry import jobs, model_versions
from service.registry.tables import DatasetKind, JobState, Stage
from tests import registry_builders as builders
from worker.reporter import LeaseLost, Reporter

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
