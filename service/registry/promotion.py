"""Which version serves: a subject's champion, its append-only history, and the base that an account starts from.

The champion is one pointer row, changed by compare-and-swap of its revision.
"""

from collections.abc import Callable, Collection, Iterator
from typing import Any
from uuid import UUID

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from service.errors import Conflict, NotFound, Unavailable
from service.registry import datasets, model_versions
from service.registry.pages import Page, PageRequest, fetch
from service.registry.session import insert_ignoring
from service.registry.tables import (
    Account,
    Champion,
    ChampionChange,
    ChampionReason,
    DefaultBase,
    ModelVersion,
    Subject,
    utc_now,
)


def current(session: Session, subject_id: UUID) -> Champion | None:
    """The subject's pointer row; None before its first dataset is ready."""
    return session.scalar(select(Champion).where(Champion.subject_id == subject_id))


def require(session: Session, subject_id: UUID) -> Champion:
    """The subject's pointer row. Raises NotFound."""
    champion = current(session, subject_id)
    if champion is None:
        raise NotFound("no_champion", "This subject has no model yet; upload workouts first.")
    return champion


def champion_version(session: Session, subject_id: UUID) -> tuple[ModelVersion, int]:
    """The version that serves the subject, and the pointer's revision: one query. Raises NoResultFound."""
    serving = select(ModelVersion, Champion.revision).join(Champion, Champion.model_version_id == ModelVersion.id)
    version, revision = session.execute(serving.where(Champion.subject_id == subject_id)).one()
    return version, revision


def deciding_dataset(session: Session, subject_id: UUID | None, trained_on: UUID) -> UUID:
    """The dataset whose test workouts decide: a person's newest, even if another was trained on; a base's own."""
    newest = datasets.newest_ready(session, subject_id) if subject_id else None
    return newest.id if newest else trained_on


def start(session: Session, subject_id: UUID, version_id: UUID) -> bool:
    """Make champion no. 0 of a subject that has none. False when another was first."""
    first = {"subject_id": subject_id, "model_version_id": version_id, "revision": 0}
    row = insert_ignoring(session, Champion).values(**first, updated_at=utc_now())
    if session.execute(row.returning(Champion.revision)).one_or_none() is None:
        return False
    session.add(ChampionChange(**first, reason=ChampionReason.FIRST))
    return True


