"""Accounts take turns: whoever asks for little does not wait behind whoever asks for much."""

import time
from collections import deque

import pytest
from sqlalchemy import select, update

from service.registry import jobs
from service.registry.tables import Job, JobState, Stage
from tests.builders import add_job


def add_many(database, dataset, count):
    with database.unit_of_work() as session:
        session.add_all(
            Job(account_id=dataset.account_id, dataset_id=dataset.id, stage=Stage.STAGE1, configuration={})
            for _ in range(count)
        )


class Workers:
    """Workers that end a job and take the next one, all jobs equally long."""

    def __init__(self, database, count):
        self.database = database
        self.claims = deque(self.take() for _ in range(count))

    def take(self):
        with self.database.unit_of_work() as session:
            claim = jobs.claim_next(session, "w", jobs.TRAINING_STAGES, 60.0)
            return claim, session.get_one(Job, claim.job_id).account_id if claim else None

    def job_length(self):
        """Every worker ends its job and takes the next; the accounts of those."""
        for _ in range(len(self.claims)):
            claim, _ = self.claims.popleft()
            with self.database.unit_of_work() as session:
                assert jobs.succeed(session, claim, {})
            self.claims.append(self.take())
        return [account for _, account in self.claims]


@pytest.mark.parametrize("workers", [1, 3])
def test_one_job_behind_a_thousand_of_somebody_else_starts_within_two_job_lengths(database, make_dataset, workers):
    add_many(database, make_dataset(account="a"), 1000)
    busy = Workers(database, workers)
    late = make_dataset(account="b")
    add_job(database, late)
    assert late.account_id in busy.job_length() + busy.job_length()


def test_with_one_worker_accounts_take_turns_and_each_has_its_oldest_job_first(database, make_dataset):
    owners = {}
    for name, count in (("a", 6), ("b", 3), ("c", 2)):
        dataset = make_dataset(account=name)
        owners[dataset.account_id] = name
        add_many(database, dataset, count)
    worker = Workers(database, 1)
    turns = [worker.claims[0][1], *(worker.job_length()[0] for _ in range(10))]
    assert "".join(owners[account] for account in turns) == "abcabcabaaa"
    with database.reading() as session:
        started = session.query(Job.account_id, Job.created_at).order_by(Job.started_at).all()
    for account in owners:
        mine = [created for owner, created in started if owner == account]
        assert mine == sorted(mine)


def test_claims_do_not_slow_down_with_the_jobs_of_one_account(database, make_dataset):
    mine = make_dataset()
    add_many(database, mine, 2000)
    ended = {"state": JobState.SUCCEEDED, "started_at": Job.created_at}
    with database.unit_of_work() as session:
        half = session.scalars(select(Job.id).limit(1000)).all()
        session.execute(update(Job).where(Job.id.in_(half)).values(ended))
    worker = Workers(database, 1)
    started = time.monotonic()
    worker.job_length()
    assert time.monotonic() - started < 1.0  # 0.02 s; looking at all jobs for each one that waits took 30 s for 10,000
