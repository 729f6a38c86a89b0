"""Random histories of jobs on the real SQL layer beside `job_model` (hypothesis).

A history is one transaction that is rolled back; a step takes 2 ms on SQLite, 4 ms on PostgreSQL. The clock is the
model's: leases end when a rule lets time pass.

Usage: python -m tests.service.job_machine STEPS
"""

import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from uuid import UUID, uuid4

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy.orm import Session

from service.errors import Conflict
from service.registry import jobs
from service.registry.session import Database
from service.registry.tables import Account, Dataset, DatasetKind, DatasetState, Job, Stage, Subject
from tests import conftest, servers
from tests.clock import bound_clock
from tests.service.job_model import (
    CANCELLED,
    COMPARED,
    FAILED,
    NEW_EVENTS,
    QUEUED,
    ROWS,
    RUNNING,
    SUCCEEDED,
    Expected,
    Log,
)

ACCOUNTS = 3
LEASE = 60.0
MANY = 6  # unfinished jobs at a time: few, so that much happens to each
STEPS = 100  # of a history, at most
ANY = (*jobs.TRAINING_STAGES, *jobs.IMPORT_STAGES)
picks = st.integers(0, 999)  # the n-th of what is there, round and round
stages = st.sampled_from([Stage.STAGE1, Stage.STAGE1, Stage.STAGE2, Stage.BASE, Stage.IMPORT])


