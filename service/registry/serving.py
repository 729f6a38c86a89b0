"""Which version answers a prediction, for whom, and that person's state: one query."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from service.errors import Conflict
from service.registry import model_versions, promotion, subjects
from service.registry.tables import Champion, ModelVersion, PersonStateRow, Subject


@dataclass(frozen=True)
class Serving:
    """A version, the person it answers for, and the person's state under it."""

    version: ModelVersion
    subject: Subject | None
    state: PersonStateRow | None


def find(session: Session, account_id: UUID, subject: str | None, version_id: UUID | None) -> Serving:
    """The subject's champion, or the named version for the subject; with neither, the account's default base.

    Raises NotFound, Conflict when the version is another person's, Unavailable without any base.
    """
    if subject is not None:
        return _for_subject(session, account_id, subject, version_id)
    if version_id is None:
        return Serving(promotion.default_base(session, account_id), None, None)
    version = model_versions.require(session, account_id, version_id)
    if version.subject_id is None:
        return Serving(version, None, None)
    owner = session.get_one(Subject, version.subject_id)
    return Serving(version, owner, model_versions.person_state(session, owner.id, version.id))


def _for_subject(session: Session, account_id: UUID, name: str, version_id: UUID | None) -> Serving:
    person, version, state = _row(session, account_id, name, version_id)
    if version is None and version_id is not None:
        version = model_versions.require(session, account_id, version_id)  # raises: the query saw no such version
    elif version is None:
        version = promotion.default_base(session, account_id)
    if version.subject_id not in (None, person.id):
        raise Conflict("wrong_subject", f"Model version {version.id} was trained for another subject.")
    return Serving(version, person, state)


def _row(
    session: Session, account_id: UUID, name: str, version_id: UUID | None
) -> tuple[Subject, ModelVersion | None, PersonStateRow | None]:
    served_id: Any = Champion.model_version_id if version_id is None else version_id
    visible = or_(ModelVersion.account_id == account_id, ModelVersion.account_id.is_(None))
    query = (
        select(Subject, ModelVersion, PersonStateRow)
        .outerjoin(Champion, Champion.subject_id == Subject.id)
        .outerjoin(ModelVersion, and_(ModelVersion.id == served_id, visible))
        .outerjoin(PersonStateRow, model_versions.serving_state())
        .where(Subject.account_id == account_id, Subject.name == name)
    )
    row = session.execute(query).first()
    if row is None:
        subjects.require(session, account_id, name)
        raise AssertionError("a subject was there that a join did not find")
    return row[0], row[1], row[2]
