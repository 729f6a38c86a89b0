"""A model file that is gone or damaged: whoever it served falls back to a version whose file is whole.

Only missing files and wrong bytes count. An error of the disk that may pass demotes nobody, and neither does a folder
that is not mounted: the version to fall back to must be readable.
"""

from contextlib import suppress
from uuid import UUID

import structlog
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from service.errors import Conflict, Unavailable
from service.registry import champions, model_versions
from service.registry.artifacts import ArtifactDamaged, ArtifactMissing, ArtifactStore
from service.registry.session import Database
from service.registry.tables import Champion, ChampionChange, DefaultBase, ModelVersion, Subject

REASON = "damaged"  # of such a change in a champion's history

log = structlog.get_logger(__name__)


def fall_back(database: Database, store: ArtifactStore, version: ModelVersion) -> bool:
    """Let nobody be served by a version whose file is lost, and record it. True: look again who serves.

    False: the file is whole, or nothing that could take its place is.
    """
    if not _is_lost(store, version):
        return False
    with database.reading() as session:
        heirs = {each: _heir(session, store, version, each) for each in _served(session, version)}
        base = _shipped(session, store)
    if base not in (None, version.id):
        _drop_default(database, version)
    for champion, heir in heirs.items():
        if heir is not None:
            _replace(database, champion, heir)
    with database.reading() as session:
        return not _serves(session, version)


def fallen_back(session: Session) -> int:
    """How many subjects are served by a version that took the place of one whose file was lost."""
    now = (ChampionChange.subject_id == Champion.subject_id) & (ChampionChange.revision == Champion.revision)
    rows = select(func.count()).select_from(Champion).join(ChampionChange, now)
    return session.scalar(rows.where(ChampionChange.reason == REASON)) or 0


def _is_lost(store: ArtifactStore, version: ModelVersion) -> bool:
    try:
        store.read(version.account_id, version.sha256)
    except (ArtifactMissing, ArtifactDamaged):
        return True
    except OSError:
        pass  # nobody can tell now
    return False


def _is_whole(store: ArtifactStore, version: ModelVersion) -> bool:
    try:
        store.read(version.account_id, version.sha256)
    except (ArtifactMissing, ArtifactDamaged, OSError):
        return False
    return True


def _served(session: Session, version: ModelVersion) -> list[Champion]:
    return list(session.scalars(select(Champion).where(Champion.model_version_id == version.id)))


def _heir(session: Session, store: ArtifactStore, lost: ModelVersion, champion: Champion) -> UUID | None:
    """The newest version that served before and is whole, else a base that is."""
    without = {lost.id}
    while (earlier := champions.previous_version(session, champion, without=without)) is not None:
        if _is_whole(store, session.get_one(ModelVersion, earlier)):
            return earlier
        without.add(earlier)
    account_id = session.get_one(Subject, champion.subject_id).account_id
    own = session.scalar(
        select(ModelVersion)
        .join(DefaultBase, DefaultBase.model_version_id == ModelVersion.id)
        .where(DefaultBase.account_id == account_id)
    )
    if own is not None and own.id not in without and _is_whole(store, own):
        return own.id
    base = _shipped(session, store)
    return base if base not in without else None


def _shipped(session: Session, store: ArtifactStore) -> UUID | None:
    try:
        base = model_versions.shipped(session)
    except Unavailable:
        return None
    return base.id if _is_whole(store, base) else None


def _drop_default(database: Database, version: ModelVersion) -> None:
    """The account's new subjects start from the shipped base again."""
    with database.unit_of_work() as session:
        dropped = session.execute(delete(DefaultBase).where(DefaultBase.model_version_id == version.id))
    if dropped.rowcount:  # type: ignore[attr-defined]
        log.error("file of a default base lost; the shipped one serves", version=str(version.id))


def _replace(database: Database, champion: Champion, heir: UUID) -> None:
    """Nothing happens when another change came first: then somebody else serves already."""
    lost = {"lost_model_version_id": str(champion.model_version_id)}
    with suppress(Conflict), database.unit_of_work() as session:
        revision = champion.revision
        champions.promote(session, champion.subject_id, heir, reason=REASON, expected_revision=revision, decision=lost)
        log.error("file of a champion lost; another version serves", version=str(champion.model_version_id))


def _serves(session: Session, version: ModelVersion) -> bool:
    """Whether the version serves somebody, or is the one that everybody starts from."""
    default = select(DefaultBase.account_id).where(DefaultBase.model_version_id == version.id).limit(1)
    if _served(session, version) or session.scalar(default) is not None:
        return True
    return version.account_id is None and model_versions.shipped(session).id == version.id
