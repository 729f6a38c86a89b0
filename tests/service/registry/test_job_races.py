"""Two hands on one row or file at once: a cancel, a shutdown and the reconciler; a sweep and a second upload."""

import os
import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from uuid import UUID

import pytest
from sqlalchemy import event, update

from service.datasets import service as datasets_service
from service.datasets.schemas import DatasetQuery
from service.errors import Unavailable
from service.registry import identity, imports, jobs, leftovers, sweep
from service.registry.imports import ImportedWorkout
from service.registry.tables import Dataset, DatasetState, Installation, Job, JobState, Stage, Subject
from service.settings import Settings
from tests import registry_builders as builders
from tests.clock import bound_clock

LEASE = 60.0


@contextmanager
def meanwhile(action, head_start=0.5):
    """Run `action` in a thread that gets a head start; it has ended at the end, and its error is raised."""
    errors = []

    def run():
        try:
            action()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(head_start)
    yield
    thread.join(20)
    assert not thread.is_alive()
    if errors:
        raise errors[0]


@pytest.fixture
def job_id(database, make_dataset):
    dataset = make_dataset()
    with database.unit_of_work() as session:
        return jobs.add(session, session.get_one(Dataset, dataset.id), stage=Stage.STAGE1, configuration={}).id


def claim(database):
    with database.unit_of_work() as session:
        return jobs.claim_next(session, "w", jobs.TRAINING_STAGES, LEASE)


def cancel(database, job_id):
    with database.unit_of_work() as session:
        jobs.request_cancel(session, session.get_one(Job, job_id))


def state(database, job_id: UUID) -> JobState:
    with database.reading() as session:
        return session.get_one(Job, job_id).state


def test_a_job_that_was_to_be_cancelled_is_cancelled_when_its_worker_shuts_down_first(database, job_id):
    mine = claim(database)
    cancel(database, job_id)
    with database.unit_of_work() as session:
        assert jobs.hand_back(session, mine)
    assert state(database, job_id) == JobState.CANCELLED


def test_a_cancel_at_the_moment_of_a_hand_back_cancels_the_job(database, job_id):
    mine = claim(database)
    with database.unit_of_work() as session:
        assert jobs.hand_back(session, mine)
        session.flush()
        waiting = meanwhile(lambda: cancel(database, job_id))
        waiting.__enter__()
    waiting.__exit__(None, None, None)
    assert state(database, job_id) == JobState.CANCELLED


def test_a_cancel_while_the_reconciler_looks_at_the_job_cancels_it(database, job_id):
    with bound_clock(0.0):
        claim(database)
    waiting = []

    def cancel_comes_first(connection, cursor, statement, *_):
        if statement.startswith("UPDATE jobs") and not waiting:
            waiting.append(meanwhile(lambda: cancel(database, job_id)))
            waiting[0].__enter__()

    with database.unit_of_work() as session:
        event.listen(session.connection(), "before_cursor_execute", cancel_comes_first)
        jobs.reconcile(session)
    waiting[0].__exit__(None, None, None)
    assert state(database, job_id) == JobState.CANCELLED


def workouts(*digests: str) -> list[ImportedWorkout]:
    values = {"size": 1, "started_at": None, "duration_s": 1.0, "samples": 1, "person": None, "source": "x"}
    return [ImportedWorkout(digest=d, split="train", verdict="kept", reasons=[], **values) for d in digests]


def test_two_imports_of_the_same_workouts_at_once_both_end(database):
    one, other = (builders.add_dataset(database, state=DatasetState.IMPORTING).id for _ in range(2))

    def finish(session, dataset_id, found):
        imports.finish(session, dataset_id, found, [], digest="d", level=None)

    def second():
        with database.unit_of_work() as session:
            finish(session, other, workouts("b" * 64, "a" * 64))

    with database.unit_of_work() as session:
        finish(session, one, workouts("a" * 64, "b" * 64))
        waiting = meanwhile(second)
        waiting.__enter__()
    waiting.__exit__(None, None, None)
    with database.reading() as session:
        stored = [[w.digest for w in imports.stored_workouts(session, dataset_id)] for dataset_id in (one, other)]
    assert stored == [["a" * 64, "b" * 64], ["b" * 64, "a" * 64]]


