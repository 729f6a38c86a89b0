"""What the API reads of model versions: pages of them with score and champion, and evaluations the caller may see."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from service.errors import NotFound
from service.registry import subjects
from service.registry.pages import Page, PageRequest, fetch, merged
from service.registry.tables import Champion, Dataset, Evaluation, ModelVersion, Stage, Subject

ModelRow = tuple[ModelVersion, str | None, float | None, UUID | None]  # subject's name, score, whom it is champion of


@dataclass(frozen=True)
class ModelFilter:
    """Which versions a list shows; None: all."""

    subject: str | None = None
    dataset_id: UUID | None = None
    stage: Stage | None = None


def read(session: Session, account_id: UUID, version_id: UUID) -> ModelRow:
    """The account's version, or the shipped base, as the API shows it. Raises NotFound."""
    visible = or_(ModelVersion.account_id == account_id, ModelVersion.account_id.is_(None))
    row = session.execute(_shown().where(ModelVersion.id == version_id, visible)).first()
    if row is None:
        raise NotFound("model_version_not_found", f"There is no model version {version_id}.")
    return row[0], row[1], row[2], row[3]


def page(session: Session, account_id: UUID, criteria: ModelFilter, request: PageRequest) -> Page[ModelRow]:
    """The account's versions and the shipped base."""
    conditions = {
        ModelVersion.subject_id: criteria.subject and subjects.id_of(account_id, criteria.subject),
        ModelVersion.dataset_id: criteria.dataset_id,
        ModelVersion.stage: criteria.stage,
    }
    rows = _shown().where(*(column == value for column, value in conditions.items() if value is not None))
    whose = (ModelVersion.account_id == account_id, ModelVersion.account_id.is_(None))
    return merged([fetch(session, rows.where(owner), ModelVersion, request) for owner in whose], request.limit)


def evaluation(
    session: Session,
    account_id: UUID,
    version_id: UUID,
    *,
    dataset_id: UUID | None = None,
    subject_id: UUID | None = None,
) -> Evaluation | None:
    """How a version did on a dataset of the caller; by default on the newest dataset with a score.

    The shipped base is scored on datasets of all accounts: an account sees only its own evaluations.
    """
    own = _own_evaluations(account_id).where(Evaluation.model_version_id == version_id)
    if dataset_id is not None:
        own = own.where(Evaluation.dataset_id == dataset_id)
    if subject_id is not None:
        own = own.where(Dataset.subject_id == subject_id)
    return _newest(session, own)


def base_evaluation(session: Session, account_id: UUID, dataset_id: UUID) -> Evaluation | None:
    """How the newest base that was scored on a dataset of the caller did there."""
    bases = _own_evaluations(account_id).join(ModelVersion, ModelVersion.id == Evaluation.model_version_id)
    return _newest(session, bases.where(Evaluation.dataset_id == dataset_id, ModelVersion.stage == Stage.BASE))


def _own_evaluations(account_id: UUID) -> Any:
    joined = select(Evaluation.id).join(Dataset, Dataset.id == Evaluation.dataset_id)
    return joined.where(Dataset.account_id == account_id)


def _newest(session: Session, ids: Any) -> Evaluation | None:
    """By id: sorting thousands of reports would read them all."""
    newest = ids.order_by(Evaluation.created_at.desc(), Evaluation.id.desc()).limit(1)
    return session.scalar(select(Evaluation).where(Evaluation.id == newest.scalar_subquery()))


def _shown() -> Any:
    own_data = (Evaluation.model_version_id == ModelVersion.id) & (Evaluation.dataset_id == ModelVersion.dataset_id)
    own_subject = (Champion.model_version_id == ModelVersion.id) & (Champion.subject_id == ModelVersion.subject_id)
    return (
        select(ModelVersion, Subject.name, Evaluation.score, Champion.subject_id)
        .outerjoin(Subject, Subject.id == ModelVersion.subject_id)
        .outerjoin(Evaluation, own_data)
        .outerjoin(Champion, own_subject)
    )
