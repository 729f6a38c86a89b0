"""What is shown of jobs."""

import io
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from hrmodel.evaluation.picture import draw_evaluation
from hrmodel.training.curves import draw_curves
from service.errors import Conflict
from service.jobs.schemas import (
    EpochRead,
    EventRead,
    Events,
    FleetError,
    FleetRead,
    History,
    JobMetrics,
    JobPage,
    JobRead,
    LogLineRead,
    PhaseRead,
)
from service.registry import fleets, job_history, jobs, model_pages, model_versions
from service.registry.fleets import FleetSummary
from service.registry.job_history import JobFilter, JobRow
from service.registry.pages import PageRequest
from service.registry.tables import EpochMetrics, Job, JobEvent, JobState, Stage
from service.web.fields import ErrorRead


def show(session: Session, account_id: UUID, job_id: UUID) -> JobRead:
    """One job. Raises NotFound."""
    return _read(session, [job_history.read(session, account_id, job_id)])[0]


def show_page(session: Session, account_id: UUID, criteria: JobFilter, request: PageRequest) -> JobPage:
    """Jobs, newest first."""
    page = job_history.page(session, account_id, criteria, request)
    return JobPage(items=_read(session, page.items), next_cursor=page.next_cursor)


def metrics(session: Session, account_id: UUID, job_id: UUID) -> JobMetrics:
    """Epochs, and the evaluation of the version that the job made, less its examples. Raises NotFound."""
    job = jobs.require(session, account_id, job_id)
    report = _report(session, account_id, job)
    evaluation = {name: part for name, part in report.items() if name != "examples"} if report else None
    epochs = [EpochRead.model_validate(row) for row in job_history.epochs(session, job_id)]
    return JobMetrics(job_id=job_id, state=job.state, epochs=epochs, evaluation=evaluation)


def history(session: Session, account_id: UUID, job_id: UUID) -> History:
    """The epochs in the original's form. Raises NotFound."""
    rows = _epochs(session, account_id, job_id)
    measured = [(row.val_loss, row.epoch) for row in rows if row.val_loss is not None]
    best_loss, best_epoch = min(measured, default=(None, None))
    return History(
        train_loss=[row.train_loss for row in rows],
        val_loss=[row.val_loss for row in rows],
        learning_rate=[row.learning_rate for row in rows],
        epoch_times=[row.epoch_time for row in rows],
        best_val_loss=best_loss,
        best_epoch=best_epoch,
    )


def epochs_for_curves(session: Session, account_id: UUID, job_id: UUID) -> tuple[str, list[dict[str, Any]]]:
    """A title and the epochs of a picture. Raises NotFound, or Conflict before the first epoch."""
    job = jobs.require(session, account_id, job_id)
    rows = _epochs(session, account_id, job_id)
    if not rows:
        raise Conflict(
            "no_epochs_yet", f"Job {job_id} is {job.state} and has finished no epoch; there is no curve yet."
        )
    return f"{job.stage} {job.id}", [EpochRead.model_validate(row).model_dump() for row in rows]


def draw(title: str, epochs: Sequence[dict[str, Any]]) -> bytes:
    """The curves as PNG."""
    picture = io.BytesIO()
    draw_curves(epochs, picture, title)
    return picture.getvalue()


def report_for_picture(session: Session, account_id: UUID, job_id: UUID) -> tuple[str, dict[str, Any]]:
    """A title and the evaluation of a picture. Raises NotFound, or Conflict without one."""
    job = jobs.require(session, account_id, job_id)
    report = _report(session, account_id, job)
    if not report or not report["test_workouts"]:
        raise Conflict(
            "no_evaluation_yet", f"Job {job_id} is {job.state} and no model of it was scored on test workouts."
        )
    return f"{job.stage} {job.id}", report


def draw_report(title: str, report: dict[str, Any]) -> bytes:
    """The evaluation as PNG."""
    picture = io.BytesIO()
    draw_evaluation(report, picture, title)
    return picture.getvalue()


