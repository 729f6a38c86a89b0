"""Fleets: one parent row for the jobs that personalise many people. Only its jobs are claimed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import case, func, insert, literal, or_, select
from sqlalchemy.orm import Session, aliased

from service.logs import current_request
from service.registry import jobs
from service.registry.tables import (
    JOB_EVENTS,
    JOBS,
    TERMINAL_STATES,
    Dataset,
    DatasetKind,
    DatasetState,
    Job,
    JobEvent,
    JobState,
    Stage,
    Subject,
    utc_now,
)

CHUNK = 5000  # parameters of one statement; both databases have a limit
# (subject, what the dataset holds, stage) -> configuration and start version of each job that succeeded or still may
Trained = dict[tuple[UUID | None, str, Stage], list[tuple[dict[str, Any], UUID | None]]]


@dataclass
class FleetSummary:
    """How far a fleet is."""

    progress: float = 0.0
    jobs: dict[JobState, int] = field(default_factory=lambda: dict.fromkeys(JobState, 0))
    errors: dict[str, int] = field(default_factory=dict)
    promoted: int = 0  # jobs whose version came to serve


def add(
    session: Session,
    account_id: UUID,
    people: Sequence[tuple[Dataset, Mapping[Stage, dict[str, Any]]]],
    *,
    start_model_version_id: UUID,
    configuration: dict[str, Any],
) -> Job:
    """Record a fleet: for each dataset a job per stage with its configuration, stage 2 behind its stage 1.

    The fleet waits for no worker, so it runs at once. Its jobs are in the order of `people`, both stages of one person
    before the next person: people are finished one after the other, not all at the end.
    """
    now = utc_now()
    fleet = Job(
        account_id=account_id,
        stage=Stage.FLEET,
        state=JobState.RUNNING,
        configuration=configuration,
        start_model_version_id=start_model_version_id,
        created_at=now,  # and no start: its account's turn has not come by it
    )
    session.add(fleet)
    session.flush()
    rows: list[dict[str, Any]] = []
    for dataset, configurations in people:
        before: UUID | None = None
        for stage, resolved in configurations.items():
            row = _child(fleet, dataset, stage, resolved, before, now + timedelta(microseconds=1 + len(rows)))
            rows.append(row)
            before = row["id"]
    if rows:
        # of the table: for the mapped class each row with other columns unset would be a statement of its own
        session.execute(insert(JOBS), rows)
    request_id = current_request()
    detail = {"request_id": request_id} if request_id else {}
    session.add(JobEvent(job_id=fleet.id, event="queued", attempt=0, detail=detail))
    queued = select(Job.id, literal("queued"), literal(0), literal(detail, JobEvent.detail.type))
    queued_events = queued.where(Job.parent_id == fleet.id).order_by(Job.created_at)
    session.flush()
    session.execute(insert(JOB_EVENTS).from_select(["job_id", "event", "attempt", "detail"], queued_events))
    session.add(JobEvent(job_id=fleet.id, event="running", attempt=0, detail={}))
    session.flush()
    if not rows:
        jobs.end_fleet(session, fleet, JobState.SUCCEEDED)
        session.refresh(fleet)
    return fleet


def content(dataset: Dataset) -> str:
    """A key that is equal for datasets with the same workouts and splits."""
    return dataset.digest or str(dataset.id)


def trained(session: Session, account_id: UUID, datasets: Sequence[Dataset]) -> Trained:
    """Jobs that succeeded or may still succeed on these datasets, or on others with the same content."""
    trainings: Trained = {}
    for part in _chunks(datasets):
        same = or_(
            Dataset.id.in_([dataset.id for dataset in part]),
            Dataset.digest.in_([dataset.digest for dataset in part if dataset.digest]),
        )
        made = (
            select(Job.stage, Job.configuration, Job.start_model_version_id, Dataset)
            .join(Dataset, Dataset.id == Job.dataset_id)
            .where(Job.account_id == account_id, same, Job.stage != Stage.IMPORT)
            .where(Job.state.in_((JobState.QUEUED, JobState.RUNNING, JobState.SUCCEEDED)))
        )
        for stage, configuration, start, dataset in session.execute(made).tuples():
            key = (dataset.subject_id, content(dataset), stage)
            trainings.setdefault(key, []).append((configuration, start))
    return trainings


def newest_of_subjects(session: Session, account_id: UUID, names: Sequence[str] | None) -> dict[str, Dataset | None]:
    """The newest ready dataset of each named person, of all when `names` is None; unknown people are left
    out, and people without a ready dataset are None.
    """  # fmt: skip
    ready = (Dataset.subject_id == Subject.id) & (Dataset.state == DatasetState.READY)
    rows = select(Subject.name, Dataset).outerjoin(Dataset, ready).where(Subject.account_id == account_id)
    rows = rows.order_by(Subject.created_at, Subject.id, Dataset.created_at, Dataset.id)
    newest: dict[str, Dataset | None] = {}
    for part in [None] if names is None else _chunks(names):
        some = rows if part is None else rows.where(Subject.name.in_(part))
        newest |= {row[0]: row[1] for row in session.execute(some)}  # the newest comes last
    return newest


def by_id(session: Session, account_id: UUID, ids: Sequence[UUID]) -> dict[UUID, Dataset]:
    """The account's personal datasets among these."""
    own = select(Dataset).where(Dataset.account_id == account_id, Dataset.kind == DatasetKind.PERSONAL)
    parts = (session.scalars(own.where(Dataset.id.in_(part))) for part in _chunks(ids))
    return {dataset.id: dataset for part in parts for dataset in part}


