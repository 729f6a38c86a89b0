"""The state machine of jobs: the only place where a job's state changes, and only from the state it expects.

A worker's writes carry its `Claim` (job and attempt, the fencing token): a stale claim matches no row.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, func, insert, select, update
from sqlalchemy.orm import Session, aliased

from service.errors import Conflict, NotFound
from service.logs import current_request
from service.registry import job_history, leftovers, turns
from service.registry.session import db_now
from service.registry.tables import (
    JOB_EVENTS,
    TERMINAL_STATES,
    Dataset,
    DatasetState,
    EpochMetrics,
    Job,
    JobEvent,
    JobLogLine,
    JobState,
    Phase,
    Stage,
    utc_now,
)

MAX_CRASHES = 3
BEATS_PER_LEASE = 6  # how often a worker renews it, and looks for work that was lost
TRAINING_STAGES = tuple(stage for stage in Stage if stage.trains)
IMPORT_STAGES = (Stage.IMPORT,)
LEGAL = {
    JobState.QUEUED: {JobState.RUNNING, JobState.CANCELLED, JobState.FAILED},
    JobState.RUNNING: {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.QUEUED},
    **{state: set[JobState]() for state in TERMINAL_STATES},
}

_DEPENDENCY = aliased(Job)  # made once: it costs more than the query


@dataclass(frozen=True)
class Claim:
    """The right of one attempt to work on a job. `attempt` is the fencing token."""

    job_id: UUID
    attempt: int


@dataclass(frozen=True)
class Heartbeat:
    """The answer to a worker that renews its lease."""

    lease_held: bool
    cancel_requested: bool


@dataclass(frozen=True, kw_only=True)
class Place:
    """How far an attempt is in its phase."""

    phase: Phase
    done: float  # of `total`
    total: float
    eta_seconds: float | None  # left in the phase; None: not measured yet


# -- what the API does ------------------------------------------------------------------------------------------------


def add(
    session: Session,
    dataset: Dataset,
    *,
    stage: Stage,
    configuration: dict[str, Any],
    start_model_version_id: UUID | None = None,
    depends_on: UUID | None = None,
    retry_of: UUID | None = None,
) -> Job:
    """Record a queued job on `dataset`."""
    job = Job(
        account_id=dataset.account_id,
        subject_id=dataset.subject_id,
        dataset_id=dataset.id,
        stage=stage,
        configuration=configuration,
        start_model_version_id=start_model_version_id,
        depends_on=depends_on,
        retry_of=retry_of,
    )
    session.add(job)
    session.flush()
    request_id = current_request()
    _event(session, job.id, job.attempt, "queued", **({"request_id": request_id} if request_id else {}))
    return job


def require(session: Session, account_id: UUID, job_id: UUID) -> Job:
    """The account's job. Raises NotFound."""
    job = session.scalar(select(Job).where(Job.id == job_id, Job.account_id == account_id))
    if job is None:
        raise NotFound("job_not_found", f"There is no job {job_id}.")
    return job


def request_cancel(session: Session, job: Job) -> Job:
    """Cancel a queued job now; ask the worker of a running one. Raises Conflict when the job has ended."""
    session.refresh(job, with_for_update=True)  # locked: no worker hands it back between the two statements
    if _end(session, Job.id == job.id, JobState.QUEUED, JobState.CANCELLED):
        _event(session, job.id, job.attempt, "cancelled")
        _fail_import(session, job, "cancelled", "The import was cancelled.")
        session.refresh(job)
    else:
        ask_to_cancel(session, job)
    return job


def ask_to_cancel(session: Session, job: Job) -> None:
    """Note on a running job that it is to be cancelled. Raises Conflict unless the job runs."""
    asked = update(Job).where(Job.id == job.id, Job.state == JobState.RUNNING)
    noted = _changed(session, asked, cancel_requested=True)
    session.refresh(job)
    if not noted:
        raise Conflict("job_finished", f"Job {job.id} is {job.state}; only a queued or running job can be cancelled.")


