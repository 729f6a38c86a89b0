"""The state machine of jobs on a real database."""

import threading
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest
from sqlalchemy import select

from service.errors import Conflict
from service.registry import jobs
from service.registry.session import Database
from service.registry.tables import Dataset, EpochMetrics, Job, JobEvent, JobState, Stage
from tests import registry_builders as builders
from tests.clock import bound_clock

LEASE = 60.0
ANY = (*jobs.TRAINING_STAGES, *jobs.IMPORT_STAGES)


def add_dataset(database: Database, account: str = "a") -> UUID:
    return builders.add_dataset(database, account).id


def add_job(database: Database, dataset_id: UUID, stage: Stage = Stage.STAGE1, depends_on: UUID | None = None) -> UUID:
    with database.unit_of_work() as session:
        dataset = session.get_one(Dataset, dataset_id)
        return jobs.add(session, dataset, stage=stage, configuration={}, depends_on=depends_on).id


def claim(database: Database, worker: str = "w") -> jobs.Claim | None:
    with database.unit_of_work() as session:
        return jobs.claim_next(session, worker, ANY, LEASE)


def row(database: Database, job_id: UUID) -> Job:
    with database.reading() as session:
        return session.get_one(Job, job_id)


def events(database: Database, job_id: UUID) -> list[str]:
    with database.reading() as session:
        return list(session.scalars(select(JobEvent.event).where(JobEvent.job_id == job_id).order_by(JobEvent.id)))


def reconcile(database: Database) -> int:
    with database.unit_of_work() as session:
        return jobs.reconcile(session)


def test_a_hundred_claims_at_once_have_one_winner(database):
    job_id = add_job(database, add_dataset(database))
    with ThreadPoolExecutor(100) as pool:
        claims = list(pool.map(lambda n: claim(database, f"w{n}"), range(100)))
    assert [c for c in claims if c] == [jobs.Claim(job_id, 1)]
    assert events(database, job_id) == ["queued", "running"]


def test_two_reconcilers_at_once_count_each_dead_worker_once(database):
    dataset = add_dataset(database)
    crashed = [add_job(database, dataset) for _ in range(20)]
    waiting = [add_job(database, dataset, Stage.STAGE2, depends_on=crashed[0])]
    with bound_clock(0.0):
        for _ in crashed:
            claim(database)
    with database.unit_of_work() as session:  # the first has crashed twice before, the second is to be cancelled
        session.get_one(Job, crashed[0]).crashes = 2
        session.get_one(Job, crashed[1]).cancel_requested = True
    both = threading.Barrier(2)

    def reconcile_with_the_other(_):
        both.wait(20)
        return reconcile(database)

    with ThreadPoolExecutor(2) as pool:
        changed = sum(pool.map(reconcile_with_the_other, range(2)))
    changed += reconcile(database)  # whoever comes later sees the end of what the job waited for
    assert changed == len(crashed) + len(waiting)
    ends = [["queued", "running", "failed"], ["queued", "running", "cancelled"]]
    assert [events(database, job_id) for job_id in crashed[:2]] == ends
    assert [events(database, job_id) for job_id in crashed[2:]] == [["queued", "running", "lease_expired"]] * 18
    assert events(database, waiting[0]) == ["queued", "failed"]
    assert [row(database, job_id).crashes for job_id in crashed] == [3] + [1] * 19


def test_the_account_with_the_fewest_running_jobs_comes_first_then_the_oldest_job(database):
    mine, other = add_dataset(database, "mine"), add_dataset(database, "other")
    first, second, third = add_job(database, mine), add_job(database, mine), add_job(database, other)
    assert [claim(database).job_id for _ in range(3)] == [first, third, second]
    assert claim(database) is None


def test_a_job_waits_for_the_one_that_it_depends_on(database):
    dataset = add_dataset(database)
    stage1 = add_job(database, dataset)
    stage2 = add_job(database, dataset, Stage.STAGE2, depends_on=stage1)
    running = claim(database)
    assert claim(database) is None
    with database.unit_of_work() as session:
        assert jobs.succeed(session, running, {})
    assert claim(database).job_id == stage2


def test_a_job_whose_dependency_was_cancelled_fails_with_that_reason(database):
    dataset = add_dataset(database)
    stage1 = add_job(database, dataset)
    stage2 = add_job(database, dataset, Stage.STAGE2, depends_on=stage1)
    with database.unit_of_work() as session:
        jobs.request_cancel(session, session.get_one(Job, stage1))
    assert reconcile(database) == 1
    assert (row(database, stage2).state, row(database, stage2).error_code) == (JobState.FAILED, "dependency_failed")