def summaries(session: Session, fleet_ids: Sequence[UUID]) -> dict[UUID, FleetSummary]:
    """How far each fleet is; one query for all."""
    if not fleet_ids:
        return {}
    promoted = func.sum(case((Job.result["decision"]["promote"].as_boolean(), 1), else_=0))
    done = func.sum(case((Job.state.in_(TERMINAL_STATES), 1.0), else_=Job.progress))
    counts = select(Job.parent_id, Job.state, Job.error_code, func.count(), done, promoted)
    counts = counts.where(Job.parent_id.in_(fleet_ids)).group_by(Job.parent_id, Job.state, Job.error_code)
    by_fleet = {fleet_id: FleetSummary() for fleet_id in fleet_ids}
    for fleet_id, state, code, count, progress, better in session.execute(counts):
        summary = by_fleet[fleet_id]
        summary.jobs[state] += count
        summary.progress += float(progress)
        summary.promoted += int(better)
        if state == JobState.FAILED:
            summary.errors[code or "unknown"] = summary.errors.get(code or "unknown", 0) + count
    for summary in by_fleet.values():
        count = sum(summary.jobs.values())
        summary.progress = summary.progress / count if count else 1.0
    return by_fleet


def cancel(session: Session, fleet: Job) -> None:
    """Cancel what waits, ask what runs; the fleet ends when its last job has. Raises Conflict when it has ended."""
    jobs.ask_to_cancel(session, fleet)
    jobs.cancel_children(session, fleet)


def end_finished(session: Session) -> int:
    """End every fleet whose jobs have all ended; the number ended. A fleet fails only when no job succeeded."""
    child = aliased(Job)
    alive = select(child.id).where(
        child.parent_id == Job.id, or_(child.state == JobState.QUEUED, child.state == JobState.RUNNING)
    )
    over = select(Job).where(Job.stage == Stage.FLEET, Job.state == JobState.RUNNING, ~alive.exists())
    fleets = session.scalars(over).all()
    by_fleet = summaries(session, [fleet.id for fleet in fleets])
    return sum(_end(session, fleet, by_fleet[fleet.id]) for fleet in fleets)


def _end(session: Session, fleet: Job, summary: FleetSummary) -> bool:
    if fleet.cancel_requested:
        return jobs.end_fleet(session, fleet, JobState.CANCELLED)
    if summary.jobs[JobState.SUCCEEDED]:
        return jobs.end_fleet(session, fleet, JobState.SUCCEEDED)
    message = "Not one job of this fleet succeeded; `fleet.errors` says why, GET /jobs?parent_id= lists them."
    return jobs.end_fleet(session, fleet, JobState.FAILED, error_code="fleet_failed", error_message=message)


def _child(
    fleet: Job, dataset: Dataset, stage: Stage, resolved: dict[str, Any], before: UUID | None, created_at: Any
) -> dict[str, Any]:
    return {
        "id": uuid4(),
        "account_id": fleet.account_id,
        "subject_id": dataset.subject_id,
        "dataset_id": dataset.id,
        "parent_id": fleet.id,
        "lane": fleet.id,
        "depends_on": before,
        "stage": stage,
        "configuration": resolved,
        "start_model_version_id": None if before else fleet.start_model_version_id,
        "created_at": created_at,
    }


def _chunks(values: Sequence[Any]) -> list[Sequence[Any]]:
    return [values[start : start + CHUNK] for start in range(0, len(values), CHUNK)]
