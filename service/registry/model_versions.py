"""Registered checkpoints: lineage, evaluations and trackings."""

from typing import Any
from uuid import UUID

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from service.errors import NotFound, Unavailable
from service.registry.tables import Evaluation, Job, ModelVersion, Stage, Tracked, utc_now


def require(session: Session, account_id: UUID, version_id: UUID) -> ModelVersion:
    """The account's own version, or the shipped base. Raises NotFound."""
    visible = or_(ModelVersion.account_id == account_id, ModelVersion.account_id.is_(None))
    version = session.scalar(select(ModelVersion).where(ModelVersion.id == version_id, visible))
    if version is None:
        raise NotFound("model_version_not_found", f"There is no model version {version_id}.")
    return version


def add(session: Session, job: Job, **columns: Any) -> ModelVersion:
    """Register what `job` trained. The files that the row names are on disk already."""
    version = ModelVersion(
        account_id=job.account_id,
        subject_id=job.subject_id,
        dataset_id=job.dataset_id,
        job_id=job.id,
        stage=job.stage,
        **columns,
    )
    session.add(version)
    session.flush()
    return version


def of_job(session: Session, job_id: UUID) -> ModelVersion | None:
    """The version that a job made."""
    return session.scalar(select(ModelVersion).where(ModelVersion.job_id == job_id))


def newest(session: Session, subject_id: UUID, limit: int) -> list[ModelVersion]:
    """The newest versions of a person, the newest first."""
    theirs = select(ModelVersion).where(ModelVersion.subject_id == subject_id)
    return list(session.scalars(theirs.order_by(ModelVersion.created_at.desc(), ModelVersion.id).limit(limit)))


def shipped(session: Session) -> ModelVersion:
    """The newest base that came with the software. Raises Unavailable before `stagewise migrate` has put it there."""
    ours = select(ModelVersion).where(ModelVersion.account_id.is_(None), ModelVersion.stage == Stage.BASE)
    version = session.scalar(ours.order_by(ModelVersion.created_at.desc()).limit(1))
    if version is None:
        raise Unavailable("no_base_model", "There is no base model yet; run `stagewise migrate`.", retry_after=60)
    return version


def evaluation(session: Session, version_id: UUID, dataset_id: UUID | None = None) -> Evaluation | None:
    """How a version did on a dataset's held-out workouts; on the newest one that it was scored on, if none is named."""
    scored = select(Evaluation).where(Evaluation.model_version_id == version_id)
    if dataset_id is not None:
        scored = scored.where(Evaluation.dataset_id == dataset_id)
    return session.scalar(scored.order_by(Evaluation.created_at.desc(), Evaluation.id).limit(1))


def record_evaluation(session: Session, version_id: UUID, dataset_id: UUID, report: dict[str, Any]) -> Evaluation:
    """Store a report once per version and dataset; a repeated one replaces it."""
    row = evaluation(session, version_id, dataset_id) or Evaluation(model_version_id=version_id, dataset_id=dataset_id)
    row.score, row.report, row.created_at = report["score"], report, utc_now()
    session.add(row)
    session.flush()
    return row


def tracked(session: Session, subject_id: UUID, version_id: UUID) -> Tracked | None:
    """What the version has followed of the subject; None before the first workout."""
    return session.get(Tracked, (subject_id, version_id))


def set_tracked(session: Session, subject_id: UUID, version_id: UUID, tracking: dict[str, Any]) -> None:
    """Store the newest tracking: `response` and `intervals` of an evaluation report."""
    row = tracked(session, subject_id, version_id) or Tracked(subject_id=subject_id, model_version_id=version_id)
    row.response, row.intervals, row.updated_at = tracking["response"], tracking["intervals"], utc_now()
    session.add(row)


def track_as_scored(session: Session, subject_id: UUID, dataset_id: UUID) -> None:
    """Store the trackings that the versions scored on a dataset of the subject had after its last workout."""
    for scored in session.scalars(select(Evaluation).where(Evaluation.dataset_id == dataset_id)):
        if tracking := scored.report.get("tracking"):
            set_tracked(session, subject_id, scored.model_version_id, tracking)
