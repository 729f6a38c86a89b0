"""The common identity of a database and its artifact folder: a row here, a small file there, written once together.

With another database or folder nothing starts and nothing is deleted: a file that this database does not know may be
the only copy of another database.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import inspect, select, update
from sqlalchemy.orm import Session

from service.registry import references
from service.registry.artifacts import ArtifactStore, account_of, sync_folder
from service.registry.session import Database, insert_ignoring, sqlite_file
from service.registry.tables import Account, Installation, utc_now

FILE = "identity"
UNREADABLE = "unreadable"
WHAT_TO_DO = (
    "Nothing was changed. If this is the wrong database or folder, correct DATABASE_URL, STAGEWISE_STATE_DIR or "
    "ARTIFACT_DIR, or put the database's file back. If the database is lost, `stagewise restore` a backup. If the "
    "folder is to belong to this database from now on, run `stagewise adopt`."
)


class OtherStore(Exception):
    """Database and artifact folder do not belong together; the text says which they are and what to do."""


@dataclass(frozen=True)
class Identities:
    """The identities of both sides; None: not set yet."""

    database: UUID | None
    folder: UUID | str | None
    adopted_at: datetime | None = None  # when the database came to the folder

    @property
    def agree(self) -> bool:
        """Whether both are equal (also both None)."""
        return self.database == self.folder


def of_database(session: Session) -> UUID | None:
    """The database's own identity; None before it has one."""
    row = _row(session)
    return row.identity if row else None


def read(database: Database, store: ArtifactStore) -> Identities:
    """Both identities, also of a database without tables. Raises what the driver raises, OSError.

    The folder comes first, here and below: others that start at the same time write to the database before the folder.
    """
    folder = of_folder(store)
    with database.reading() as session:
        row = _row(session)
        return Identities(row.identity, folder, row.adopted_at) if row else Identities(None, folder)


def check(database: Database, store: ArtifactStore) -> None:
    """Raise OtherStore unless database and folder have the same identity."""
    identities = read(database, store)
    if not identities.agree:
        raise OtherStore(_words(database, store, identities))


def check_before(database_url: str, store: ArtifactStore) -> None:
    """Raise OtherStore when the database must not be brought up to date beside this folder: a missing
    database file, or a database without tables, must not adopt files of another database.
    """  # fmt: skip
    file = sqlite_file(database_url)
    is_used = of_folder(store) is not None or _holds_files(store)
    if file is not None and (not file.exists() or file.stat().st_size == 0):
        if is_used:
            raise OtherStore(_sentence(store, f"{file} ({'empty' if file.exists() else 'not there'})", None))
        return
    database = Database(database_url)
    try:
        identities = read(database, store)
        if identities.agree and identities.database is not None:
            return
        if not _may_claim(database, store, identities):
            raise OtherStore(_words(database, store, identities))
    finally:
        database.dispose()


def establish(database: Database, store: ArtifactStore) -> None:
    """Give both sides their common identity, if they have none. Raises OtherStore when they do not belong together."""
    identities = read(database, store)
    if identities.agree and identities.database is not None:
        return
    if not _may_claim(database, store, identities):
        raise OtherStore(_words(database, store, identities))
    with database.unit_of_work() as session:
        new = {"id": 1, "identity": uuid4(), "adopted_at": utc_now()}
        session.execute(insert_ignoring(session, Installation).values(**new))
    with database.reading() as session:
        _write(store, session.get_one(Installation, 1).identity)


def adopt(database: Database, store: ArtifactStore) -> UUID:
    """Give both sides a new identity, whatever they had before: the folder belongs to this database, and no other
    one comes to it any more. What lies there now is not swept without an operator's word. Call with current tables.
    """  # fmt: skip
    identity = uuid4()
    with database.unit_of_work() as session:
        new = {"identity": identity, "adopted_at": utc_now()}
        if not session.execute(update(Installation).values(**new)).rowcount:  # type: ignore[attr-defined]
            session.add(Installation(id=1, **new))
    _write(store, identity)
    return identity


def describe(database: Database, store: ArtifactStore) -> str:
    """Both sides in a sentence."""
    identities = read(database, store)
    return (
        f"The database {name_of(database)} is {identities.database}; the folder {store.root} says {identities.folder}."
    )


def _may_claim(database: Database, store: ArtifactStore, identities: Identities) -> bool:
    """Whether the folder has no identity yet and cannot be another database's: it holds nothing, or the files that
    this one's rows refer to. (An installation from before there were identities, or a start that was cut short.)
    """  # fmt: skip
    if identities.folder is not None:
        return False
    holders = set(_accounts(store))
    with database.reading() as session:
        if not inspect(session.connection()).has_table(Account.__tablename__):
            return not holders
        accounts = set(session.scalars(select(Account.id)))
        named = [name for name in references.everything(session) if name[0] is not None]
    if not holders <= accounts:
        return False
    there = sum(store.path(*name).exists() for name in named)
    return 2 * there >= len(named)


def _holds_files(store: ArtifactStore) -> bool:
    return any(True for _ in _accounts(store))


def _accounts(store: ArtifactStore) -> Iterator[UUID]:
    """Accounts of which the folder holds files."""
    if not store.root.is_dir():
        return
    for folder in store.root.iterdir():
        account_id = account_of(folder)
        if account_id is not None and any(folder.iterdir()):
            yield account_id


def _row(session: Session) -> Installation | None:
    if not inspect(session.connection()).has_table(Installation.__tablename__):
        return None
    return session.get(Installation, 1)


def of_folder(store: ArtifactStore) -> UUID | str | None:
    """The folder's identity; None when it has none, UNREADABLE when its file holds something else."""
    try:
        text = (store.root / FILE).read_text(errors="replace").strip()
    except FileNotFoundError:
        return None
    try:
        return UUID(text)
    except ValueError:
        return UNREADABLE


def _write(store: ArtifactStore, identity: UUID) -> None:
    store.root.mkdir(parents=True, exist_ok=True)
    temporary = store.root / f".{FILE}-{uuid4().hex}"
    with temporary.open("w") as file:
        file.write(f"{identity}\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(store.root / FILE)
    sync_folder(store.root)


def _words(database: Database, store: ArtifactStore, identities: Identities) -> str:
    return _sentence(store, name_of(database), identities.database, identities.folder)


def _sentence(store: ArtifactStore, name: str, own: UUID | None, folders: UUID | str | None = None) -> str:
    folders = folders or of_folder(store)
    folder_words = f"says {folders}" if folders else "has none" + (", but files" if _holds_files(store) else "")
    database_words = f"is {own}" if own else "has none yet"
    return (
        f"The artifact folder {store.root} does not belong to this database. The identity of the folder "
        f"{folder_words}; that of the database {name} {database_words}. {WHAT_TO_DO}"
    )


def name_of(database: Database) -> str:
    """The database's address without its password."""
    file = sqlite_file(database.engine.url.render_as_string(hide_password=False))
    return str(file) if file else database.engine.url.render_as_string(hide_password=True)
