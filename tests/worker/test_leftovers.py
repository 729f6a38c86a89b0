"""What nobody needs any more goes, however often whoever deletes it is killed; what somebody needs stays."""

import os
import time
from uuid import UUID

import pytest
from sqlalchemy import func, select

from service.registry import identity, jobs, leftovers, model_versions, pins, removal
from service.registry.artifacts import SCRATCH, TEMPORARY, ArtifactStore, hold
from service.registry.tables import Dataset, Job, JobState, Leftover, Subject, WorkoutRow
from service.settings import Settings
from tests.builders import Sent, files_of, on_sqlite
from tests.clock import bound_clock
from worker import import_scoring
from worker.reconciler import Reconciler
from worker.runner import run_job


class Died(BaseException):
    """What no handler sees: the process is gone."""


@pytest.fixture
def reconcile(context, database_url, monkeypatch):
    """A worker that starts now: its reconciler's first round, an hour later."""
    identity.establish(context.database, context.store)

    def look() -> None:
        settings = Settings(database_url_setting=database_url, artifact_dir_setting=context.store.root)
        for path in context.store.root.rglob("*"):
            if path.is_file():
                os.utime(path, (path.stat().st_mtime - 3600,) * 2)
        reconciler = Reconciler(settings, Sent())
        with monkeypatch.context() as patch:
            patch.setattr(leftovers, "SETTLED_SECONDS", 0.0)
            reconciler.look()
        reconciler.database.dispose()

    return look


@pytest.fixture
def stage1(context, submit, dataset_id):
    with context.database.reading() as session:
        start = model_versions.shipped(session).id
    return lambda **hyper: submit(dataset_id, "stage1", start=start, epochs=3, batch_size=4, **hyper)


def account_of(context) -> UUID:
    with context.database.reading() as session:
        return session.scalars(select(Subject.account_id)).one()


def waiting(context) -> int:
    with context.database.reading() as session:
        return session.scalar(select(func.count()).select_from(Leftover)) or 0


def remove(context) -> None:
    """The rows of DELETE /subjects, and no more: the process is killed."""
    with context.database.unit_of_work() as session:
        removal.remove_subject(session, session.scalars(select(Subject)).one())


def test_resume_checkpoints_go_with_the_end_of_their_job(context, stage1, work, job_row):
    job_id = stage1()
    work()
    job = job_row(job_id)
    assert (job.state, job.latest_sha256, job.previous_sha256) == (JobState.SUCCEEDED, None, None)
    with context.database.reading() as session:
        version = model_versions.of_job(session, job_id)
        workouts = session.scalar(select(func.count()).select_from(WorkoutRow))
    names = {path.name for path in files_of(context.store, job.account_id)}
    assert {version.sha256, version.pt_sha256} <= names
    assert len(names) == workouts + 2
    assert waiting(context) == 0


def test_a_job_that_is_cancelled_or_fails_keeps_nothing_either(context, stage1, job_row, reconcile):
    before = files_of(context.store, account_of(context))
    cancelled, failed = stage1(), stage1(learning_rate=0.001)
    for job_id, end in (
        (cancelled, jobs.cancel_running),
        (failed, lambda s, c: jobs.fail(s, c, "internal_error", "x")),
    ):
        with context.database.unit_of_work() as session:
            claim = jobs.claim_next(session, "w", jobs.TRAINING_STAGES, 60.0)
        assert claim.job_id == job_id
        for epoch in (1, 2):
            sha256 = context.store.put(job_row(job_id).account_id, b"checkpoint %d of %s" % (epoch, job_id.bytes))
            with context.database.unit_of_work() as session:
                jobs.record_checkpoint(session, claim, epoch=epoch, sha256=sha256)
        context.store.put(job_row(job_id).account_id, b"stored without a row of " + job_id.bytes)
        with context.database.unit_of_work() as session:
            assert end(session, claim)
    reconcile()
    assert files_of(context.store, account_of(context)) == before
    assert waiting(context) == 0


def test_a_deletion_is_finished_after_a_kill_behind_its_commit(context, stage1, work, reconcile):
    stage1()
    work()
    account = account_of(context)
    assert files_of(context.store, account)
    remove(context)
    assert files_of(context.store, account)
    reconcile()
    assert files_of(context.store, account) == set()
    assert waiting(context) == 0


