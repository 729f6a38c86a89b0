"""Which version serves a subject: one pointer row changed by compare-and-swap, and an append-only history."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.orm import Session

from service.errors import Conflict, NotFound
from service.registry.tables import Champion, ChampionChange, utc_now

MIN_TEST_WORKOUTS = 3


def current(session: Session, subject_id: UUID) -> Champion | None:
    """The subject's pointer row; None before its first dataset is ready."""
    return session.scalar(select(Champion).where(Champion.subject_id == subject_id))


def require(session: Session, subject_id: UUID) -> Champion:
    """The subject's pointer row. Raises NotFound."""
    champion = current(session, subject_id)
    if champion is None:
        raise NotFound("no_champion", "This subject has no model yet; upload workouts first.")
    return champion


def start(session: Session, subject_id: UUID, version_id: UUID) -> bool:
    """Make champion no. 0 of a subject that has none. False when another was first."""
    insert = postgresql_insert if session.get_bind().dialect.name == "postgresql" else sqlite_insert
    row = insert(Champion).values(subject_id=subject_id, model_version_id=version_id, revision=0, updated_at=utc_now())
    if session.execute(row.on_conflict_do_nothing().returning(Champion.revision)).one_or_none() is None:
        return False
    session.add(ChampionChange(subject_id=subject_id, model_version_id=version_id, revision=0, reason="first"))
    return True


def promote(
    session: Session,
    subject_id: UUID,
    version_id: UUID,
    *,
    reason: str,
    expected_revision: int,
    decision: dict[str, Any] | None = None,
) -> None:
    """Let `version_id` serve. Raises Conflict when the pointer is no longer at `expected_revision`."""
    revision = expected_revision + 1
    swap = (
        update(Champion)
        .where(Champion.subject_id == subject_id, Champion.revision == expected_revision)
        .values(model_version_id=version_id, revision=revision, updated_at=utc_now())
    )
    if session.execute(swap).rowcount == 0:  # type: ignore[attr-defined]
        raise Conflict("champion_changed", "Another change of this subject's champion came first; look and try again.")
    session.add(
        ChampionChange(
            subject_id=subject_id, model_version_id=version_id, revision=revision, reason=reason, decision=decision
        )
    )
    session.flush()


def rollback(session: Session, subject_id: UUID) -> None:
    """Go back to the version that served before the present one. Raises Conflict when there is none."""
    champion = require(session, subject_id)
    earlier = previous_version(session, champion)
    if earlier is None:
        raise Conflict("nothing_to_roll_back", "No earlier version of this subject still exists.")
    promote(session, subject_id, earlier, reason="rollback", expected_revision=champion.revision)


def previous_version(session: Session, champion: Champion, without: Collection[UUID] = ()) -> UUID | None:
    """The version that served before the present one: rolled-back steps are walked over; deleted versions and those
    in `without` are skipped.
    """  # fmt: skip
    changes = session.scalars(history_query(champion.subject_id).order_by(ChampionChange.revision)).all()
    stack: list[UUID] = []
    for change in changes:
        if change.model_version_id is None:
            continue
        if change.reason == "damaged" and stack:
            stack.pop()  # its file is lost: nobody goes back to it
        if change.reason in ("rollback", "damaged") and change.model_version_id in stack:
            del stack[stack.index(change.model_version_id) + 1 :]
        elif not stack or stack[-1] != change.model_version_id:
            stack.append(change.model_version_id)
    below = [version for version in stack if version != champion.model_version_id and version not in without]
    return below[-1] if below else None


def history_query(subject_id: UUID) -> Any:
    """Every change of a subject's champion."""
    return select(ChampionChange).where(ChampionChange.subject_id == subject_id)
