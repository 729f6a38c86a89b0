"""A model file that is gone or damaged: subjects whom it served fall back to a version whose file is whole.

Only missing files and wrong bytes count. An error of the disk that may pass changes no champion, and neither does a
folder that is not mounted: the version to fall back to must be readable.
"""

from contextlib import suppress
from uuid import UUID

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from service.errors import Conflict, Unavailable
from service.registry import model_versions, promotion
from service.registry.artifacts import ArtifactDamaged, ArtifactMissing, ArtifactStore
from service.registry.session import Database
from service.registry.tables import Champion, ChampionReason, DefaultBase, ModelVersion

log = structlog.get_logger(__name__)


def replace_lost(database: Database, store: ArtifactStore, version: ModelVersion) -> bool:
    """Replace a version whose file is lost wherever it serves, and record it. True: look again which version serves.

    False: the file is whole, or no version can take its place.
    """
    if not _is_lost(store, version):
        return False
    with database.reading() as session:
        successors = _successors(session, store, version)
        shipped_is_whole = _shipped_is_whole(session, store)
    if shipped_is_whole:
        _drop_default(database, version)
    for champion, successor_id in successors:
        _replace(database, champion, successor_id)
    with database.reading() as session:
        return not _serves(session, version)


def _successors(session: Session, store: ArtifactStore, lost: ModelVersion) -> list[tuple[Champion, UUID]]:
    """Each champion that points to the lost version, with its successor; champions without a successor are left out."""
    successors = []
    for champion in promotion.served_by(session, [lost.id]):
        with suppress(Unavailable):
            successor = promotion.successor(session, champion, lambda v: v.id != lost.id and _is_whole(store, v))
            successors.append((champion, successor.id))
    return successors


def _is_lost(store: ArtifactStore, version: ModelVersion) -> bool:
    try:
        store.read(version.account_id, version.sha256)
    except (ArtifactMissing, ArtifactDamaged):
        return True
    except OSError:
        pass  # the file may exist: unknown now
    return False


def _is_whole(store: ArtifactStore, version: ModelVersion) -> bool:
    try:
        store.read(version.account_id, version.sha256)
    except (ArtifactMissing, ArtifactDamaged, OSError):
        return False
    return True


def _shipped_is_whole(session: Session, store: ArtifactStore) -> bool:
    try:
        return _is_whole(store, model_versions.shipped(session))
    except Unavailable:
        return False


def _drop_default(database: Database, version: ModelVersion) -> None:
    """The account's new subjects start from the shipped base again."""
    with database.unit_of_work() as session:
        dropped = promotion.drop_default_base(session, [version.id])
    if dropped:
        log.error("file of a default base lost; the shipped one serves", version=str(version.id))


def _replace(database: Database, champion: Champion, successor_id: UUID) -> None:
    """A concurrent change wins: then another version serves already."""
    why, lost = ChampionReason.DAMAGED, {"lost_model_version_id": str(champion.model_version_id)}
    expected = champion.revision
    with suppress(Conflict), database.unit_of_work() as session:
        promotion.promote(
            session, champion.subject_id, successor_id, reason=why, expected_revision=expected, decision=lost
        )
        log.error("file of a champion lost; another version serves", version=str(champion.model_version_id))


def _serves(session: Session, version: ModelVersion) -> bool:
    """Whether the version serves a subject, or is the base that new subjects start from."""
    default = select(DefaultBase.account_id).where(DefaultBase.model_version_id == version.id).limit(1)
    if promotion.served_by(session, [version.id]) or session.scalar(default) is not None:
        return True
    return version.account_id is None and model_versions.shipped(session).id == version.id
