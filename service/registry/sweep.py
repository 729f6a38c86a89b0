"""Which files rows refer to, and removing those that no row does."""

import math
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import Select, select, union_all
from sqlalchemy.orm import Session

from service.registry.artifacts import SCRATCH, TEMPORARY, ArtifactStore
from service.registry.session import Database
from service.registry.tables import Account, Dataset, DatasetState, Job, ModelVersion, Workout

OLD_SECONDS = 24 * 3600.0
UNFINISHED = (DatasetState.QUEUED, DatasetState.IMPORTING)
REFERENCES = (  # and the uploads of unfinished datasets
    (Workout, Workout.digest),
    (Job, Job.latest_sha256),
    (Job, Job.previous_sha256),
    (Job, Job.best_sha256),
    (ModelVersion, ModelVersion.sha256),
    (ModelVersion, ModelVersion.pt_sha256),
)


def referenced(session: Session, account_id: UUID | None, digests: Iterable[str]) -> set[str]:
    """Those of `digests` that some row of the account refers to."""
    wanted = list(digests)
    found: set[str] = set()
    for start in range(0, len(wanted), 500):
        chunk = wanted[start : start + 500]
        found.update(session.scalars(union_all(*_references(account_id, chunk))))
    return found


def _references(account_id: UUID | None, chunk: list[str]) -> list[Select[tuple[str]]]:
    rows = [select(column).where(table.account_id == account_id, column.in_(chunk)) for table, column in REFERENCES]
    uploads = select(Dataset.upload_sha256).where(Dataset.account_id == account_id, Dataset.state.in_(UNFINISHED))
    return [*rows, uploads.where(Dataset.upload_sha256.in_(chunk))]  # type: ignore[list-item]


def everything(session: Session) -> set[tuple[UUID | None, str]]:
    """Every file that some row refers to: account (None: shipped) and digest."""
    uploads = select(Dataset.account_id, Dataset.upload_sha256).where(Dataset.state.in_(UNFINISHED))
    rows: list[Any] = [select(table.account_id, column).where(column.is_not(None)) for table, column in REFERENCES]
    return {(account_id, digest) for each in [*rows, uploads] for account_id, digest in session.execute(each)}


def delete_unreferenced(
    session: Session, store: ArtifactStore, account_id: UUID, digests: Iterable[str], *, older_than: float = math.inf
) -> None:
    """Remove files inside the transaction that proves that no row refers to them (a write unit of work of its own).

    A file that was stored again since `older_than` (epoch seconds) stays: its row is on its way.
    """
    # Whoever adds a row of this account now waits until the files are gone (PostgreSQL: its foreign key).
    session.execute(select(Account.id).where(Account.id == account_id).with_for_update())
    wanted = set(digests)
    for digest in wanted - referenced(session, account_id, wanted):
        if _stored_at(store.path(account_id, digest)) < older_than:
            store.delete(account_id, digest)


def old_files(database: Database, store: ArtifactStore, older_than: float = OLD_SECONDS) -> None:
    """Remove files that have been unreferenced since `older_than` seconds ago: left by a crash between file and row."""
    if not store.root.exists():
        return
    limit = time.time() - older_than
    for left in (store.root / SCRATCH).glob("*"):
        if _stored_at(left) < limit:
            shutil.rmtree(left, ignore_errors=True)
    for folder in store.root.iterdir():
        account_id = _account_of(folder)
        if account_id is None:
            continue
        old = [path for path in folder.iterdir() if _stored_at(path) < limit]
        for path in old:
            if path.name.endswith(TEMPORARY):
                path.unlink(missing_ok=True)
        with database.unit_of_work() as session:
            stored = [path.name for path in old if not path.name.endswith(TEMPORARY)]
            delete_unreferenced(session, store, account_id, stored, older_than=limit)


def _account_of(folder: Path) -> UUID | None:
    """Whose files a folder holds; None for the shipped ones and for what is not ours (a disk's `lost+found`)."""
    try:
        return UUID(folder.name) if folder.is_dir() else None
    except ValueError:
        return None


def _stored_at(path: Path) -> float:
    """Epoch seconds; infinite when the file is gone by now."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return math.inf
