"""Files of a running service that are full, torn, flipped or deleted: jobs go on, or end with a code that says why."""

import errno
import subprocess
from dataclasses import replace

import pytest
import torch
from sqlalchemy import select

from hrmodel.network.checkpoint import Checkpoint
from service.registry import imports, jobs, model_versions, promotion
from service.registry.artifacts import ArtifactStore
from service.registry.tables import ChampionReason, Job, JobLogLine, JobState, Stage
from tests.builders import history_of
from worker.runner import run_job

EPOCHS = 4


@pytest.fixture
def database_url(sqlite_url):
    """Files are what differs here, not SQL."""
    return sqlite_url


@pytest.fixture
def stage1(context, submit, dataset_id):
    """Queue a stage-1 job of 4 epochs from the shipped base."""
    with context.database.reading() as session:
        start = model_versions.shipped(session).id
    return lambda: submit(dataset_id, "stage1", start=start, epochs=EPOCHS, batch_size=4)


def claim(context):
    with context.database.unit_of_work() as session:
        return jobs.claim_next(session, "test", jobs.TRAINING_STAGES, context.lease_seconds)


def tensors_of(context, job_id):
    with context.database.reading() as session:
        version = model_versions.of_job(session, job_id)
    return Checkpoint.from_bytes(context.store.read(version.account_id, version.sha256)).weights


def log_of(context, job_id):
    with context.database.reading() as session:
        return session.scalars(select(JobLogLine.message).where(JobLogLine.job_id == job_id)).all()


class FullFor(ArtifactStore):
    """No room for checkpoints number `first` to `last`, counted from 1."""

    def __init__(self, root, first, last):
        super().__init__(root)
        self.written, self.full = 0, range(first, last + 1)

    def put(self, account_id, data):
        self.written += 1
        if self.written in self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().put(account_id, data)


def test_a_disk_that_is_full_for_two_epochs_costs_no_epoch(context, stage1, job_row):
    job_id = stage1()
    run_job(replace(context, store=FullFor(context.store.root, 2, 3)), claim(context), "cpu")
    job = job_row(job_id)
    assert (job.state, job.error_code, job.epoch) == (JobState.SUCCEEDED, None, EPOCHS)
    assert sum("No checkpoint: No space left" in line for line in log_of(context, job_id)) == 2


def test_a_job_that_dies_while_the_disk_is_full_goes_on_from_its_earlier_checkpoint(context, stage1, work, job_row):
    whole = stage1()
    work()
    killed = stage1()
    asked = iter(range(1000))
    late = replace(context, store=FullFor(context.store.root, 2, 99), stopping=lambda: next(asked) > 12 + 9 + 10)
    run_job(late, claim(context), "cpu")
    job = job_row(killed)
    assert (job.state, job.epoch) == (JobState.QUEUED, 1)
    work()
    assert job_row(killed).state == JobState.SUCCEEDED
    assert any(line.startswith("Goes on after epoch 1") for line in log_of(context, killed))
    one, other = tensors_of(context, whole), tensors_of(context, killed)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_model_that_cannot_be_stored_ends_with_a_code_and_its_checkpoints_make_room(context, stage1, job_row):
    job_id = stage1()
    run_job(replace(context, store=FullFor(context.store.root, EPOCHS + 1, 99)), claim(context), "cpu")
    job = job_row(job_id)
    assert (job.state, job.error_code, job.epoch) == (JobState.FAILED, "storage_full", EPOCHS)
    assert (job.latest_sha256, job.previous_sha256) == (None, None)
    assert not list(context.store.root.rglob("*.part"))


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of 300 kB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root may mount a small file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_on_a_real_full_disk_nothing_half_is_left_and_the_same_bytes_fit_once_there_is_room(small_disk):
    store, account = ArtifactStore(small_disk), None
    first = store.put(account, b"a" * 200_000)
    with pytest.raises(OSError, match="No space left") as full:
        store.put(account, b"b" * 200_000)
    assert full.value.errno == errno.ENOSPC
    assert [path.name for path in store.folder(account).iterdir()] == [first]
    store.delete(account, first)
    assert store.read(account, store.put(account, b"b" * 200_000)) == b"b" * 200_000


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


