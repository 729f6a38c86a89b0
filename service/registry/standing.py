"""The rows behind a subject's champion: why it serves, and what is missing. Several queries, one subject."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.registry import model_pages
from service.registry.subjects import SubjectRow
from service.registry.tables import (
    PERSONAL_STAGES,
    Champion,
    ChampionChange,
    Dataset,
    DatasetState,
    Evaluation,
    Job,
    JobState,
    ModelVersion,
    Stage,
    Subject,
)


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What is stored about the version that serves a subject. Errors are scores in bpm: the mean of P1 and P2-180."""

    stage: Stage | None  # of the version that serves; None: there is none yet
    change: ChampionChange | None  # how it came to serve
    before: Stage | None  # of the version that served before; None: none did, or it was deleted
    dataset: Dataset | None  # the newest that can be trained on; else the newest
    job: Job | None  # the newest training job
    rejected: Job | None  # the newest training job that ended, if its version did not beat the champion
    evaluation: Evaluation | None  # of the version that serves, on the test workouts of the newest decision
    errors: dict[Stage, float]  # of the newest version of each stage on these workouts, bpm


def read(session: Session, row: SubjectRow) -> Standing:
    """All rows about a subject's champion."""
    subject, champion, version = row
    dataset, job = _dataset(session, subject.id), _newest_job(session, subject.id)
    if champion is None or version is None:
        return Standing(
            stage=None, change=None, before=None, dataset=dataset, job=job, rejected=None, evaluation=None, errors={}
        )
    change, before = _changes(session, champion)
    rejected = _rejected(session, champion)
    own = _evaluation(session, subject, version, rejected)
    errors = _errors(session, own.dataset_id) if own else {}
    if own and own.score is not None:
        errors[version.stage] = own.score
    return Standing(
        stage=version.stage,
        change=change,
        before=before,
        dataset=dataset,
        job=job,
        rejected=rejected,
        evaluation=own,
        errors=errors,
    )


def _dataset(session: Session, subject_id: UUID) -> Dataset | None:
    ready = Dataset.state == DatasetState.READY
    trainable = (Dataset.train_workouts > 0) & (Dataset.val_workouts > 0)
    best = select(Dataset).where(Dataset.subject_id == subject_id)
    return session.scalar(
        best.order_by(ready.desc(), trainable.desc(), Dataset.created_at.desc(), Dataset.id.desc()).limit(1)
    )


def _newest_job(session: Session, subject_id: UUID) -> Job | None:
    trainings = select(Job).where(Job.subject_id == subject_id, Job.stage.in_(PERSONAL_STAGES))
    return session.scalar(trainings.order_by(Job.created_at.desc(), Job.id.desc()).limit(1))


def _changes(session: Session, champion: Champion) -> tuple[ChampionChange | None, Stage | None]:
    """The change that made the champion, and the stage of the version that it replaced."""
    rows = session.execute(
        select(ChampionChange, ModelVersion.stage)
        .outerjoin(ModelVersion, ModelVersion.id == ChampionChange.model_version_id)
        .where(
            ChampionChange.subject_id == champion.subject_id,
            ChampionChange.revision.between(champion.revision - 1, champion.revision),
        )
    ).all()
    by_revision = {row[0].revision: row for row in rows}
    newest, before = by_revision.get(champion.revision), by_revision.get(champion.revision - 1)
    return newest[0] if newest else None, before[1] if before else None


def _rejected(session: Session, champion: Champion) -> Job | None:
    """The newest job that ended in a decision, when that left this champion in its place."""
    trainings = select(Job).where(
        Job.subject_id == champion.subject_id, Job.stage.in_(PERSONAL_STAGES), Job.state == JobState.SUCCEEDED
    )
    job = session.scalar(trainings.order_by(Job.finished_at.desc(), Job.id.desc()).limit(1))
    decision = (job.result or {}).get("decision", {}) if job else {}
    stayed = decision.get("promote") is False and decision.get("champion_id") == str(champion.model_version_id)
    return job if stayed else None


def _evaluation(session: Session, subject: Subject, version: ModelVersion, rejected: Job | None) -> Evaluation | None:
    decided_on = ((rejected.result or {})["decision"].get("dataset_id") or rejected.dataset_id) if rejected else None
    return model_pages.evaluation(
        session,
        subject.account_id,
        version.id,
        dataset_id=UUID(str(decided_on)) if decided_on else None,
        subject_id=subject.id,
    )


def _errors(session: Session, dataset_id: UUID) -> dict[Stage, float]:
    scored = (
        select(ModelVersion.stage, Evaluation.score)
        .join(Evaluation, Evaluation.model_version_id == ModelVersion.id)
        .where(Evaluation.dataset_id == dataset_id, Evaluation.score.is_not(None))
        .order_by(ModelVersion.created_at, ModelVersion.id)
    )
    return {stage: score for stage, score in session.execute(scored).tuples() if score is not None}
