"""The daily look for files that no row refers to, left by a crash between file and row.

Careful: an unreferenced file may be the only copy of a person's data.
"""

import math
import shutil
import time
from dataclasses import dataclass, field
from uuid import UUID

import structlog
from sqlalchemy import select

from service.registry import identity, leftovers
from service.registry.artifacts import SCRATCH, ArtifactStore, account_of
from service.registry.leftovers import stored_at
from service.registry.session import Database
from service.registry.tables import Account

OLD_SECONDS = 24 * 3600.0
MOST_FILES, MOST_SHARE = 50, 0.2  # more than both at once look like a mistake

log = structlog.get_logger(__name__)


@dataclass
class SweepPlan:
    """What a sweep would remove."""

    files: int = 0  # in all accounts' folders
    old: dict[UUID, list[list[str]]] = field(default_factory=dict)  # unreferenced for a day, by account, in small lists
    before: int = 0  # unreferenced files from before this database came to the folder
    strangers: list[UUID] = field(default_factory=list)  # folders of accounts that the database does not know

    @property
    def count(self) -> int:
        """How many files would go."""
        return sum(len(chunk) for chunks in self.old.values() for chunk in chunks)

    @property
    def too_many(self) -> bool:
        """Whether they are more than goes without an operator's word."""
        return self.count > MOST_FILES and self.count > MOST_SHARE * self.files

    def __str__(self) -> str:
        words = f"{self.count} of {self.files} files belong to no row"
        if self.before:
            words += f"; {self.before} more have lain there since before this database came to the folder"
        if self.strangers:
            words += f"; {len(self.strangers)} folders are of accounts that the database does not know: they stay"
        return f"{words}."


def plan(
    database: Database, store: ArtifactStore, older_than: float = OLD_SECONDS, *, confirmed: bool = False
) -> SweepPlan:
    """What a sweep would remove now. `confirmed`: also what has lain there since before this database came.

    Raises OtherStore when the folder is not this database's, or has no identity.
    """
    identity.check(database, store)
    came = identity.read(database, store).adopted_at
    if came is None:
        raise identity.OtherStore(f"The artifact folder {store.root} has no identity yet: run `stagewise migrate`.")
    with database.reading() as session:
        known = set(session.scalars(select(Account.id)))
    made, limit, since = SweepPlan(), time.time() - older_than, -math.inf if confirmed else came.timestamp()
    for folder in store.root.iterdir():
        account_id = account_of(folder)
        if account_id is None:
            continue
        if account_id not in known:
            made.strangers.append(account_id)
            continue
        made.files += sum(1 for _ in folder.iterdir())
        chunks = leftovers.unreferenced(database, store, account_id, older_than=limit, younger_than=since)
        made.old[account_id] = chunks
        if not confirmed:
            older = leftovers.unreferenced(database, store, account_id, older_than=min(limit, since))
            made.before += sum(map(len, older))
    return made


def old_files(
    database: Database, store: ArtifactStore, older_than: float = OLD_SECONDS, *, confirmed: bool = False
) -> SweepPlan:
    """Remove files that have been unreferenced since `older_than` seconds ago; the plan.

    Too many files at once need an operator's confirmation. Raises OtherStore.
    """
    planned = plan(database, store, older_than, confirmed=confirmed)
    if planned.too_many and not confirmed:
        log.warning("sweep held back: run `stagewise sweep`", files=planned.count, of=planned.files)
        return planned
    limit = time.time() - older_than
    for account_id, chunks in planned.old.items():
        for chunk in chunks:
            with database.unit_of_work() as session:
                leftovers.delete_unreferenced(session, store, account_id, chunk, older_than=limit)
    for left in (store.root / SCRATCH).glob("*"):
        if stored_at(left) < limit:
            shutil.rmtree(left, ignore_errors=True)
    return planned