HARM = {
    "torn": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "flipped": flip,
    "gone": lambda path: path.unlink(),
}


@pytest.mark.slow
@pytest.mark.parametrize("harm", HARM)
@pytest.mark.parametrize("both", [False, True])
def test_a_lost_checkpoint_is_replaced_by_the_one_before_or_the_start_and_the_model_is_the_same(
    context, stage1, work, job_row, harm, both
):
    whole = stage1()
    work()
    killed = stage1()
    asked = iter(range(1000))
    run_job(replace(context, stopping=lambda: next(asked) >= 12 + 9 + 12), claim(context), "cpu")
    job = job_row(killed)
    assert job.epoch >= 2
    for sha256 in [job.latest_sha256, job.previous_sha256][: 1 + both]:
        HARM[harm](context.store.path(job.account_id, sha256))
    work()
    assert job_row(killed).state == JobState.SUCCEEDED
    lines = log_of(context, killed)
    assert sum("cannot be used" in line for line in lines) == 1 + both
    assert any(line.startswith("Goes on after") for line in lines) is not both
    one, other = tensors_of(context, whole), tensors_of(context, killed)
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def crowned(context, stage1, work, dataset_id):
    """A stage-1 version that serves, whatever its score."""
    job_id = stage1()
    work()
    with context.database.unit_of_work() as session:
        version = model_versions.of_job(session, job_id)
        champion = promotion.require(session, version.subject_id)
        if champion.model_version_id != version.id:
            revision = champion.revision
            promotion.promote(
                session, version.subject_id, version.id, reason=ChampionReason.FORCED, expected_revision=revision
            )
    return version


def changes_of(context, subject_id):
    return [reason for reason, _ in history_of(context.database, subject_id)]


@pytest.mark.parametrize("harm", HARM)
def test_an_import_goes_on_when_the_champions_file_is_lost(
    context, crowned, upload, work, job_row, runner_workouts, harm
):
    HARM[harm](context.store.path(crowned.account_id, crowned.sha256))
    dataset_id = upload(runner_workouts[:11])
    work()
    with context.database.reading() as session:
        job = session.scalars(select(Job).where(Job.dataset_id == dataset_id)).one()
        assert (job.state, job.error_message) == (JobState.SUCCEEDED, None)
        shipped = model_versions.shipped(session)
        assert promotion.require(session, crowned.subject_id).model_version_id == shipped.id
    assert changes_of(context, crowned.subject_id)[-1] == "damaged"


def test_a_job_is_not_held_to_a_champion_that_is_lost(context, crowned, stage1, work, job_row):
    context.store.path(crowned.account_id, crowned.sha256).unlink()
    job_id = stage1()
    work()
    job = job_row(job_id)
    assert (job.state, job.error_message) == (JobState.SUCCEEDED, None)
    with context.database.reading() as session:
        shipped = model_versions.shipped(session)
    assert job.result["decision"]["champion_id"] == str(shipped.id)
    assert "damaged" in changes_of(context, crowned.subject_id)


def test_a_start_model_that_is_lost_fails_the_job_with_a_code_and_the_next_job_runs(
    context, crowned, submit, dataset_id, stage1, work, job_row
):
    broken = submit(dataset_id, Stage.STAGE2, start=crowned.id, epochs=1)
    context.store.path(crowned.account_id, crowned.sha256).unlink()
    healthy = stage1()
    work()
    assert (job_row(broken).state, job_row(broken).error_code) == (JobState.FAILED, "broken_checkpoint")
    assert job_row(healthy).state == JobState.SUCCEEDED


def test_a_stored_workout_that_is_lost_fails_the_job_with_what_to_upload(context, dataset_id, stage1, work, job_row):
    job_id = stage1()
    with context.database.reading() as session:
        account, stored = session.get_one(Job, job_id).account_id, imports.stored_workouts(session, dataset_id)[0]
    context.store.path(account, stored.digest).unlink()
    work()
    assert (job_row(job_id).state, job_row(job_id).error_code) == (JobState.FAILED, "data_missing")
    assert "upload it again" in job_row(job_id).error_message
