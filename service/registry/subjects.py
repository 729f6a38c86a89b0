"""Subjects: found by the client's own string, never by another account's."""

from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.orm import Session

from service.errors import NotFound
from service.registry.pages import Page, PageRequest, fetch
from service.registry.tables import Champion, ChampionChange, ModelVersion, Subject

SubjectRow = tuple[Subject, Champion | None, ModelVersion | None]


def require(session: Session, account_id: UUID, name: str) -> Subject:
    """The account's subject of that name. Raises NotFound."""
    subject = session.scalar(select(Subject).where(Subject.account_id == account_id, Subject.name == name))
    if subject is None:
        raise _missing()
    return subject


def id_of(account_id: UUID, name: str) -> Any:
    """The id of the account's subject of that name, for a WHERE: a list of theirs is then read along an index."""
    return select(Subject.id).where(Subject.account_id == account_id, Subject.name == name).scalar_subquery()


def ensure(session: Session, account_id: UUID, name: str) -> Subject:
    """The account's subject of that name, made if there is none; two uploads at once make one."""
    insert = postgresql_insert if session.get_bind().dialect.name == "postgresql" else sqlite_insert
    session.execute(insert(Subject).values(account_id=account_id, name=name).on_conflict_do_nothing())
    return require(session, account_id, name)


def page(session: Session, account_id: UUID, wanted: PageRequest) -> Page[SubjectRow]:
    """Subjects, each with its pointer row and the version that serves."""
    return fetch(session, _with_champion().where(Subject.account_id == account_id), Subject, wanted)


def with_champion(session: Session, account_id: UUID, name: str) -> SubjectRow:
    """One subject with its pointer row and the version that serves. Raises NotFound."""
    row = session.execute(_with_champion().where(Subject.account_id == account_id, Subject.name == name)).first()
    if row is None:
        raise _missing()
    return row[0], row[1], row[2]


def latest_change(session: Session, champion: Champion) -> ChampionChange | None:
    """The history row of the champion that serves now."""
    return session.scalar(
        select(ChampionChange).where(
            ChampionChange.subject_id == champion.subject_id, ChampionChange.revision == champion.revision
        )
    )


def champion_history(
    session: Session, subject_id: UUID, wanted: PageRequest
) -> Page[tuple[ChampionChange, ModelVersion | None]]:
    """Every change of a subject's champion, newest first, with the version unless it was deleted."""
    changes: Any = (
        select(ChampionChange, ModelVersion)
        .outerjoin(ModelVersion, ModelVersion.id == ChampionChange.model_version_id)
        .where(ChampionChange.subject_id == subject_id)
    )
    return fetch(session, changes, ChampionChange, wanted)


def _with_champion() -> Any:
    return (
        select(Subject, Champion, ModelVersion)
        .outerjoin(Champion, Champion.subject_id == Subject.id)
        .outerjoin(ModelVersion, ModelVersion.id == Champion.model_version_id)
    )


def _missing() -> NotFound:
    return NotFound("subject_not_found", "There is no subject of that name; uploading workouts makes one.")