class Machine(RuleBasedStateMachine):
    """`steps` counts what was done over all histories."""

    database: Database
    steps = 0

    @initialize()
    def begin(self):
        self.now, self.number, self.read = 1000.0, 0, 0
        self.jobs: dict[UUID, Expected] = {}
        self.logs: dict[UUID, Log] = defaultdict(Log)
        self.claims: list[jobs.Claim] = []
        self.session = Session(self.database.engine, expire_on_commit=False)
        accounts = [Account(name=uuid4().hex) for _ in range(ACCOUNTS)]
        self.session.add_all(accounts)
        self.session.flush()
        subjects = [Subject(account_id=account.id, name="me") for account in accounts]
        self.session.add_all(subjects)
        self.session.flush()
        self.subjects = [(subject.account_id, subject.id) for subject in subjects]
        self.datasets = [self._dataset(account, DatasetState.READY) for account in range(ACCOUNTS)]

    def teardown(self):
        self.session.close()

    def _dataset(self, account: int, state: DatasetState) -> Dataset:
        owner, subject = self.subjects[account]
        columns = {"min_hr_per_minute": 6.0, "upload_sha256": "0" * 64, "upload_size": 1}
        dataset = Dataset(account_id=owner, subject_id=subject, kind=DatasetKind.PERSONAL, state=state, **columns)
        self.session.add(dataset)
        self.session.flush()
        return dataset

    def _do(self, action):
        """What one unit of work does, at the model's time."""
        type(self).steps += 1
        try:
            with bound_clock(self.now):
                answer = action(self.session)
            self.session.flush()
            return answer
        finally:
            self.session.expunge_all()

    def _room(self) -> bool:
        return sum(not job.over for job in self.jobs.values()) < MANY

    def _pick(self, number: int) -> Expected:
        return list(self.jobs.values())[number % len(self.jobs)]

    def _claim(self, number: int) -> tuple[jobs.Claim, Expected, bool]:
        """A claim that was given out at any time (half of the time the newest), its job, and whether it still counts."""
        claim = self.claims[-1] if number % 2 else self.claims[number // 2 % len(self.claims)]
        job = self.jobs[claim.job_id]
        return claim, job, job.state == RUNNING and job.attempt == claim.attempt

    # -- the API --

    @precondition(lambda self: self._room())
    @rule(account=st.integers(0, ACCOUNTS - 1), stage=stages, waits=st.booleans(), other=picks)
    def submit(self, account, stage, waits, other):
        unfinished = [job for job in self.jobs.values() if not job.over and other % 4]
        candidates = unfinished or list(self.jobs.values())
        waits = waits and candidates and stage != Stage.IMPORT
        depends_on = candidates[other % len(candidates)].id if waits else None

        def add(session):
            imported = stage == Stage.IMPORT
            dataset = self._dataset(account, DatasetState.QUEUED) if imported else self.datasets[account]
            return jobs.add(session, dataset, stage=stage, configuration={}, depends_on=depends_on)

        self._expect(self._do(add), account)

    def _expect(self, row: Job, account: int) -> None:
        kept = {"stage": row.stage, "dataset": row.dataset_id, "depends_on": row.depends_on, "retry_of": row.retry_of}
        self.jobs[row.id] = Expected(row.id, account, born=(row.created_at, row.id), **kept)

    @precondition(lambda self: self.jobs)
    @rule(number=picks)
    def request_cancel(self, number):
        job = self._pick(number)
        try:
            self._do(lambda session: jobs.request_cancel(session, session.get_one(Job, job.id)))
        except Conflict:
            assert job.over
            return
        assert not job.over
        if job.state == QUEUED:
            job.end(CANCELLED)
        else:
            job.cancel_requested = True

    @precondition(lambda self: self.jobs and self._room())
    @rule(number=picks)
    def retry(self, number):
        job = self._pick(number)
        hopeless = job.depends_on is not None and self.jobs[job.depends_on].state in (FAILED, CANCELLED)
        allowed = job.state in (FAILED, CANCELLED) and job.stage != Stage.IMPORT and not hopeless
        try:
            row = self._do(lambda session: jobs.retry(session, session.get_one(Job, job.id)))
        except Conflict:
            assert not allowed
            return
        assert allowed
        assert row.retry_of == job.id
        self._expect(row, job.account)

    # -- workers --

    @rule(worker=st.sampled_from("ab"))
    def claim(self, worker):
        claim = self._do(lambda session: jobs.claim_next(session, worker, ANY, LEASE))
        running = [job.account for job in self.jobs.values() if job.state == RUNNING]
        free = [job for job in self.jobs.values() if self._is_claimable(job)]
        if claim is None:
            assert not free
            return
        assert free
        last_start = [max((job.started for job in self.jobs.values() if job.account == n), default=0) for n in range(3)]
        job = min(free, key=lambda job: (running.count(job.account), last_start[job.account], *job.born))
        job.started = job.started or len(self.claims) + 1
        job.state, job.attempt, job.worker, job.lease_until = RUNNING, job.attempt + 1, worker, self.now + LEASE
        job.events.append("running")
        assert claim == jobs.Claim(job.id, job.attempt)
        self.claims.append(claim)

    def _is_claimable(self, job: Expected) -> bool:
        ready = job.depends_on is None or self.jobs[job.depends_on].state == SUCCEEDED
        return job.state == QUEUED and not job.cancel_requested and ready

    @precondition(lambda self: self.claims)
    @rule(number=picks, progress=st.none() | st.sampled_from([0.25, 0.5]))
    def heartbeat(self, number, progress):
        claim, job, ours = self._claim(number)
        answer = self._do(lambda session: jobs.heartbeat(session, claim, LEASE, progress))
        assert answer == jobs.Heartbeat(lease_held=ours, cancel_requested=ours and job.cancel_requested)
        if ours:
            job.lease_until = self.now + LEASE
            job.progress = job.progress if progress is None else progress

    @precondition(lambda self: self.claims)
    @rule(number=picks, again=st.booleans())
    def checkpoint(self, number, again):
        claim, job, ours = self._claim(number)
        self.number += 1
        sha256 = job.latest_sha256 if again and job.latest_sha256 else f"{self.number:064x}"
        new = ours and sha256 != job.latest_sha256
        epoch = job.epoch + 1
        assert self._do(lambda session: jobs.record_checkpoint(session, claim, epoch=epoch, sha256=sha256)) is new
        if new:
            job.previous_sha256, job.latest_sha256, job.crashes, job.epoch = job.latest_sha256, sha256, 0, epoch
            job.events.append("checkpoint")

    @precondition(lambda self: self.claims)
    @rule(number=picks)
    def succeed(self, number):
        claim, job, ours = self._claim(number)
        assert self._do(lambda session: jobs.succeed(session, claim, {})) is ours
        if ours:
            job.end(SUCCEEDED)
            job.progress = 1.0

    @precondition(lambda self: self.claims)
    @rule(number=picks)
    def fail(self, number):
        claim, job, ours = self._claim(number)
        assert self._do(lambda session: jobs.fail(session, claim, "internal_error", "x")) is ours
        if ours:
            job.end(FAILED, "internal_error")

    @precondition(lambda self: self.claims)
    @rule(number=picks)
    def cancel_running(self, number):
        claim, job, ours = self._claim(number)
        assert self._do(lambda session: jobs.cancel_running(session, claim)) is ours
        if ours:
            job.end(CANCELLED)

    @precondition(lambda self: self.claims)
    @rule(number=picks)
    def hand_back(self, number):
        claim, job, ours = self._claim(number)
        assert self._do(lambda session: jobs.hand_back(session, claim)) is ours
        if ours and job.cancel_requested:
            job.end(CANCELLED)
        elif ours:
            job.requeue("handed_back")

    # -- time and the reconciler --

    @rule(worker=st.sampled_from("ab"), times=st.integers(1, 3))
    def one_worker_after_the_other_dies(self, worker, times):
        for _ in range(times):
            self.time_passes(LEASE + 1)
            self.reconcile()
            self.claim(worker)

    @rule(seconds=st.sampled_from([1.0, LEASE / 2, LEASE, LEASE + 1]))
    def time_passes(self, seconds):
        self.now += seconds

    @rule()
    def reconcile(self):
        changed = self._do(jobs.reconcile)
        over = [job for job in self.jobs.values() if job.state == RUNNING and job.lease_until < self.now]
        for job in over:
            job.crashes += 1
            if job.cancel_requested:
                job.end(CANCELLED)
            elif job.crashes >= 3:
                job.end(FAILED, "worker_crashed")
            else:
                job.requeue("lease_expired")
        hopeless = [job for job in self.jobs.values() if job.state == QUEUED and self._is_hopeless(job)]
        for job in hopeless:
            job.end(FAILED, "dependency_failed")
        assert changed == len(over) + len(hopeless)

    def _is_hopeless(self, job: Expected) -> bool:
        return job.depends_on is not None and self.jobs[job.depends_on].state in (FAILED, CANCELLED)

    # -- after every step --

    @invariant()
    def every_row_is_as_expected_and_so_is_its_history(self):
        if not hasattr(self, "jobs"):
            return
        connection = self.session.connection()
        found = connection.execute(ROWS).all()
        new = connection.execute(NEW_EVENTS, {"read": self.read}).all()
        rows = {job_id: tuple(row) for job_id, _, _, *row in found}
        assert rows == {job.id: tuple(getattr(job, name) for name in COMPARED) for job in self.jobs.values()}
        for job_id, stage, state, *_ in found:
            ended_badly = self.jobs[job_id].state in (FAILED, CANCELLED)
            imported = DatasetState.FAILED if ended_badly else DatasetState.QUEUED
            assert state == (imported if stage == Stage.IMPORT else DatasetState.READY)
        self._check_log(new)

    def _check_log(self, new):
        self.read = new[-1].id if new else self.read
        for _, job_id, what, attempt in new:
            self.logs[job_id].append(what, attempt)
        assert {job_id: log.entries for job_id, log in self.logs.items()} == {
            j.id: j.events for j in self.jobs.values()
        }


def run(database: Database, steps: int, histories: int = 50, **options) -> int:
    """Take at least so many steps, in rounds of so many histories; how many they were."""
    machine = type("BoundMachine", (Machine,), {"database": database, "steps": 0})
    options = {"max_examples": histories, "stateful_step_count": STEPS, "deadline": None, "database": None, **options}
    while machine.steps < steps:
        run_state_machine_as_test(machine, settings=settings(suppress_health_check=list(HealthCheck), **options))
    return machine.steps


def measured(url: str, steps: int) -> None:
    conftest.make_tables(url)
    database, started = Database(url), time.monotonic()
    done = run(database, steps)
    print(f"{done} steps on {database.engine.dialect.name} in {time.monotonic() - started:.0f} s", flush=True)
    database.dispose()


def main(steps: int) -> None:
    """Nine of ten on SQLite, the others on PostgreSQL."""
    with tempfile.TemporaryDirectory() as folder, servers.postgresql(Path(folder)) as server:
        measured(f"sqlite:///{folder}/machine.sqlite3", steps * 9 // 10)
        with conftest.new_postgresql_database(server) as url:
            measured(url, steps // 10)


if __name__ == "__main__":
    main(int(sys.argv[1]))
