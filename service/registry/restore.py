"""Restores a backup into an empty database and artifact folder, on either kind of database."""

import hashlib
import json
import re
import tarfile
from collections.abc import Iterator
from typing import IO, Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from service.registry import identity, jobs, migrations, portable
from service.registry.artifacts import CHUNK, SHIPPED, ArtifactStore
from service.registry.backup import FORMAT, HEADER, MANIFEST, ROWS_AT_ONCE, Header, Manifest
from service.registry.session import Database, sqlite_file
from service.registry.tables import Dataset, Job, JobState, ModelVersion, Subject

_TABLE = re.compile(r"tables/([a-z_]+)\.jsonl")
_FILE = re.compile(rf"files/({SHIPPED}|[0-9a-f-]{{36}})/([0-9a-f]{{64}})")
_LARGEST_JSON = 64 * 1024**2

Stored = list[tuple[UUID | None, str]]


class RestoreError(Exception):
    """The backup cannot be restored here; the text says why."""


def restore(database: Database, database_url: str, store: ArtifactStore, source: IO[bytes]) -> Manifest:
    """Restore all rows or none, then their files, bring the schema up to date, and make the folder this database's.

    Jobs that ran when the backup was made are queued: their worker is not here. Raises RestoreError when something
    lies here already, the folder is another database's than the backup is of, or the backup is cut short, damaged or
    newer than this code.
    """
    stored: Stored = []
    new: Stored = []  # files that existed before stay when this fails
    try:
        with tarfile.open(fileobj=source, mode="r|") as tar:
            members = iter(tar)
            header = _header(tar, next(members, None))
            _check_folder(database, database_url, store, header)
            _prepare(database, database_url, header)
            with database.unit_of_work() as session:
                manifest = _load(session, tar, members, header, store, stored, new)
    except BaseException as error:
        for account_id, sha256 in new:
            store.delete(account_id, sha256)
        if isinstance(error, (tarfile.TarError, EOFError)):
            raise RestoreError(f"The backup is damaged or cut short: {error}.") from error
        raise
    migrations.upgrade(database_url)
    with database.unit_of_work() as session:
        _hand_back(session)
    identity.adopt(database, store)
    return manifest


def waiting_jobs(database: Database) -> int:
    """How many jobs of a restored database go on as soon as a worker starts."""
    with database.reading() as session:
        return session.scalar(sa.select(sa.func.count()).where(Job.state == JobState.QUEUED)) or 0


def _header(tar: tarfile.TarFile, member: tarfile.TarInfo | None) -> Header:
    if member is None or member.name != HEADER:
        raise RestoreError("This is not a backup of Stagewise.")
    values = _json(tar, member)
    if values.get("format") != FORMAT:
        raise RestoreError(f"The backup has format {values.get('format')!r}; this version reads {FORMAT}.")
    if not migrations.is_known(values["schema"]):
        raise RestoreError(f"The backup was made by a newer version (schema {values['schema']}); install that one.")
    return Header(**values)


def _check_folder(database: Database, database_url: str, store: ArtifactStore, header: Header) -> None:
    """Raise RestoreError for a folder that is neither this database's nor the backed-up database's."""
    folder, file = identity.of_folder(store), sqlite_file(database_url)
    own = None if file is not None and not file.exists() else identity.read(database, store).database
    if folder is not None and folder != own and str(folder) != header.identity:
        raise RestoreError(
            f"The artifact folder {store.root} belongs to another database: its identity is {folder}, the backup is of "
            f"{header.identity or 'none'}. Restore into an empty folder: set ARTIFACT_DIR or STAGEWISE_STATE_DIR."
        )


def _prepare(database: Database, database_url: str, header: Header) -> None:
    """Tables of the backup's revision, without rows. What a first start makes (an account, a key, the shipped base)
    gives way to the backup's.
    """  # fmt: skip
    file = sqlite_file(database_url)
    there = file is None or file.exists()
    if there:
        with database.engine.connect() as connection:
            there = migrations.current_revision(connection) is not None
    if there:
        with database.reading() as session:
            own = sa.select(ModelVersion.id).where(ModelVersion.account_id.is_not(None))
            for rows in (sa.select(Subject.id), sa.select(Dataset.id), sa.select(Job.id), own):
                if session.execute(rows.limit(1)).first() is not None:
                    raise RestoreError("The database is not empty; restore into a new one.")
        migrations.drop_all(database_url)
    migrations.upgrade(database_url, header.schema)