def cancel_children(session: Session, fleet: Job) -> None:
    """Cancel all jobs of a fleet that wait, and ask those that run, in a few statements: there may be thousands."""
    children, waiting = Job.parent_id == fleet.id, Job.state == JobState.QUEUED
    attempts = session.execute(select(Job.id, Job.attempt).where(children, waiting).with_for_update()).all()
    _end(session, children, JobState.QUEUED, JobState.CANCELLED)
    if attempts:
        cancelled = [
            {"job_id": job_id, "attempt": attempt, "event": "cancelled", "detail": {}} for job_id, attempt in attempts
        ]
        session.execute(insert(JOB_EVENTS), cancelled)
    _changed(session, update(Job).where(children, Job.state == JobState.RUNNING), cancel_requested=True)


def retry(session: Session, job: Job) -> Job:
    """A new job that does what a failed or cancelled one should have done. Raises Conflict."""
    if job.stage == Stage.FLEET:
        raise Conflict("fleet_not_retryable", "Retry the jobs of the fleet that failed, or post a new fleet.")
    if job.state not in (JobState.FAILED, JobState.CANCELLED):
        raise Conflict(
            "job_not_retryable", f"Job {job.id} is {job.state}; only a failed or cancelled job can be retried."
        )
    if job.stage == Stage.IMPORT:
        raise Conflict(
            "import_not_retryable", "An import is retried by uploading the file again: the upload is not kept."
        )
    dataset = session.get_one(Dataset, job.dataset_id)
    depends_on = job.depends_on
    if depends_on is not None and session.get_one(Job, depends_on).state in (JobState.FAILED, JobState.CANCELLED):
        raise Conflict("dependency_failed", f"Job {job.id} waited for job {depends_on}; retry that one first.")
    return add(
        session,
        dataset,
        stage=job.stage,
        configuration=job.configuration,
        start_model_version_id=job.start_model_version_id,
        depends_on=depends_on,
        retry_of=job.id,
    )


# -- what a worker does -----------------------------------------------------------------------------------------------


