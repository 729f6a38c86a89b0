"""Garbage collection of files: a transaction records the files that it leaves unreferenced; after its commit they are
deleted.

The recording process deletes them at once. The reconciler deletes what a crash, a running backup or an import of the
same workouts left.
"""

import math
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from uuid import UUID

from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from service.registry import pins
from service.registry.artifacts import TEMPORARY, ArtifactStore
from service.registry.references import referenced
from service.registry.session import Database
from service.registry.tables import Account, Job, JobState, Leftover, Stage, utc_now

CLOCKS_APART_SECONDS = 60.0  # a file system's clock ticks coarsely, and the worker's may be another machine's
SETTLED_SECONDS = 30.0  # an upload's file may be younger than its row
AT_ONCE = 500  # in one transaction


def add(session: Session, account_id: UUID, digests: Iterable[str | None]) -> None:
    """Record files to delete unless a row refers to them; None is left out."""
    _add(session, account_id, sorted({digest for digest in digests if digest}))


def look_later(session: Session, account_id: UUID) -> None:
    """Record a look for all unreferenced files of the account stored until now: a job that was cut short may have
    stored some without a row.
    """  # fmt: skip
    _add(session, account_id, [None])


def _add(session: Session, account_id: UUID, digests: Sequence[str | None]) -> None:
    now = utc_now()
    rows = [{"account_id": account_id, "sha256": digest, "created_at": now} for digest in digests]
    if rows:
        session.execute(insert(Leftover), rows)


def delete_unreferenced(
    session: Session, store: ArtifactStore, account_id: UUID, digests: Iterable[str], *, older_than: float = math.inf
) -> None:
    """Remove files inside the transaction that proves that no row refers to them (a write unit of work of its own).

    A file that was stored again since `older_than` (epoch seconds) stays: its row is on its way. While a backup reads,
    the files are recorded for later.
    """
    # A concurrent insert for this account waits until the files are gone (PostgreSQL: its foreign key).
    session.execute(select(Account.id).where(Account.id == account_id).with_for_update())
    candidates = set(digests)
    old = [
        digest
        for digest in candidates - referenced(session, account_id, candidates)
        if stored_at(store.path(account_id, digest)) < older_than
    ]
    if old and pins.is_pinned(session):
        add(session, account_id, old)
        return
    for digest in old:
        store.delete(account_id, digest)


def work_off(database: Database, store: ArtifactStore, account_id: UUID | None = None, *, hurried: bool = False) -> int:
    """Delete the recorded files of one account or of all; the number of rows handled.

    `hurried`: look for files without a row now as far as that is safe, not only once all of them can be judged.
    """
    with database.reading() as session:
        accounts = select(Leftover.account_id).distinct()
        rows = session.scalars(accounts if account_id is None else accounts.where(Leftover.account_id == account_id))
        owners = rows.all()
    return sum(_delete_named(database, store, owner) + _look(database, store, owner, hurried) for owner in owners)


def _delete_named(database: Database, store: ArtifactStore, account_id: UUID) -> int:
    last, count = 0, 0
    while True:
        with database.unit_of_work() as session:
            named = (Leftover.account_id == account_id) & Leftover.sha256.is_not(None) & (Leftover.id > last)
            rows = session.scalars(select(Leftover).where(named).order_by(Leftover.id).limit(AT_ONCE)).all()
            if not rows or pins.is_pinned(session):
                return count
            done = _delete_files(session, store, account_id, rows)
            session.execute(delete(Leftover).where(Leftover.id.in_(done)))
        last, count = rows[-1].id, count + len(done)


def _delete_files(session: Session, store: ArtifactStore, account_id: UUID, rows: Sequence[Leftover]) -> list[int]:
    """The rows that are handled. A running import may have stored the same workout again before its row exists: files
    younger than the import wait for its end.
    """  # fmt: skip
    session.execute(select(Account.id).where(Account.id == account_id).with_for_update())
    since = _running_since(session, account_id, Job.stage == Stage.IMPORT)
    needed = referenced(session, account_id, {str(row.sha256) for row in rows})
    done = []
    for row in rows:
        digest = str(row.sha256)
        if digest not in needed:
            at = stored_at(store.path(account_id, digest))
            if at != math.inf and at >= since:
                continue
            store.delete(account_id, digest)
        done.append(row.id)
    return done


def _look(database: Database, store: ArtifactStore, account_id: UUID, hurried: bool) -> int:
    with database.reading() as session:
        looks = (Leftover.account_id == account_id) & Leftover.sha256.is_(None)
        rows = session.scalars(select(Leftover).where(looks)).all()
        since = _running_since(session, account_id, Job.stage != Stage.FLEET)
    if not rows:
        return 0
    asked = max(row.created_at for row in rows).timestamp()
    bound = min(asked, time.time() - SETTLED_SECONDS, since)
    if bound < asked and not hurried:
        return 0  # a running job or an upload may still own these files
    for chunk in unreferenced(database, store, account_id, older_than=bound):
        with database.unit_of_work() as session:
            delete_unreferenced(session, store, account_id, chunk, older_than=bound)
    if bound < asked:
        return 0
    with database.unit_of_work() as session:
        session.execute(delete(Leftover).where(Leftover.id.in_([row.id for row in rows])))
    return len(rows)


def unreferenced(
    database: Database, store: ArtifactStore, account_id: UUID, *, older_than: float, younger_than: float = -math.inf
) -> list[list[str]]:
    """Stored files of an account that no row refers to now, of a time in between (epoch seconds), in small lists."""
    names = [
        path.name
        for path in store.stored(account_id)
        if not path.name.endswith(TEMPORARY) and younger_than <= stored_at(path) < older_than
    ]
    with database.reading() as session:
        needed = referenced(session, account_id, names)
    left = [name for name in names if name not in needed]
    return [left[start : start + AT_ONCE] for start in range(0, len(left), AT_ONCE)]


def clear_scratch(database: Database, store: ArtifactStore) -> None:
    """Remove what imports unpacked that do not run any more."""
    left = store.scratches()  # first the folders, then the rows: a folder is made after its job's claim
    if left:
        with database.reading() as session:
            running = select(Job.id, Job.attempt).where(Job.state == JobState.RUNNING, Job.stage == Stage.IMPORT)
            busy = {f"{job_id}-{attempt}" for job_id, attempt in session.execute(running)}
        for name in left - busy:
            store.drop_scratch(name)


def _running_since(session: Session, account_id: UUID, which: object) -> float:
    """The earliest start of the account's running jobs, less a margin for clocks; infinite when none runs."""
    running = select(Job.started_at).where(Job.account_id == account_id, Job.state == JobState.RUNNING, which)  # type: ignore[arg-type]
    starts = [at.timestamp() - CLOCKS_APART_SECONDS for at in session.scalars(running) if at]
    return min(starts, default=math.inf)


def stored_at(path: Path) -> float:
    """Epoch seconds; infinite when the file is gone by now."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return math.inf
