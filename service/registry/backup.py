"""A backup: one tar of all rows, as of one moment, and of the files that they refer to.

Order: what it is (`stagewise.json`), a file of JSON lines per table, files by account and digest, and last the manifest
with counts and digests: a backup that was cut short has none. Rows come first, a stored file never changes, and while a
backup reads none of them goes (pins.py): a service that runs meanwhile does no harm.
"""

import hashlib
import io
import json
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from service.registry import identity, migrations, pins, portable, references
from service.registry.artifacts import CHUNK, SHIPPED, ArtifactStore
from service.registry.session import Database
from service.registry.tables import BackupPin, Base, DashboardSession, Installation, Leftover, utc_now

FORMAT = 1
HEADER, MANIFEST = "stagewise.json", "manifest.json"
ROWS_AT_ONCE = 1000
NAMED = 20  # lost files in a sentence
LOCAL = {
    table.__tablename__ for table in (Installation, Leftover, BackupPin, DashboardSession)
}  # about this database and folder alone
TABLES = [table for table in Base.metadata.sorted_tables if table.name not in LOCAL]


class IncompleteBackup(Exception):
    """Files are missing or damaged that rows refer to; the text names them."""


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a backup is, and what its tables look like."""

    format: int
    schema: str  # Alembic revision
    made_at: str
    tables: dict[str, dict[str, Any]]  # name -> columns (kind by name), own_references; parents first
    identity: str = ""  # of the database and the artifact folder that it is of


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a whole backup holds. A file's own name is its digest."""

    rows: dict[str, int] = field(default_factory=dict)
    sha256: dict[str, str] = field(default_factory=dict)  # of each table's lines
    files: int = 0
    missing: list[str] = field(default_factory=list)  # referred to, but gone or damaged when the backup was made


def write_backup(database: Database, store: ArtifactStore, output: IO[bytes], *, incomplete: bool = False) -> Manifest:
    """Write a backup to a stream, which need not be seekable; `incomplete`: also without files that are lost.

    Raises IncompleteBackup (the stream then has no manifest and cannot be restored), OSError, and what the driver
    raises.
    """
    with pins.pinned(database), tempfile.TemporaryDirectory() as scratch:
        return _write(database, store, output, Path(scratch), incomplete)


def _write(database: Database, store: ArtifactStore, output: IO[bytes], scratch: Path, incomplete: bool) -> Manifest:
    rows: dict[str, int] = {}
    digests: dict[str, str] = {}
    with tarfile.open(fileobj=output, mode="w|") as tar:
        with _snapshot(database) as session:
            _add_json(tar, HEADER, asdict(_header(session)))
            for table in TABLES:
                path = scratch / table.name
                rows[table.name], digests[table.name] = _spool(session, table, path)
                _add_file(tar, f"tables/{table.name}.jsonl", path)
                path.unlink()
            artifacts = sorted(references.everything(session), key=str)
        missing = [_name(*artifact) for artifact in artifacts if not _add_artifact(tar, store, *artifact)]
        if missing and not incomplete:
            raise IncompleteBackup(f"{len(missing)} files are missing or damaged: {', '.join(missing[:NAMED])}")
        manifest = Manifest(rows=rows, sha256=digests, files=len(artifacts) - len(missing), missing=missing)
        _add_json(tar, MANIFEST, asdict(manifest))
    return manifest


@contextmanager
def _snapshot(database: Database) -> Iterator[Session]:
    """A snapshot transaction: it sees one moment of the database and blocks no writer."""
    engine = database.engine
    if engine.dialect.name == "postgresql":
        engine = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    with Session(engine) as session:  # SQLite: a reader of the write-ahead log has a snapshot anyway
        yield session


def _header(session: Session) -> Header:
    tables = {
        table.name: {"columns": portable.columns_of(table), "own_references": portable.own_references(table)}
        for table in TABLES
    }
    revision, made_at = migrations.current_revision(session.connection()), utc_now().isoformat()
    own = identity.of_database(session)
    return Header(format=FORMAT, schema=revision or "", made_at=made_at, tables=tables, identity=str(own or ""))


def _spool(session: Session, table: sa.Table, path: Path) -> tuple[int, str]:
    """Write a table's rows to a file, because a tar needs sizes first. Their number, and the SHA-256 of the lines."""
    count, digest = 0, hashlib.sha256()
    rows = session.execute(sa.select(table).order_by(*table.primary_key), execution_options={"yield_per": ROWS_AT_ONCE})
    with path.open("wb") as file:
        for row in rows:
            line = portable.to_line(row)
            file.write(line)
            digest.update(line)
            count += 1
    return count, digest.hexdigest()


def _add_artifact(tar: tarfile.TarFile, store: ArtifactStore, account_id: UUID | None, sha256: str) -> bool:
    """Whether the file exists and is whole."""
    path = store.path(account_id, sha256)
    try:
        if _digest(path) != sha256:
            return False
        _add_file(tar, f"files/{_name(account_id, sha256)}", path)
    except FileNotFoundError:
        return False
    return True


def _name(account_id: UUID | None, sha256: str) -> str:
    return f"{account_id or SHIPPED}/{sha256}"


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _add_file(tar: tarfile.TarFile, name: str, path: Path) -> None:
    info = tarfile.TarInfo(name)
    with path.open("rb", buffering=CHUNK) as file:
        info.size = path.stat().st_size
        tar.addfile(info, file)


def _add_json(tar: tarfile.TarFile, name: str, value: dict[str, Any]) -> None:
    data = json.dumps(value, indent=1).encode()
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))