def test_an_expired_lease_puts_the_job_back_and_the_old_claim_writes_nothing(database):
    job_id = add_job(database, add_dataset(database))
    with bound_clock(1000.0):
        old = claim(database)
    with bound_clock(1000.0 + LEASE - 1):
        assert reconcile(database) == 0
    with bound_clock(1000.0 + LEASE + 1):
        assert reconcile(database) == 1
        assert (row(database, job_id).state, row(database, job_id).crashes) == (JobState.QUEUED, 1)
        new = claim(database)
    assert new.attempt == 2
    for write in (
        lambda s: jobs.heartbeat(s, old, LEASE).lease_held,
        lambda s: jobs.record_checkpoint(s, old, epoch=1, sha256="1" * 64),
        lambda s: jobs.succeed(s, old, {}),
        lambda s: jobs.fail(s, old, "internal_error", "x"),
        lambda s: jobs.hand_back(s, old),
        lambda s: jobs.cancel_running(s, old),
    ):
        with database.unit_of_work() as session:
            assert write(session) is False
    assert (row(database, job_id).state, row(database, job_id).attempt) == (JobState.RUNNING, 2)


def test_a_job_that_crashes_three_times_without_a_checkpoint_fails(database):
    job_id = add_job(database, add_dataset(database))
    for crash in range(3):
        with bound_clock(1000.0 * crash):
            claim(database)
        with bound_clock(1000.0 * crash + LEASE + 1):
            reconcile(database)
    assert (row(database, job_id).state, row(database, job_id).error_code) == (JobState.FAILED, "worker_crashed")
    assert claim(database) is None


def test_a_new_checkpoint_forgives_earlier_crashes(database):
    job_id = add_job(database, add_dataset(database))
    with bound_clock(0.0):
        claim(database)
    with bound_clock(LEASE + 1):
        reconcile(database)
        again = claim(database)
        with database.unit_of_work() as session:
            assert jobs.record_checkpoint(session, again, epoch=1, sha256="1" * 64)
            assert jobs.record_checkpoint(session, again, epoch=2, sha256="2" * 64)
    after = row(database, job_id)
    assert (after.crashes, after.latest_sha256, after.previous_sha256) == (0, "2" * 64, "1" * 64)


def test_an_epoch_recorded_twice_is_one_row_with_the_later_values(database):
    job_id = add_job(database, add_dataset(database))
    mine = claim(database)
    for loss in (0.5, 0.25):
        metrics = {
            "epoch": 1,
            "train_loss": loss,
            "val_loss": None,
            "learning_rate": 1e-3,
            "epoch_time": 0.1,
            "trainable_parameters": 9,
        }
        with database.unit_of_work() as session:
            jobs.record_epoch(session, mine, metrics)
    with database.reading() as session:
        assert session.scalars(select(EpochMetrics.train_loss).where(EpochMetrics.job_id == job_id)).all() == [0.25]


def test_cancelling_a_queued_job_ends_it_and_a_running_one_is_asked(database):
    dataset = add_dataset(database)
    running, queued = add_job(database, dataset), add_job(database, dataset)
    mine = claim(database)
    for job_id in (running, queued):
        with database.unit_of_work() as session:
            jobs.request_cancel(session, session.get_one(Job, job_id))
    assert row(database, queued).state == JobState.CANCELLED
    assert row(database, running).state == JobState.RUNNING
    with database.unit_of_work() as session:
        assert jobs.heartbeat(session, mine, LEASE).cancel_requested
    with database.unit_of_work() as session:
        assert jobs.cancel_running(session, mine)
    assert events(database, running) == ["queued", "running", "cancelled"]


def test_a_cancelled_job_whose_worker_died_is_cancelled_by_the_reconciler(database):
    job_id = add_job(database, add_dataset(database))
    with bound_clock(0.0):
        claim(database)
    with database.unit_of_work() as session:
        jobs.request_cancel(session, session.get_one(Job, job_id))
    with bound_clock(LEASE + 1):
        reconcile(database)
    assert row(database, job_id).state == JobState.CANCELLED


def test_a_job_handed_back_at_shutdown_has_not_crashed_and_runs_again_at_once(database):
    job_id = add_job(database, add_dataset(database))
    with database.unit_of_work() as session:
        assert jobs.hand_back(session, jobs.claim_next(session, "w", ANY, LEASE))
    assert row(database, job_id).crashes == 0
    assert claim(database) == jobs.Claim(job_id, 2)


@pytest.mark.parametrize("state", list(JobState))
@pytest.mark.parametrize("target", list(JobState))
def test_every_illegal_change_of_state_is_refused(state, target):
    if target not in jobs.LEGAL[state]:
        with pytest.raises(ValueError, match="cannot go"):
            jobs.check_change(state, target)


def test_a_finished_job_can_be_neither_cancelled_nor_retried_but_a_failed_one_is_a_new_job(database):
    dataset = add_dataset(database)
    succeeded, failed = add_job(database, dataset), add_job(database, dataset)
    with database.unit_of_work() as session:
        jobs.succeed(session, jobs.claim_next(session, "w", ANY, LEASE), {})
        jobs.fail(session, jobs.claim_next(session, "w", ANY, LEASE), "internal_error", "boom")
    with database.unit_of_work() as session:
        done, broken = session.get_one(Job, succeeded), session.get_one(Job, failed)
        with pytest.raises(Conflict, match="job_finished"):
            jobs.request_cancel(session, done)
        with pytest.raises(Conflict, match="job_not_retryable"):
            jobs.retry(session, done)
        again = jobs.retry(session, broken)
        assert (again.retry_of, again.state, again.attempt) == (failed, JobState.QUEUED, 0)
