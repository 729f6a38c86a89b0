"""What the API reads of jobs: pages of them, their events, log lines and epochs. Changes nothing."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from service.errors import NotFound
from service.registry import subjects
from service.registry.pages import Page, PageRequest, fetch
from service.registry.tables import TERMINAL_STATES, EpochMetrics, Job, JobEvent, JobLogLine, JobState, Stage, Subject

log = structlog.get_logger(__name__)

JobRow = tuple[Job, str | None]  # with its subject's name
Mark = tuple[Any, ...]
_CHILD = aliased(Job)


@dataclass(frozen=True)
class JobFilter:
    """Which jobs a list shows; None: all."""

    subject: str | None = None
    dataset_id: UUID | None = None
    parent_id: UUID | None = None
    stage: Stage | None = None
    state: JobState | None = None


def read(session: Session, account_id: UUID, job_id: UUID) -> JobRow:
    """The account's job as the API shows it. Raises NotFound."""
    row = session.execute(_shown(account_id).where(Job.id == job_id)).first()
    if row is None:
        raise NotFound("job_not_found", f"There is no job {job_id}.")
    return row[0], row[1]


def page(session: Session, account_id: UUID, criteria: JobFilter, request: PageRequest) -> Page[JobRow]:
    """Jobs of an account."""
    conditions = {
        Job.subject_id: criteria.subject and subjects.id_of(account_id, criteria.subject),
        Job.dataset_id: criteria.dataset_id,
        Job.parent_id: criteria.parent_id,
        Job.stage: criteria.stage,
        Job.state: criteria.state,
    }
    rows = _shown(account_id).where(*(column == value for column, value in conditions.items() if value is not None))
    return fetch(session, rows, Job, request)


def events(session: Session, job_id: UUID, after: int, limit: int) -> list[JobEvent]:
    """Events behind number `after`, in order."""
    behind = select(JobEvent).where(JobEvent.job_id == job_id, JobEvent.id > after)
    return list(session.scalars(behind.order_by(JobEvent.id).limit(limit)))


def log_lines(session: Session, job_id: UUID, after: int, limit: int) -> list[JobLogLine]:
    """Log lines behind number `after`, in order."""
    behind = select(JobLogLine).where(JobLogLine.job_id == job_id, JobLogLine.id > after)
    return list(session.scalars(behind.order_by(JobLogLine.id).limit(limit)))


def epochs(session: Session, job_id: UUID) -> list[EpochMetrics]:
    """All epochs of a job (500 at most)."""
    rows = select(EpochMetrics).where(EpochMetrics.job_id == job_id)
    return list(session.scalars(rows.order_by(EpochMetrics.epoch)))


def epochs_numbered(session: Session, job_id: UUID, numbers: Collection[int]) -> dict[int, EpochMetrics]:
    """The epochs of a job with these numbers; missing epochs are left out."""
    if not numbers:
        return {}
    rows = select(EpochMetrics).where(EpochMetrics.job_id == job_id, EpochMetrics.epoch.in_(numbers))
    return {row.epoch: row for row in session.scalars(rows)}


def marks(session: Session, job_ids: Collection[UUID]) -> dict[UUID, Mark]:
    """A mark per job that differs once anything of the job has changed; deleted jobs are left out."""
    children = select(func.count()).where(_CHILD.parent_id == Job.id, _CHILD.state.in_(TERMINAL_STATES))
    newest = [select(func.max(rows.id)).where(rows.job_id == Job.id) for rows in (JobEvent, JobLogLine)]
    columns = (Job.state, Job.progress, Job.phase_done, Job.epoch, Job.cancel_requested)
    counts = (part.scalar_subquery() for part in (*newest, children))
    rows = session.execute(select(Job.id, *columns, *counts).where(Job.id.in_(job_ids)))
    return {row[0]: tuple(row[1:]) for row in rows}


def request_of(session: Session, job_id: UUID) -> str | None:
    """The id of the HTTP request that queued a job, for the worker's log lines; None when it was not a request."""
    queued = select(JobEvent.detail).where(JobEvent.job_id == job_id, JobEvent.event == "queued")
    detail = session.scalar(queued.order_by(JobEvent.id).limit(1))
    return detail.get("request_id") if detail else None


def warn_of(session: Session, job: Job, event: str) -> None:
    """A line of the process's log about a job that no worker speaks for, with the request that queued it."""
    log.warning(event, job=str(job.id), attempt=job.attempt, request_id=request_of(session, job.id))


def newest_of_stage(session: Session, dataset_id: UUID, stage: Stage) -> Job | None:
    """The newest job of a stage on a dataset that succeeded or still may."""
    alive = (JobState.QUEUED, JobState.RUNNING, JobState.SUCCEEDED)
    newest = select(Job).where(Job.dataset_id == dataset_id, Job.stage == stage, Job.state.in_(alive))
    return session.scalar(newest.order_by(Job.created_at.desc(), Job.id.desc()).limit(1))


def _shown(account_id: UUID) -> Any:
    return (
        select(Job, Subject.name).outerjoin(Subject, Subject.id == Job.subject_id).where(Job.account_id == account_id)
    )