def _load(
    session: Session,
    tar: tarfile.TarFile,
    members: Iterator[tarfile.TarInfo],
    header: Header,
    store: ArtifactStore,
    stored: Stored,
    new: Stored,
) -> Manifest:
    rows: dict[str, int] = {}
    digests: dict[str, str] = {}
    for member in members:
        if member.name == MANIFEST:
            manifest = Manifest(**_json(tar, member))
            if (manifest.rows, manifest.sha256, manifest.files) != (rows, digests, len(stored)):
                raise RestoreError("The backup is damaged: its rows or files are not those that its manifest names.")
            return manifest
        if table := _TABLE.fullmatch(member.name):
            rows[table[1]], digests[table[1]] = _load_table(session, _content(tar, member), table[1], header)
        elif file := _FILE.fullmatch(member.name):
            stored.append(_load_file(store, _content(tar, member), file[1], file[2], new))
        else:
            raise RestoreError(f"The backup holds something unknown: {member.name[:100]!r}.")
    raise RestoreError("The backup is cut short: its manifest is missing.")


def _load_table(session: Session, lines: IO[bytes], name: str, header: Header) -> tuple[int, str]:
    if name not in header.tables:
        raise RestoreError(f"The backup's table {name!r} is not in its own list.")
    columns, later = header.tables[name]["columns"], header.tables[name]["own_references"]
    table, digest, count = portable.target(name, columns), hashlib.sha256(), 0
    waiting: list[dict[str, Any]] = []

    def parsed() -> Iterator[list[Any]]:
        for line in lines:
            digest.update(line)
            yield portable.from_line(line, list(columns.values()))

    try:
        for chunk in portable.chunks(parsed(), ROWS_AT_ONCE):
            values = [dict(zip(columns, row, strict=True)) for row in chunk]
            waiting += [row for row in values if any(row[column] is not None for column in later)]
            session.execute(sa.insert(table), [{**row, **dict.fromkeys(later)} for row in values])
            count += len(values)
    except ValueError as error:
        raise RestoreError(f"The backup's table {name} cannot be read: {error}.") from error
    if waiting:
        own = sa.update(table).where(table.c.id == sa.bindparam("row_id"))
        set_later = own.values({column: sa.bindparam(f"own_{column}") for column in later})
        values = [{"row_id": row["id"], **{f"own_{c}": row[c] for c in later}} for row in waiting]
        session.connection().execute(set_later, values)
    _continue_numbers(session, name, columns)
    return count, digest.hexdigest()


def _continue_numbers(session: Session, name: str, columns: dict[str, str]) -> None:
    """PostgreSQL counts in a sequence of its own: the next row must get a number that is free."""
    if columns.get("id") == "integer" and session.get_bind().dialect.name == "postgresql":
        table = portable.target(name, columns)
        highest = sa.select(sa.func.max(table.c.id)).scalar_subquery()
        session.execute(sa.select(sa.func.setval(sa.func.pg_get_serial_sequence(name, "id"), highest)))


def _load_file(
    store: ArtifactStore, content: IO[bytes], owner: str, sha256: str, new: Stored
) -> tuple[UUID | None, str]:
    account_id = None if owner == SHIPPED else UUID(owner)
    temporary, digest = store.temporary(account_id), hashlib.sha256()
    try:
        with temporary.open("wb") as file:
            while chunk := content.read(CHUNK):
                file.write(chunk)
                digest.update(chunk)
        if digest.hexdigest() != sha256:
            raise RestoreError(f"The backup is damaged: the file {sha256[:12]} holds other bytes.")
        if not store.path(account_id, sha256).exists():
            new.append((account_id, sha256))
        store.adopt(account_id, temporary)
    finally:
        temporary.unlink(missing_ok=True)
    return account_id, sha256


def _hand_back(session: Session) -> None:
    running = sa.select(Job.id, Job.attempt).where(Job.state == JobState.RUNNING)
    for job_id, attempt in session.execute(running).all():
        jobs.hand_back(session, jobs.Claim(job_id, attempt))


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    content = tar.extractfile(member) if member.isfile() else None
    if content is None:
        raise RestoreError(f"The backup holds something that is no file: {member.name[:100]!r}.")
    return content


def _json(tar: tarfile.TarFile, member: tarfile.TarInfo) -> dict[str, Any]:
    try:
        values: dict[str, Any] = json.loads(_content(tar, member).read(_LARGEST_JSON))
    except ValueError as error:
        raise RestoreError(f"The backup's {member.name} cannot be read: {error}.") from error
    return values