def promote(
    session: Session,
    subject_id: UUID,
    version_id: UUID,
    *,
    reason: ChampionReason,
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
        raise _changed()
    session.add(
        ChampionChange(
            subject_id=subject_id, model_version_id=version_id, revision=revision, reason=reason, decision=decision
        )
    )
    session.flush()


def version_before(session: Session, subject_id: UUID) -> ModelVersion:
    """The version that a roll back would go to. Raises NotFound, or Conflict when there is none."""
    earlier = earlier_versions(session, require(session, subject_id))
    if not earlier:
        raise Conflict("nothing_to_roll_back", "No earlier version of this subject still exists.")
    return earlier[0]


def roll_back(session: Session, subject_id: UUID, version_id: UUID) -> None:
    """Go back to the version before the champion. Raises Conflict when that is no longer `version_id`."""
    champion = require(session, subject_id)
    if [version.id for version in earlier_versions(session, champion)][:1] != [version_id]:
        raise _changed()
    promote(session, subject_id, version_id, reason=ChampionReason.ROLLBACK, expected_revision=champion.revision)


def earlier_versions(session: Session, champion: Champion) -> list[ModelVersion]:
    """The versions that served before the champion, newest first, without deleted versions.

    Steps that were rolled back, and versions whose file was lost, are left out.
    """
    changes = (
        select(ChampionChange.reason, ModelVersion)
        .join(ModelVersion, ModelVersion.id == ChampionChange.model_version_id)
        .where(ChampionChange.subject_id == champion.subject_id)
        .order_by(ChampionChange.revision)
    )
    stack: list[ModelVersion] = []
    for reason, version in session.execute(changes).tuples():
        if reason == ChampionReason.DAMAGED and stack:
            stack.pop()
        if reason in (ChampionReason.ROLLBACK, ChampionReason.DAMAGED) and version in stack:
            del stack[stack.index(version) + 1 :]
        elif not stack or stack[-1] is not version:
            stack.append(version)
    return [version for version in reversed(stack) if version.id != champion.model_version_id]


def latest_change(session: Session, champion: Champion) -> ChampionChange | None:
    """The history row of the champion that serves now."""
    now = (ChampionChange.subject_id == champion.subject_id) & (ChampionChange.revision == champion.revision)
    return session.scalar(select(ChampionChange).where(now))


def history(session: Session, subject_id: UUID, where: PageRequest) -> Page[tuple[ChampionChange, ModelVersion | None]]:
    """Every change of a subject's champion, newest first, with the version unless it was deleted."""
    changes: Any = (
        select(ChampionChange, ModelVersion)
        .outerjoin(ModelVersion, ModelVersion.id == ChampionChange.model_version_id)
        .where(ChampionChange.subject_id == subject_id)
    )
    return fetch(session, changes, ChampionChange, where)


def served_by(session: Session, version_ids: Collection[UUID]) -> list[Champion]:
    """The pointer rows of all subjects whom one of the versions serves."""
    return list(session.scalars(select(Champion).where(Champion.model_version_id.in_(version_ids))))


def successor(session: Session, champion: Champion, usable: Callable[[ModelVersion], bool]) -> ModelVersion:
    """The last usable version before the champion, else a usable base. Raises Unavailable when there is none."""
    for version in _candidates(session, champion):
        if usable(version):
            return version
    raise Unavailable("no_base_model", "No usable base model is left; run `stagewise migrate`.", retry_after=60)


def fall_back(session: Session, version_ids: Collection[UUID]) -> None:
    """Before versions are deleted, let others take their place. Raises Unavailable when there is no base."""
    drop_default_base(session, version_ids)
    for champion in served_by(session, version_ids):
        successor_id = successor(session, champion, lambda version: version.id not in version_ids).id
        expected = champion.revision
        promote(session, champion.subject_id, successor_id, reason=ChampionReason.DELETED, expected_revision=expected)


def default_base(session: Session, account_id: UUID) -> ModelVersion:
    """The base that the account's new subjects start from: its own best, else the shipped one."""
    own = select(ModelVersion).join(DefaultBase, DefaultBase.model_version_id == ModelVersion.id)
    return session.scalar(own.where(DefaultBase.account_id == account_id)) or model_versions.shipped(session)


def promote_base(session: Session, account_id: UUID, version_id: UUID, *, expected: UUID, score: float | None) -> None:
    """Let a base of the account serve its new subjects. Raises Conflict when the default is no longer `expected`."""
    session.get_one(Account, account_id, with_for_update=True)  # one base at a time decides
    if default_base(session, account_id).id != expected:
        raise Conflict("default_base_changed", "Another base became the default; compare again.")
    row = session.get(DefaultBase, account_id) or DefaultBase(account_id=account_id)
    row.model_version_id, row.score, row.updated_at = version_id, score, utc_now()
    session.add(row)


def drop_default_base(session: Session, version_ids: Collection[UUID]) -> bool:
    """Let accounts whose default is one of the versions start from the shipped base again. False: none did."""
    dropped = session.execute(delete(DefaultBase).where(DefaultBase.model_version_id.in_(version_ids)))
    return bool(dropped.rowcount)  # type: ignore[attr-defined]


def _candidates(session: Session, champion: Champion) -> Iterator[ModelVersion]:
    yield from earlier_versions(session, champion)
    yield default_base(session, session.get_one(Subject, champion.subject_id).account_id)
    yield model_versions.shipped(session)


def _changed() -> Conflict:
    return Conflict("champion_changed", "Another change of this subject's champion came first; look and try again.")
