"""What happens to a job when something else happens at the worst moment: deaths, deletions, other imports."""

from dataclasses import replace

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from service.registry import imports, jobs, leftovers, model_versions, promotion, removal
from service.registry.artifacts import ArtifactStore
from service.registry.tables import ChampionReason, Dataset, DatasetFile, DatasetState, Job, JobState, ModelVersion
from tests.clock import bound_clock
from worker import completion, data, import_scoring, ingest
from worker.reporter import LeaseLost, Reporter
from worker.runner import run_job


class Died(BaseException):
    """What no handler sees: the process is gone."""


def claim(context, stages=jobs.IMPORT_STAGES):
    with context.database.unit_of_work() as session:
        return jobs.claim_next(session, "test", stages, context.lease_seconds)


def lease_is_over(context, work):
    with bound_clock(1e12), context.database.unit_of_work() as session:
        assert jobs.reconcile(session) == 1
    work()


def job_of(context, dataset_id):
    with context.database.reading() as session:
        return session.scalars(select(Job).where(Job.dataset_id == dataset_id)).one()


def dataset_row(context, dataset_id):
    with context.database.reading() as session:
        return session.get_one(Dataset, dataset_id)


class DiesAtDelete(ArtifactStore):
    """The process ends right after a file went."""

    def delete(self, account_id, sha256):
        super().delete(account_id, sha256)
        raise Died


@pytest.mark.parametrize("content", ["workouts", "rubbish"])
def test_an_import_whose_worker_dies_as_the_upload_goes_ends_as_if_it_had_not_died(
    context, upload, work, runner_workouts, content
):
    dataset_id = upload(runner_workouts if content == "workouts" else b"these are not workouts")
    with pytest.raises(Died):
        run_job(replace(context, store=DiesAtDelete(context.store.root)), claim(context), "cpu")
    if job_of(context, dataset_id).state == JobState.RUNNING:
        lease_is_over(context, work)
    job = job_of(context, dataset_id)
    ends = {"workouts": (JobState.SUCCEEDED, None), "rubbish": (JobState.FAILED, "unreadable_upload")}
    assert (job.state, job.error_code) == ends[content]


@pytest.mark.slow
def test_an_import_that_died_half_way_leaves_nothing_twice(context, upload, work, runner_workouts, monkeypatch):
    dataset_id = upload(runner_workouts)
    succeed = jobs.succeed

    def dies(*_):
        raise Died

    monkeypatch.setattr(jobs, "succeed", dies)
    with pytest.raises(Died):
        run_job(context, claim(context), "cpu")
    monkeypatch.setattr(jobs, "succeed", succeed)
    lease_is_over(context, work)
    with context.database.reading() as session:
        assert len(imports.stored_workouts(session, dataset_id)) == 12
        assert len(session.scalars(select(DatasetFile).where(DatasetFile.dataset_id == dataset_id)).all()) == 1
    assert job_of(context, dataset_id).attempt == 2


def test_a_stale_attempt_that_wakes_up_leaves_the_imported_dataset_as_it_is(context, upload, work, runner_workouts):
    dataset_id = upload(runner_workouts)
    stale, job = claim(context), job_of(context, dataset_id)
    lease_is_over(context, work)
    assert dataset_row(context, dataset_id).state == DatasetState.READY
    with pytest.raises(LeaseLost):
        ingest.import_upload(Reporter(context, stale), job)
    assert dataset_row(context, dataset_id).state == DatasetState.READY


@pytest.mark.slow
def test_two_uploads_of_one_person_at_once_never_disagree_about_a_workouts_split(
    context, upload, work, runner_workouts, monkeypatch
):
    first, second = upload(runner_workouts[:10]), upload(runner_workouts)
    evaluate, other, mine = import_scoring.evaluate_person, claim(context), claim(context)

    def the_other_import_ends_now(*args):
        monkeypatch.setattr(import_scoring, "evaluate_person", evaluate)
        run_job(context, other, "cpu")
        return evaluate(*args)

    monkeypatch.setattr(import_scoring, "evaluate_person", the_other_import_ends_now)
    run_job(context, mine, "cpu")
    with context.database.reading() as session:
        one, two = ({w.digest: w.split for w in imports.stored_workouts(session, d)} for d in (first, second))
    assert (len(one), len(two)) == (10, 12)
    assert one == {digest: two[digest] for digest in one}


@pytest.fixture
def rival_elsewhere(context, upload, submit, work, runner_workouts):
    """A dataset to train on, a second one, and the champion: a version trained on the second."""
    trained_on, other = upload(runner_workouts[:10]), upload(runner_workouts)
    work()
    with context.database.reading() as session:
        base = model_versions.shipped(session).id
    made = submit(other, "stage1", start=base, epochs=1)
    work()
    with context.database.unit_of_work() as session:
        version, dataset = model_versions.of_job(session, made), session.get_one(Dataset, other)
        champion = promotion.require(session, dataset.subject_id)
        if champion.model_version_id != version.id:
            revision = champion.revision
            promotion.promote(
                session, dataset.subject_id, version.id, reason=ChampionReason.PROMOTED, expected_revision=revision
            )
    return submit(trained_on, "stage1", start=base, epochs=1), other


def delete(context, dataset_id):
    with context.database.unit_of_work() as session:
        removed = removal.remove_dataset(session, session.get_one(Dataset, dataset_id))
    leftovers.work_off(context.database, context.store, removed.account_id)


@pytest.mark.parametrize("moment", ["load_checkpoint", "_finish"])
def test_a_champion_that_is_deleted_while_a_job_ends_is_no_reason_to_fail_or_to_wait(
    context, rival_elsewhere, work, job_row, monkeypatch, moment
):
    job_id, other = rival_elsewhere
    module = data if moment == "load_checkpoint" else completion
    original = getattr(module, moment)

    def deleted_now(*args):
        monkeypatch.setattr(module, moment, original)
        delete(context, other)
        return original(*args)

    monkeypatch.setattr(module, moment, deleted_now)
    if moment == "_finish" and context.database.engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer: nothing can be deleted inside the last transaction")
    work()
    job = job_row(job_id)
    assert (job.state, job.error_message, job.attempt) == (JobState.SUCCEEDED, None, 1)


def test_what_the_database_refuses_for_good_fails_the_job_at_once(
    context, upload, submit, work, job_row, monkeypatch, runner_workouts
):
    dataset_id = upload(runner_workouts)
    work()
    with context.database.reading() as session:
        job_id = submit(dataset_id, "stage1", start=model_versions.shipped(session).id, epochs=1)

    def refused(*_, **__):
        raise IntegrityError("INSERT", {}, Exception("violates a constraint"))

    monkeypatch.setattr(model_versions, "add", refused)
    work()
    assert job_row(job_id).state == JobState.FAILED
    with context.database.reading() as session:
        assert session.scalars(select(ModelVersion).where(ModelVersion.job_id == job_id)).all() == []
