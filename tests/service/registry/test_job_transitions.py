"""Every transition from every state: the allowed ones do what they say, all others change nothing."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from service.errors import Conflict
from service.registry import jobs
from service.registry.tables import Job, JobEvent, JobState, Stage
from tests.clock import bound_clock

LEASE, NOW = 60.0, 1000.0
QUEUED, RUNNING, SUCCEEDED, FAILED, CANCELLED = JobState
Change = Callable[[Session, Job, jobs.Claim], Any]


def refused(change: Change) -> Change:
    """A Conflict counts as no."""

    def tell(session, job, claim):
        try:
            return change(session, job, claim)
        except Conflict:
            return False

    return tell


def claim_it(session, job, claim):
    return jobs.claim_next(session, "w", jobs.TRAINING_STAGES, LEASE)


# what may happen, by state: where the job stands afterwards
TABLE: dict[str, tuple[Change, dict[JobState, JobState]]] = {
    "claim": (claim_it, {QUEUED: RUNNING}),
    "heartbeat": (lambda s, job, claim: jobs.heartbeat(s, claim, LEASE, 0.5).lease_held, {RUNNING: RUNNING}),
    "checkpoint": (
        lambda s, job, claim: jobs.record_checkpoint(s, claim, epoch=1, sha256="1" * 64),
        {RUNNING: RUNNING},
    ),
    "succeed": (lambda s, job, claim: jobs.succeed(s, claim, {}), {RUNNING: SUCCEEDED}),
    "fail": (lambda s, job, claim: jobs.fail(s, claim, "internal_error", "x"), {RUNNING: FAILED}),
    "cancel at the worker": (lambda s, job, claim: jobs.cancel_running(s, claim), {RUNNING: CANCELLED}),
    "hand back": (lambda s, job, claim: jobs.hand_back(s, claim), {RUNNING: QUEUED}),
    "request a cancel": (
        refused(lambda s, job, claim: jobs.request_cancel(s, job)),
        {QUEUED: CANCELLED, RUNNING: RUNNING},
    ),
    "retry": (refused(lambda s, job, claim: jobs.retry(s, job)), {FAILED: FAILED, CANCELLED: CANCELLED}),
    "the lease is over": (lambda s, job, claim: jobs.reconcile(s), {RUNNING: QUEUED}),
}


def put(session: Session, job_id, state: JobState) -> None:
    """The job in a state, as if its first attempt had brought it there; its lease ended long ago."""
    values = {"state": state, "attempt": 1, "lease_until": NOW - LEASE if state == RUNNING else None}
    session.execute(update(Job).where(Job.id == job_id).values(**values))


def row_of(database, job_id):
    """All of the row, and how many jobs and events there are."""
    with database.reading() as session:
        counts = [session.scalar(select(func.count()).select_from(table)) for table in (Job, JobEvent)]
        return session.execute(select(Job.__table__).where(Job.id == job_id)).one(), counts


@pytest.mark.parametrize("name", TABLE)
def test_only_the_transitions_of_the_design_happen(database, make_dataset, name):
    change, allowed = TABLE[name]
    dataset = make_dataset()
    for state in JobState:
        with database.unit_of_work() as session:
            job = jobs.add(session, dataset, stage=Stage.STAGE1, configuration={})
            put(session, job.id, state)
        before = row_of(database, job.id)
        with bound_clock(NOW), database.unit_of_work() as session:
            happened = bool(change(session, session.get_one(Job, job.id), jobs.Claim(job.id, 1)))
        after = row_of(database, job.id)
        assert happened is (state in allowed), state
        assert after[0].state == allowed.get(state, state), state
        if state not in allowed:
            assert after == before, state
        with database.unit_of_work() as session:
            put(session, job.id, SUCCEEDED)  # out of the way of the next


@pytest.mark.parametrize("name", ["heartbeat", "checkpoint", "succeed", "fail", "cancel at the worker", "hand back"])
def test_a_stale_attempt_changes_nothing_in_any_state(database, make_dataset, name):
    change, _ = TABLE[name]
    dataset = make_dataset()
    for state in JobState:
        with database.unit_of_work() as session:
            job = jobs.add(session, dataset, stage=Stage.STAGE1, configuration={})
            put(session, job.id, state)
        before = row_of(database, job.id)
        for attempt in (0, 2):
            with bound_clock(NOW), database.unit_of_work() as session:
                assert not change(session, session.get_one(Job, job.id), jobs.Claim(job.id, attempt)), (state, attempt)
        assert row_of(database, job.id) == before


@pytest.mark.parametrize("ended", [SUCCEEDED, FAILED, CANCELLED])
def test_what_a_job_waits_for_decides_over_it_only_while_it_is_queued(database, make_dataset, ended):
    dataset = make_dataset()
    with database.unit_of_work() as session:
        first = jobs.add(session, dataset, stage=Stage.STAGE1, configuration={})
        put(session, first.id, ended)
    for state in JobState:
        with database.unit_of_work() as session:
            job = jobs.add(session, dataset, stage=Stage.STAGE2, configuration={}, depends_on=first.id)
            put(session, job.id, state)
            session.execute(update(Job).where(Job.id == job.id).values(lease_until=NOW + LEASE))
        with bound_clock(NOW), database.unit_of_work() as session:
            jobs.reconcile(session)
        expected = FAILED if state == QUEUED and ended in (FAILED, CANCELLED) else state
        assert row_of(database, job.id)[0].state == expected
        with database.unit_of_work() as session:
            put(session, job.id, SUCCEEDED)