def test_a_damaged_file_is_whole_again_once_the_same_bytes_are_stored_again(store):
    account = UUID(int=1)
    sha256 = store.put(account, b"workout")
    store.path(account, sha256).write_bytes(b"wor")
    assert store.put(account, b"workout") == sha256
    assert store.read(account, sha256) == b"workout"


def test_a_file_that_is_deleted_while_it_is_stored_again_is_there_in_the_end(store, monkeypatch):
    account = UUID(int=1)
    sha256 = store.put(account, b"workout")
    utime = os.utime

    def deleted_first(path, *args):
        path.unlink()
        return utime(path, *args)

    monkeypatch.setattr(os, "utime", deleted_first)
    assert store.put(account, b"workout") == sha256
    assert store.read(account, sha256) == b"workout"


def test_a_file_that_is_stored_again_while_the_sweep_looks_stays(database, store, monkeypatch):
    account = old_account(database, store)
    sha256 = store.put(account, b"workout")
    os.utime(store.path(account, sha256), (0, 0))
    referenced = leftovers.referenced

    def stored_again(*args):
        store.put(account, b"workout")
        return referenced(*args)

    monkeypatch.setattr(leftovers, "referenced", stored_again)
    sweep.old_files(database, store)
    assert store.path(account, sha256).exists()


def old_account(database, store):
    """An account of an installation that is as old as time."""
    account = builders.add_account(database).id
    identity.establish(database, store)
    with database.unit_of_work() as session:
        session.execute(update(Installation).values(adopted_at=datetime.fromtimestamp(0, UTC)))
    return account


def test_a_folder_that_is_not_ours_does_not_stop_the_sweep(database, store):
    account = old_account(database, store)
    sha256 = store.put(account, b"workout")
    os.utime(store.path(account, sha256), (0, 0))
    for name in ("lost+found", "0-backup", "zzz"):
        (store.root / name).mkdir()
        (store.root / name / "old").write_bytes(b"mine")
        os.utime(store.root / name / "old", (0, 0))
    sweep.old_files(database, store)
    assert not store.path(account, sha256).exists()
    assert (store.root / "zzz" / "old").exists()


class Services:
    """What accepting an upload needs."""

    def __init__(self, database, store):
        self.database, self.store, self.settings = database, store, Settings()

    def send_hints(self, session):
        """Nobody listens."""


def test_an_upload_whose_file_an_import_of_the_same_bytes_deleted_is_refused_not_accepted(database, store):
    account = builders.add_account(database).id
    with pytest.raises(Unavailable):
        datasets_service.accept(Services(database, store), account, DatasetQuery(), ("a" * 64, 7), None)
    with database.reading() as session:
        assert session.query(Dataset).count() == session.query(Job).count() == session.query(Subject).count() == 0


def test_an_upload_is_not_swept_between_its_file_and_its_row(database, store, monkeypatch):
    account = builders.add_account(database).id
    sha256 = store.put(account, b"export")

    def accept():
        datasets_service.accept(Services(database, store), account, DatasetQuery(), (sha256, 6), None)

    exists, waiting = type(store.root).exists, []

    def sweep_comes_now(path):
        there = exists(path)
        if path.name == sha256 and not waiting:
            waiting.append(meanwhile(forget))
            waiting[0].__enter__()
        return there

    def forget():
        with database.unit_of_work() as session:
            leftovers.delete_unreferenced(session, store, account, [sha256])

    monkeypatch.setattr(type(store.root), "exists", sweep_comes_now)
    accept()
    waiting[0].__exit__(None, None, None)
    assert exists(store.path(account, sha256))