@on_sqlite
@pytest.mark.parametrize("kill_at", [0, 1, 5])
def test_a_deletion_is_finished_after_a_kill_at_any_file(context, dataset_id, reconcile, monkeypatch, kill_at):
    account, deleted, delete = account_of(context), [], ArtifactStore.delete
    remove(context)

    def killed(store, *name):
        if len(deleted) == kill_at:
            raise Died
        deleted.append(name)
        delete(store, *name)

    with monkeypatch.context() as patch:
        patch.setattr(ArtifactStore, "delete", killed)
        with pytest.raises(Died):
            leftovers.work_off(context.database, context.store)
    assert files_of(context.store, account)
    reconcile()
    assert files_of(context.store, account) == set()
    assert waiting(context) == 0


def test_nothing_is_left_of_a_person_whose_import_was_killed(context, upload, runner_workouts, reconcile, monkeypatch):
    """The raw upload, what was unpacked of it, and the workouts that were stored before they had rows."""
    upload(runner_workouts)
    account, evaluate = account_of(context), import_scoring.evaluate_person

    def killed(*arguments):
        (context.store.root / SCRATCH / "left").mkdir(parents=True, exist_ok=True)
        raise Died

    monkeypatch.setattr(import_scoring, "evaluate_person", killed)
    with context.database.unit_of_work() as session:
        claim = jobs.claim_next(session, "w", jobs.IMPORT_STAGES, 60.0)
    with pytest.raises(Died):
        run_job(context, claim, "cpu")
    scratch = context.store.root / SCRATCH / f"{claim.job_id}-{claim.attempt}"
    scratch.mkdir(parents=True)
    (scratch / "positions.gpx").write_bytes(b"<gpx>")
    part = context.store.temporary(account)
    part.write_bytes(b"half an upload")
    assert len(files_of(context.store, account)) == len(runner_workouts) + 2
    monkeypatch.setattr(import_scoring, "evaluate_person", evaluate)
    with bound_clock(1e12):
        remove(context)
    reconcile()
    assert files_of(context.store, account) == set()
    assert not scratch.exists()
    assert waiting(context) == 0


@on_sqlite
def test_what_a_living_process_works_on_stays(context, upload, runner_workouts, reconcile, dataset_id):
    account = account_of(context)
    waits = upload(runner_workouts[:3])
    with context.database.unit_of_work() as session:
        claim = jobs.claim_next(session, "w", jobs.IMPORT_STAGES, 60.0)
    part = context.store.temporary(account)
    with part.open("wb") as file, context.store.scratch(f"{claim.job_id}-{claim.attempt}") as folder:
        hold(file)
        (folder / "run.gpx").write_bytes(b"<gpx>")
        stored = context.store.path(account, context.store.put(account, b"stored by the import that runs"))
        with context.database.unit_of_work() as session:
            leftovers.add(session, account, [session.get_one(Dataset, waits).upload_sha256])
            leftovers.look_later(session, account)
        kept = files_of(context.store, account)
        reconcile()
        assert files_of(context.store, account) == kept
        assert (stored.exists(), part.exists(), (folder / "run.gpx").exists()) == (True, True, True)
    with context.database.unit_of_work() as session:
        jobs.cancel_running(session, claim)
    reconcile()
    assert not stored.exists()
    assert not part.exists()


def test_while_a_backup_reads_files_wait_and_then_they_go(context, stage1, work, job_row, reconcile):
    job_id = stage1()
    with pins.pinned(context.database):
        work()
        assert job_row(job_id).state == JobState.SUCCEEDED
        epochs = waiting(context)
        assert epochs == 3
        remove(context)
        leftovers.work_off(context.database, context.store, hurried=True)
        assert waiting(context) > epochs
    reconcile()
    assert waiting(context) == 0
    assert not list(context.store.root.rglob(f"*{TEMPORARY}"))
    assert [folder.name for folder in context.store.root.iterdir() if folder.is_dir() and any(folder.iterdir())] == [
        "shipped"
    ]


@on_sqlite
def test_a_backup_that_was_killed_holds_nothing_up_for_long(context, dataset_id, reconcile):
    with context.database.unit_of_work() as session:
        session.add(pins.BackupPin(until=time.time() + pins.PIN_SECONDS))
    account = account_of(context)
    remove(context)
    reconcile()
    assert files_of(context.store, account)
    with bound_clock(time.time() + pins.PIN_SECONDS + 1):
        reconcile()
    assert files_of(context.store, account) == set()


@on_sqlite
def test_a_cancelled_upload_goes_without_an_import(context, upload, runner_workouts, reconcile):
    dataset = upload(runner_workouts)
    with context.database.unit_of_work() as session:
        jobs.request_cancel(session, session.scalars(select(Job).where(Job.dataset_id == dataset)).one())
    reconcile()
    assert files_of(context.store, account_of(context)) == set()
