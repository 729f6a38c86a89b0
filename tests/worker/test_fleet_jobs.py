"""A fleet in a worker: real people, real training, and the same models as one by one."""

import pytest
import torch
from sqlalchemy import select

from hrmodel.network.checkpoint import Checkpoint
from hrmodel.training.stages import resolve
from hrmodel.workouts.simulate import simulate_runner
from service.registry import fleets, jobs, model_versions
from service.registry.tables import Dataset, Job, JobState, ModelVersion, Stage, Subject
from tests.builders import on_sqlite
from worker import training

pytestmark = on_sqlite
NAMES = ("a", "b", "c")
HYPER = {"epochs": 2, "seed": 5}


@pytest.fixture
def everybody(upload, work, context):
    """Three people's imported datasets, of different runners."""
    ids = [upload(simulate_runner(workouts=10, seed=seed), subject=name, name=name) for seed, name in enumerate(NAMES)]
    work()
    with context.database.reading() as session:
        return [session.get_one(Dataset, each) for each in ids]


def configurations():
    return {
        stage: {**resolve(stage, "auto", HYPER, workouts=20).to_dict(), "recipe": "auto"}
        for stage in (Stage.STAGE1, Stage.STAGE2)
    }


def post(context, datasets):
    with context.database.unit_of_work() as session:
        return fleets.add(
            session,
            datasets[0].account_id,
            [(dataset, configurations()) for dataset in datasets],
            start_model_version_id=model_versions.shipped(session).id,
            configuration={"people": len(datasets), "skipped": 0},
        )


def versions(context):
    """Every person's versions by name and stage, in the order in which they were made."""
    found = {}
    with context.database.reading() as session:
        rows = select(Subject.name, ModelVersion).join(ModelVersion, ModelVersion.subject_id == Subject.id)
        for name, version in session.execute(rows.order_by(ModelVersion.created_at)):
            found.setdefault((name, version.stage), []).append(version)
    return found


def weights(context, version):
    return Checkpoint.from_bytes(context.store.read(version.account_id, version.sha256)).weights


def test_one_of_three_people_fails_and_the_others_are_personalised(context, everybody, work, monkeypatch):
    fleet = post(context, everybody)
    lost = everybody[1].id
    real = training.load_person

    def load(store, account_id, workouts, *arguments, **options):
        with context.database.reading() as session:
            running = session.scalars(select(Job.dataset_id).where(Job.state == JobState.RUNNING, Job.lane == fleet.id))
            if lost in running.all():
                raise training.JobFailure("too_few_workouts", "None of them can be read.")
        return real(store, account_id, workouts, *arguments, **options)

    monkeypatch.setattr(training, "load_person", load)
    work()
    with context.database.unit_of_work() as session:
        jobs.reconcile(session)
        assert fleets.end_finished(session) == 1
        summary = fleets.summaries(session, [fleet.id])[fleet.id]
        assert session.get_one(Job, fleet.id).state == JobState.SUCCEEDED
    assert {state: count for state, count in summary.jobs.items() if count} == {
        JobState.SUCCEEDED: 4,
        JobState.FAILED: 2,
    }
    assert set(versions(context)) == {(name, stage) for name in ("a", "c") for stage in (Stage.STAGE1, Stage.STAGE2)}


@pytest.mark.slow
def test_everybodys_models_are_those_of_jobs_one_by_one(context, everybody, work):
    post(context, everybody)
    work()
    for dataset in everybody:
        with context.database.unit_of_work() as session:
            options = {"configuration": configurations()[Stage.STAGE1]}
            base = model_versions.shipped(session).id
            first = jobs.add(session, dataset, stage=Stage.STAGE1, start_model_version_id=base, **options)
            options = {"configuration": configurations()[Stage.STAGE2]}
            jobs.add(session, dataset, stage=Stage.STAGE2, depends_on=first.id, **options)
        work()
    found = versions(context)
    assert len(found) == 6
    for of_fleet, alone in found.values():
        theirs, own = weights(context, of_fleet), weights(context, alone)
        assert all(torch.equal(theirs[name], own[name]) for name in own)
