"""Subjects: found by the client's own string, never by another account's."""

from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.errors import NotFound
from service.registry.pages import Page, PageRequest, fetch
from service.registry.session import insert_ignoring
from service.registry.tables import Champion, ModelVersion, Subject

SubjectRow = tuple[Subject, Champion | None, ModelVersion | None]


def require(session: Session, account_id: UUID, name: str) -> Subject:
    """The account's subject of that name. Raises NotFound."""
    subject = session.scalar(select(Subject).where(Subject.account_id == account_id, Subject.name == name))
    if subject is None:
        raise _missing()
    return subject


def id_of(account_id: UUID, name: str) -> Any:
    """The id of the account's subject of that name, for a WHERE clause: their lists are then read along an index."""
    return select(Subject.id).where(Subject.account_id == account_id, Subject.name == name).scalar_subquery()


def ensure(session: Session, account_id: UUID, name: str) -> Subject:
    """The account's subject of that name, made if there is none; two uploads at once make one."""
    session.execute(insert_ignoring(session, Subject).values(account_id=account_id, name=name))
    return require(session, account_id, name)


def page(session: Session, account_id: UUID, request: PageRequest) -> Page[SubjectRow]:
    """Subjects, each with its pointer row and the version that serves."""
    return fetch(session, _with_champion().where(Subject.account_id == account_id), Subject, request)


def with_champion(session: Session, account_id: UUID, name: str) -> SubjectRow:
    """One subject with its pointer row and the version that serves. Raises NotFound."""
    row = session.execute(_with_champion().where(Subject.account_id == account_id, Subject.name == name)).first()
    if row is None:
        raise _missing()
    return row[0], row[1], row[2]


def _with_champion() -> Any:
    return (
        select(Subject, Champion, ModelVersion)
        .outerjoin(Champion, Champion.subject_id == Subject.id)
        .outerjoin(ModelVersion, ModelVersion.id == Champion.model_version_id)
    )


def _missing() -> NotFound:
    return NotFound("subject_not_found", "There is no subject of that name; uploading workouts makes one.")