def claim_next(session: Session, worker: str, stages: tuple[Stage, ...], lease_seconds: float) -> Claim | None:
    """Take the fairest claimable job (turns.py). None: nothing to do."""
    claimed = session.execute(
        update(Job)
        .where(Job.id == turns.fairest(stages), Job.state == JobState.QUEUED)
        .values(
            state=JobState.RUNNING,
            attempt=Job.attempt + 1,
            lease_until=db_now() + lease_seconds,
            worker=worker,
            phase=None,
            eta_seconds=None,
            started_at=func.coalesce(Job.started_at, utc_now()),
        )
        .returning(Job.id, Job.attempt)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    if claimed is None:
        return None
    claim = Claim(claimed.id, claimed.attempt)
    _event(session, claim.job_id, claim.attempt, "running", worker=worker)
    return claim


def heartbeat(
    session: Session, claim: Claim, lease_seconds: float, progress: float | None = None, place: Place | None = None
) -> Heartbeat:
    """Renew the lease and say how far the job is. When the lease is lost, the worker must stop and write nothing more.

    `progress`: 0..1 of the whole job; None: as before. `place`: in its phase.
    """
    values: dict[str, Any] = {"lease_until": db_now() + lease_seconds}
    if progress is not None:
        values["progress"] = progress
    if place is not None:
        values |= {"phase": place.phase.value, "phase_done": place.done, "phase_total": place.total}
        values["eta_seconds"] = place.eta_seconds
    renewal = update(Job).where(*fencing(claim)).values(**values).returning(Job.cancel_requested)
    renewed = session.execute(renewal.execution_options(synchronize_session=False)).one_or_none()
    return Heartbeat(lease_held=renewed is not None, cancel_requested=bool(renewed and renewed.cancel_requested))


def record_phase(session: Session, claim: Claim, phase: Phase, total: float) -> None:
    """Note that the attempt has come to a phase of so many parts. Call after `heartbeat`."""
    _event(session, claim.job_id, claim.attempt, "phase", phase=phase.value, total=total)


def record_checkpoint(session: Session, claim: Claim, *, epoch: int, sha256: str) -> bool:
    """Point the job at its newest checkpoint. A job that gets ahead has not crashed: `crashes` starts anew."""
    pointers = {"previous_sha256": Job.latest_sha256, "latest_sha256": sha256, "crashes": 0, "epoch": epoch}
    if not _changed(
        session, update(Job).where(*fencing(claim), Job.latest_sha256.is_distinct_from(sha256)), **pointers
    ):
        return False
    _event(session, claim.job_id, claim.attempt, "checkpoint", epoch=epoch, sha256=sha256)
    return True


def record_epoch(session: Session, claim: Claim, metrics: dict[str, Any]) -> None:
    """Write one epoch's row, once per (job, epoch): a repeated epoch replaces its row. Call after `heartbeat`."""
    row = session.scalar(
        select(EpochMetrics).where(EpochMetrics.job_id == claim.job_id, EpochMetrics.epoch == metrics["epoch"])
    )
    if row is None:
        session.add(EpochMetrics(job_id=claim.job_id, attempt=claim.attempt, **metrics))
        return
    for name, value in {**metrics, "attempt": claim.attempt}.items():
        setattr(row, name, value)


def add_log(session: Session, claim: Claim, message: str) -> None:
    """Append a log line. Call after `heartbeat`."""
    session.add(JobLogLine(job_id=claim.job_id, attempt=claim.attempt, message=message))


def succeed(session: Session, claim: Claim, result: dict[str, Any]) -> bool:
    """End the job; False when the lease is lost (then roll the transaction back)."""
    return _finish(session, claim, JobState.SUCCEEDED, "succeeded", result=result, progress=1.0)


def fail(session: Session, claim: Claim, code: str, message: str) -> bool:
    """End the job with a permanent error."""
    if not _finish(session, claim, JobState.FAILED, "failed", error_code=code, error_message=message):
        return False
    _fail_import(session, session.get_one(Job, claim.job_id), code, message)
    return True


def cancel_running(session: Session, claim: Claim) -> bool:
    """End the job at the caller's wish."""
    if not _finish(session, claim, JobState.CANCELLED, "cancelled"):
        return False
    _fail_import(session, session.get_one(Job, claim.job_id), "cancelled", "The import was cancelled.")
    return True


def hand_back(session: Session, claim: Claim) -> bool:
    """Put the job back to queued at shutdown: another worker goes on at once, and it does not count as a crash.

    A job with a cancel request is cancelled: no worker would claim it again.
    """
    if session.scalar(select(Job.cancel_requested).where(*fencing(claim)).with_for_update()):
        return cancel_running(session, claim)
    if not _move(session, and_(*fencing(claim)), JobState.RUNNING, JobState.QUEUED, lease_until=None, worker=None):
        return False
    _event(session, claim.job_id, claim.attempt, "handed_back")
    return True


# -- what the reconciler does -----------------------------------------------------------------------------------------


def reconcile(session: Session) -> int:
    """End or requeue jobs whose lease is over, and fail those that wait for a job that will not succeed.

    Safe to run many at once: every change names the state and the attempt that it saw. Returns how many jobs changed.
    """
    over = select(Job).where(Job.state == JobState.RUNNING, Job.lease_until < db_now())
    over = over.with_for_update(skip_locked=True)  # a cancel request that comes now waits, and is not overlooked
    changed = sum(_expire(session, job) for job in session.scalars(over).all())
    hopeless = (
        select(Job)
        .join(_DEPENDENCY, Job.depends_on == _DEPENDENCY.id)
        .where(Job.state == JobState.QUEUED, _DEPENDENCY.state.in_((JobState.FAILED, JobState.CANCELLED)))
    )
    return changed + sum(_fail_dependent(session, job) for job in session.scalars(hopeless).all())


def end_fleet(session: Session, fleet: Job, target: JobState, **values: Any) -> bool:
    """End a fleet whose jobs have all ended."""
    if not _end(session, Job.id == fleet.id, JobState.RUNNING, target, progress=1.0, **values):
        return False
    _event(session, fleet.id, fleet.attempt, target.value)
    return True


def _expire(session: Session, job: Job) -> bool:
    seen = and_(Job.id == job.id, Job.attempt == job.attempt, Job.lease_until < db_now())
    crashes = job.crashes + 1
    values: dict[str, Any]
    if job.cancel_requested:
        target, event, values = JobState.CANCELLED, "cancelled", {}
    elif crashes >= MAX_CRASHES:
        message = f"The worker died {crashes} times without getting ahead; the last one was {job.worker}."
        target, event = JobState.FAILED, "failed"
        values = {"error_code": "worker_crashed", "error_message": message}
    else:
        target, event, values = JobState.QUEUED, "lease_expired", {"worker": None}
    change = _end if target in TERMINAL_STATES else _move
    if not change(session, seen, JobState.RUNNING, target, crashes=crashes, lease_until=None, **values):
        return False
    _event(session, job.id, job.attempt, event, crashes=crashes)
    job_history.warn_of(session, job, f"lease over, job {target}")
    if target in TERMINAL_STATES:
        _fail_import(session, job, str(values.get("error_code", event)), str(values.get("error_message", "Cancelled.")))
    return True


def _fail_dependent(session: Session, job: Job) -> bool:
    message = f"Job {job.depends_on}, which this one waited for, did not succeed."
    values = {"error_code": "dependency_failed", "error_message": message}
    if not _end(session, Job.id == job.id, JobState.QUEUED, JobState.FAILED, **values):
        return False
    _event(session, job.id, job.attempt, "failed", code="dependency_failed")
    job_history.warn_of(session, job, "dependency failed")
    return True


# -- shared -----------------------------------------------------------------------------------------------------------


def fencing(claim: Claim) -> tuple[ColumnElement[bool], ...]:
    """The conditions of each write by a worker: the job still runs, in the attempt that the worker claimed."""
    return (Job.id == claim.job_id, Job.attempt == claim.attempt, Job.state == JobState.RUNNING)


def check_change(source: JobState, target: JobState) -> None:
    """Raise ValueError for a change of state that is not in `LEGAL`."""
    if target not in LEGAL[source]:
        raise ValueError(f"a job cannot go from {source} to {target}")


def _finish(session: Session, claim: Claim, target: JobState, event: str, **values: Any) -> bool:
    if not _end(session, and_(*fencing(claim)), JobState.RUNNING, target, lease_until=None, **values):
        return False
    _event(session, claim.job_id, claim.attempt, event)
    return True


def _end(session: Session, which: ColumnElement[bool], source: JobState, target: JobState, **values: Any) -> bool:
    """Change to a state without an exit, and let go of what only an unfinished job needs: its resume checkpoints, an
    import's upload, and what it stored without a row if it did not end as it should.
    """  # fmt: skip
    held = select(Job.account_id, Job.attempt, Job.latest_sha256, Job.previous_sha256, Dataset.upload_sha256)
    held = held.outerjoin(Dataset, (Dataset.id == Job.dataset_id) & (Job.stage == Stage.IMPORT))
    rows = session.execute(held.where(which, Job.state == source).with_for_update(of=Job)).all()
    ended = {"finished_at": utc_now(), "latest_sha256": None, "previous_sha256": None, **values}
    if not _move(session, which, source, target, **ended):
        return False
    for account_id, attempt, *digests in rows:
        leftovers.add(session, account_id, digests)
        if attempt > 1 or (attempt == 1 and target != JobState.SUCCEEDED):
            leftovers.look_later(session, account_id)
    return True


def _move(session: Session, which: ColumnElement[bool], source: JobState, target: JobState, **values: Any) -> bool:
    """The one statement that changes a state; False when the row is not in `source` (any more)."""
    check_change(source, target)
    return _changed(session, update(Job).where(which, Job.state == source), state=target, **values)


def _changed(session: Session, statement: Any, **values: Any) -> bool:
    statement = statement.values(**values).execution_options(synchronize_session=False)
    return bool(session.execute(statement).rowcount)  # type: ignore[attr-defined]


def _event(session: Session, job_id: UUID, attempt: int, event: str, **detail: Any) -> None:
    session.add(JobEvent(job_id=job_id, attempt=attempt, event=event, detail=detail))


def _fail_import(session: Session, job: Job, code: str, message: str) -> None:
    """An import that ended without success leaves its dataset failed, with the same reason."""
    if job.stage != Stage.IMPORT:
        return
    unfinished = update(Dataset).where(Dataset.id == job.dataset_id, Dataset.state != DatasetState.READY)
    _changed(session, unfinished, state=DatasetState.FAILED, error_code=code, error_message=message)