def events(session: Session, account_id: UUID, job_id: UUID, after: int, limit: int) -> Events:
    """Events behind number `after`. Raises NotFound."""
    jobs.require(session, account_id, job_id)
    rows = job_history.events(session, job_id, after, limit)
    numbers = {row.detail["epoch"] for row in rows if row.event == "checkpoint"}
    epochs = job_history.epochs_numbered(session, job_id, numbers)
    return Events(job_id=job_id, events=[_event(row, epochs) for row in rows])


def log_lines(session: Session, account_id: UUID, job_id: UUID, after: int, limit: int) -> list[LogLineRead]:
    """Log lines behind number `after`. Raises NotFound."""
    jobs.require(session, account_id, job_id)
    return [LogLineRead.model_validate(row) for row in job_history.log_lines(session, job_id, after, limit)]


def _event(row: JobEvent, epochs: dict[int, EpochMetrics]) -> EventRead:
    epoch = epochs.get(row.detail["epoch"]) if row.event == "checkpoint" else None
    return EventRead(
        id=row.id,
        event=row.event,
        attempt=row.attempt,
        detail=row.detail,
        epoch=EpochRead.model_validate(epoch) if epoch else None,
        created_at=row.created_at,
    )


def _report(session: Session, account_id: UUID, job: Job) -> dict[str, Any] | None:
    """How the version that the job made does on the job's dataset."""
    version = model_versions.of_job(session, job.id)
    if version is None:
        return None
    scored = model_pages.evaluation(session, account_id, version.id, dataset_id=job.dataset_id)
    return scored.report if scored else None


def _epochs(session: Session, account_id: UUID, job_id: UUID) -> list[EpochMetrics]:
    jobs.require(session, account_id, job_id)
    return job_history.epochs(session, job_id)


def _read(session: Session, rows: Sequence[JobRow]) -> list[JobRead]:
    summaries = fleets.summaries(session, [job.id for job, _ in rows if job.stage == Stage.FLEET])
    return [_read_job(job, subject, summaries.get(job.id)) for job, subject in rows]


def _read_job(job: Job, subject: str | None, summary: FleetSummary | None) -> JobRead:
    phase = _phase(job)
    return JobRead(
        id=job.id,
        stage=job.stage,
        state=job.state,
        dataset_id=job.dataset_id,
        subject=subject,
        progress=summary.progress if summary and job.state == JobState.RUNNING else job.progress,
        phase=phase,
        eta_seconds=job.eta_seconds if phase else None,
        epoch=job.epoch,
        epochs=job.configuration.get("epochs"),
        attempt=job.attempt,
        cancel_requested=job.cancel_requested,
        configuration=job.configuration,
        start_model_version_id=job.start_model_version_id,
        parent_id=job.parent_id,
        depends_on=job.depends_on,
        retry_of=job.retry_of,
        fleet=_fleet(job, summary) if summary else None,
        result=job.result,
        error=ErrorRead(code=job.error_code, message=job.error_message or "") if job.error_code else None,
        created_at=job.created_at,
        started_at=job.created_at if summary else job.started_at,
        finished_at=job.finished_at,
    )


def _phase(job: Job) -> PhaseRead | None:
    if job.phase is None or job.state != JobState.RUNNING:
        return None
    return PhaseRead(name=job.phase, done=job.phase_done or 0.0, total=job.phase_total or 0.0)


def _fleet(job: Job, summary: FleetSummary) -> FleetRead:
    return FleetRead(
        people=job.configuration["people"],
        skipped=job.configuration["skipped"],
        unchanged=job.configuration.get("unchanged", 0),  # fleets of earlier editions count none
        jobs=summary.jobs,
        promoted=summary.promoted,
        errors=[FleetError(code=code, count=count) for code, count in sorted(summary.errors.items())],
    )
