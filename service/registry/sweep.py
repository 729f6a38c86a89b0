"""Which files rows refer to, and removing those that no row does."""

import time
from collections.abc import Iterable
from uuid import UUID

from sqlalchemy import Select, select, union_all
from sqlalchemy.orm import Session

from service.registry.artifacts import SHIPPED, TEMPORARY, ArtifactStore
from service.registry.session import Database
from service.registry.tables import Dataset, DatasetState, Job, ModelVersion, Workout

OLD_SECONDS = 24 * 3600.0
UNFINISHED = (DatasetState.QUEUED, DatasetState.IMPORTING)


def referenced(session: Session, account_id: UUID | None, digests: Iterable[str]) -> set[str]:
    """Those of `digests` that some row of the account refers to."""
    wanted = list(digests)
    found: set[str] = set()
    for start in range(0, len(wanted), 500):
        chunk = wanted[start : start + 500]
        found.update(session.scalars(union_all(*_references(account_id, chunk))))
    return found


def _references(account_id: UUID | None, chunk: list[str]) -> list[Select[tuple[str]]]:
    columns = (
        (Workout, Workout.digest),
        (Job, Job.latest_sha256),
        (Job, Job.previous_sha256),
        (Job, Job.best_sha256),
        (ModelVersion, ModelVersion.sha256),
        (ModelVersion, ModelVersion.pt_sha256),
    )
    rows = [select(column).where(table.account_id == account_id, column.in_(chunk)) for table, column in columns]
    uploads = select(Dataset.upload_sha256).where(Dataset.account_id == account_id, Dataset.state.in_(UNFINISHED))
    return [*rows, uploads.where(Dataset.upload_sha256.in_(chunk))]  # type: ignore[list-item]


def delete_unreferenced(
    session: Session, store: ArtifactStore, account_id: UUID | None, digests: Iterable[str]
) -> None:
    """Remove files inside the transaction that proves that no row refers to them (a write unit of work)."""
    wanted = set(digests)
    for digest in wanted - referenced(session, account_id, wanted):
        store.delete(account_id, digest)


def old_files(database: Database, store: ArtifactStore, older_than: float = OLD_SECONDS) -> None:
    """Remove files that have been unreferenced since `older_than` seconds ago: left by a crash between file and row."""
    if not store.root.exists():
        return
    limit = time.time() - older_than
    for folder in store.root.iterdir():
        if folder.name == SHIPPED or not folder.is_dir():
            continue
        old = [path.name for path in folder.iterdir() if path.stat().st_mtime < limit]
        for name in old:
            if name.endswith(TEMPORARY):
                (folder / name).unlink(missing_ok=True)
        with database.unit_of_work() as session:
            stored = [name for name in old if not name.endswith(TEMPORARY)]
            delete_unreferenced(session, store, UUID(folder.name), stored)
