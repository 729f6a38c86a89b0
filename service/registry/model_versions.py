"""Registered checkpoints: lineage, evaluations and persons' states."""

from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, or_, select
from sqlalchemy.orm import Session

from service.errors import NotFound, Unavailable
from service.registry.tables import (
    Dataset,
    EvaluatedHistoryRow,
    Evaluation,
    Job,
    ModelVersion,
    PersonStateRow,
    Stage,
    Subject,
    utc_now,
)

# of a subject's datasets: the import that ended last knew all workouts of the others
NEWEST = (Dataset.ready_at.desc().nulls_last(), Dataset.id.desc())


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
    versions = select(ModelVersion).where(ModelVersion.subject_id == subject_id)
    return list(session.scalars(versions.order_by(ModelVersion.created_at.desc(), ModelVersion.id).limit(limit)))


def shipped(session: Session) -> ModelVersion:
    """The newest base that came with the software. Raises Unavailable before `stagewise migrate` has put it there."""
    bases = select(ModelVersion).where(ModelVersion.account_id.is_(None), ModelVersion.stage == Stage.BASE)
    version = session.scalar(bases.order_by(ModelVersion.created_at.desc()).limit(1))
    if version is None:
        raise Unavailable("no_base_model", "There is no base model yet; run `stagewise migrate`.", retry_after=60)
    return version


def evaluation(session: Session, version_id: UUID, dataset_id: UUID | None = None) -> Evaluation | None:
    """How a version did on a dataset's held-out workouts; by default on the newest dataset with a score."""
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


def person_state(
    session: Session, subject_id: UUID, version_id: UUID, dataset_id: UUID | None = None
) -> PersonStateRow | None:
    """A subject's state under a version after a dataset; after the newest dataset that has one, if none is named."""
    states = select(PersonStateRow).where(
        PersonStateRow.subject_id == subject_id, PersonStateRow.model_version_id == version_id
    )
    if dataset_id is not None:
        states = states.where(PersonStateRow.dataset_id == dataset_id)
    return session.scalar(states.join(Dataset, Dataset.id == PersonStateRow.dataset_id).order_by(*NEWEST).limit(1))


def serving_state() -> ColumnElement[bool]:
    """The condition that joins to a Subject and a ModelVersion their newest state, if there is one."""
    own = and_(PersonStateRow.subject_id == Subject.id, PersonStateRow.model_version_id == ModelVersion.id)
    newest = select(PersonStateRow.dataset_id).join(Dataset, Dataset.id == PersonStateRow.dataset_id).where(own)
    newest = newest.order_by(*NEWEST).limit(1).correlate(Subject, ModelVersion)
    return and_(own, PersonStateRow.dataset_id == newest.scalar_subquery())


def set_person_state(
    session: Session, subject_id: UUID, version_id: UUID, dataset_id: UUID, state: dict[str, Any]
) -> None:
    """Store the state after a dataset's last workout; a repeated one replaces it."""
    key = {"subject_id": subject_id, "model_version_id": version_id, "dataset_id": dataset_id}
    row = session.get(PersonStateRow, key) or PersonStateRow(**key)
    row.state, row.updated_at = state, utc_now()
    session.add(row)


def evaluated_history(session: Session, subject_id: UUID, version_id: UUID, dataset_id: UUID) -> bytes | None:
    """What the evaluation of a version on a subject's dataset kept; None when another dataset came after, or none."""
    kept = select(EvaluatedHistoryRow.history).where(
        EvaluatedHistoryRow.subject_id == subject_id,
        EvaluatedHistoryRow.model_version_id == version_id,
        EvaluatedHistoryRow.dataset_id == dataset_id,
    )
    return session.scalar(kept)


def keep_history(session: Session, subject_id: UUID, version_id: UUID, dataset_id: UUID, history: bytes | None) -> None:
    """Store what an evaluation keeps, in the place of what an earlier one kept of the subject and version."""
    row = session.get(EvaluatedHistoryRow, (subject_id, version_id))
    if history is None:
        if row is not None:
            session.delete(row)
        return
    row = row or EvaluatedHistoryRow(subject_id=subject_id, model_version_id=version_id)
    row.dataset_id, row.history, row.updated_at = dataset_id, history, utc_now()
    session.add(row)
