"""An import that only adds later workouts costs what is new, and ends as one that evaluates everything would."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import delete, select

from hrmodel.evaluation.forecasters import NetworkForecaster
from hrmodel.evaluation.history import EvaluatedHistory
from hrmodel.network.lstm import HeartRateLSTM
from hrmodel.prediction.predictor import Predictor
from hrmodel.signals.scale import SubjectScale
from hrmodel.workouts.simulate import simulate_runner
from hrmodel.workouts.workout import Workout
from service.registry import imports, model_versions, promotion, serving
from service.registry.tables import (
    ChampionReason,
    Dataset,
    EvaluatedHistoryRow,
    PersonStateRow,
    Subject,
)
from tests.builders import roll_back
from tests.hrmodel.evaluation.test_history import closely
from worker.data import load_checkpoint, load_person

FIRST, ALL = 40, 44
START = datetime(2026, 1, 1, 7, tzinfo=UTC)


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """Whatever SQL does here it does on PostgreSQL too: other tests see to that."""
    return sqlite_url


@pytest.fixture(scope="module")
def runs() -> list[Workout]:
    """44 runs of one person, one a day."""
    simulated = simulate_runner(workouts=ALL, seed=2)
    return [replace(run, started_at=START + timedelta(days=day)) for day, run in enumerate(simulated)]


@pytest.fixture
def steps(monkeypatch):
    """How many steps the network has run."""
    count = {"steps": 0}

    original = HeartRateLSTM.outputs

    def counted(network, inputs):
        count["steps"] += inputs.shape[0] * inputs.shape[1]
        return original(network, inputs)

    monkeypatch.setattr(HeartRateLSTM, "outputs", counted)
    return count


def base_of(context) -> UUID:
    with context.database.reading() as session:
        return model_versions.shipped(session).id


def report_and_state(context, version_id: UUID, dataset_id: UUID):
    with context.database.reading() as session:
        evaluation = model_versions.evaluation(session, version_id, dataset_id)
        after = PersonStateRow.dataset_id == dataset_id, PersonStateRow.model_version_id == version_id
        state = session.scalars(select(PersonStateRow).where(*after)).one_or_none()
        return evaluation and evaluation.report, state and state.state


def evaluated_at_once(context, version_id: UUID, first: UUID, last: UUID):
    """Report and state of an evaluation of all workouts, with what is fitted on those of the first dataset."""
    people = []
    with context.database.reading() as session:
        version = session.get(model_versions.ModelVersion, version_id)
        for dataset_id in (first, last):
            dataset = session.get_one(Dataset, dataset_id)
            level = SubjectScale.from_dict(dataset.level)
            stored = imports.stored_workouts(session, dataset_id)
            people.append(load_person(context.store, dataset.account_id, stored, lambda: None, level=level))
    checkpoint = load_checkpoint(context.store, version)
    fitted, everything = (person.for_evaluation(checkpoint) for person in people)
    network = NetworkForecaster(predictor=Predictor(checkpoint), level=everything.level)
    history = EvaluatedHistory.start(network, fitted).go_on(network, everything)
    by_digest = {workout.digest: workout for workout in everything.workouts}
    return history.report(network, by_digest.__getitem__), history.state.to_dict()


def level_of(context, dataset_id: UUID):
    with context.database.reading() as session:
        return session.get_one(Dataset, dataset_id).level


def test_later_workouts_give_the_report_and_state_of_an_evaluation_of_all(context, upload, work, runs):
    first = upload(runs[:FIRST])
    work()
    for place in range(FIRST, ALL, 2):
        last = upload(runs[place : place + 2])
        work()
    base = base_of(context)
    assert level_of(context, last) == level_of(context, first)
    report, state = report_and_state(context, base, last)
    whole_report, whole_state = evaluated_at_once(context, base, first, last)
    assert report["test_workouts"] == 7
    assert closely(report, whole_report)
    assert closely(state, whole_state)


def test_an_import_of_later_workouts_reads_and_runs_what_is_new(context, upload, work, runs, steps, job_row):
    first = upload(runs[:FIRST])
    work()
    at_first, steps["steps"] = steps["steps"], 0
    with context.database.reading() as session:
        account_id = session.get_one(Dataset, first).account_id
        old = [w for w in imports.stored_workouts(session, first) if w.split != "test"]
    for workout in old:
        context.store.delete(account_id, workout.digest)
    last = upload(runs[FIRST:])
    work()
    with context.database.reading() as session:
        dataset = session.get_one(Dataset, last)
    assert (dataset.state, dataset.train_workouts + dataset.val_workouts + dataset.test_workouts) == ("ready", ALL)
    new = (ALL - FIRST) / FIRST
    assert steps["steps"] < 3 * new * at_first  # three test workouts of the report are run again to be drawn


def test_the_same_file_again_runs_no_more_than_the_examples(context, upload, work, runs, steps):
    first = upload(runs[:FIRST])
    work()
    at_first, steps["steps"] = steps["steps"], 0
    again = upload(runs[:FIRST])
    work()
    base = base_of(context)
    assert report_and_state(context, base, again) == report_and_state(context, base, first)
    assert steps["steps"] < 0.1 * at_first


@pytest.mark.parametrize("earlier", [0, 20])
def test_an_earlier_workout_lets_everything_be_evaluated_anew(context, upload, work, runs, earlier):
    upload([run for day, run in enumerate(runs[:FIRST]) if day != earlier])
    work()
    last = upload([runs[earlier]])
    work()
    base = base_of(context)
    report, state = report_and_state(context, base, last)
    whole_report, whole_state = evaluated_at_once(context, base, last, last)
    assert level_of(context, last)["workouts"] == FIRST - report["test_workouts"]
    assert closely(report, whole_report)
    assert closely(state, whole_state)


def test_a_tenth_more_workouts_are_a_reason_to_fit_the_scale_anew(context, upload, work, runs):
    first = upload(runs[:FIRST])
    work()
    last = first
    for run in runs[FIRST:]:
        last = upload([run])
        work()
    assert level_of(context, last)["workouts"] == level_of(context, first)["workouts"] == 34
    more = [replace(run, started_at=run.started_at + timedelta(days=50)) for run in runs[10:14]]
    last = upload([replace(run, speed=run.speed * 1.01) for run in more])
    work()
    assert level_of(context, last)["workouts"] > 37


def test_without_what_was_kept_everything_is_evaluated_anew(context, upload, work, runs):
    upload(runs[:FIRST])
    work()
    with context.database.unit_of_work() as session:
        session.execute(delete(EvaluatedHistoryRow))
    last = upload(runs[FIRST:])
    work()
    base = base_of(context)
    report, state = report_and_state(context, base, last)
    whole_report, whole_state = evaluated_at_once(context, base, last, last)
    assert closely(report, whole_report)
    assert closely(state, whole_state)


@pytest.fixture
def three_versions(context, upload, submit, work, runs):
    """The first dataset, and three versions trained on it: the champion, the one before, and one that never served."""
    first = upload(runs[:FIRST])
    work()
    jobs = [submit(first, "stage1", start=base_of(context), epochs=1, seed=seed) for seed in (1, 2, 3)]
    work()
    with context.database.unit_of_work() as session:
        subject_id = session.get_one(Dataset, first).subject_id
        idle, before, champion = (model_versions.of_job(session, job).id for job in jobs)
        for version_id in (before, champion):
            pointer = promotion.require(session, subject_id)
            if pointer.model_version_id != version_id:
                revision = pointer.revision
                promotion.promote(
                    session, subject_id, version_id, reason=ChampionReason.FORCED, expected_revision=revision
                )
    return first, champion, before, idle


@pytest.mark.parametrize("new", [slice(FIRST, ALL), slice(0, 1)], ids=["later", "earlier"])
def test_whoever_serves_after_an_import_knows_all_workouts(context, three_versions, upload, work, runs, new):
    """The later ones advance each state; after an earlier one all are evaluated anew."""
    first, champion, before, idle = three_versions
    shifted = [replace(run, started_at=run.started_at - timedelta(days=3 if new.start == 0 else 0)) for run in runs]
    last = upload(shifted[new])
    work()
    fitted = first if new.start else last
    for version_id in (base_of(context), champion, before, idle):
        report, state = report_and_state(context, version_id, last)
        whole_report, whole_state = evaluated_at_once(context, version_id, fitted, last)
        assert closely(state, whole_state)
        assert closely(report, whole_report)
    with context.database.reading() as session:
        subject = session.get_one(Subject, session.get_one(Dataset, last).subject_id)
    roll_back(context.database, subject.id)
    with context.database.reading() as session:
        served = serving.find(session, subject.account_id, subject.name, None)
        assert served.version.id == before
        assert served.state.state == report_and_state(context, before, last)[1]
