"""Connections, transactions and the database's clock, alike on PostgreSQL and SQLite."""

import math
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Connection, Engine, Float, create_engine, event, make_url, select, text
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase, Session
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import ColumnElement, FunctionElement

from service.registry.faults import Fault, fault_of

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite

SQLITE_PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=5000", "secure_delete=ON")
CONNECT_SECONDS = 5  # also how long a write waits for another on SQLite
FULL_SECONDS = 60.0
CONNECTIONS = 30  # of one process to PostgreSQL, at most; a third of them stay open
Result = TypeVar("Result")
BEGIN = "stagewise_begin"  # execution option: how a transaction starts on SQLite


class Database:
    """One engine and the two ways to use it."""

    def __init__(self, url: str, connections: int = CONNECTIONS) -> None:
        self.engine = make_engine(url, connections=connections)
        self._writing = self.engine.execution_options(**{BEGIN: "BEGIN IMMEDIATE"})
        self._full_at = -math.inf  # monotonic
        event.listen(self.engine, "handle_error", self._note)

    @property
    def was_full(self) -> bool:
        """Whether a statement of this process failed within a minute because the database's disk is full."""
        return time.monotonic() - self._full_at < FULL_SECONDS

    def _note(self, context: Any) -> None:
        if fault_of(context.original_exception) == Fault.FULL:
            self._full_at = time.monotonic()

    @contextmanager
    def unit_of_work(self) -> Iterator[Session]:
        """A transaction that may write: committed at the end, rolled back on any error. On SQLite it takes the write
        lock at once, because a read lock cannot always be turned into one later.
        """  # fmt: skip
        with Session(self._writing, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A transaction that only reads."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    def read(self, work: Callable[..., Result], *arguments: Any) -> Result:
        """What `work` makes of a transaction that only reads, and of these."""
        with self.reading() as session:
            return work(session, *arguments)

    def checkpoint_wal(self) -> None:
        """Checkpoint SQLite's write-ahead log, which keeps pages of deleted rows until it is written back.
        PostgreSQL's vacuum does that by itself.
        """  # fmt: skip
        if self.engine.dialect.name == "sqlite":
            with closing(self.engine.raw_connection()) as connection:  # no transaction may be open
                connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def dispose(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()


def make_engine(url: str, *, create: bool = False, connections: int = CONNECTIONS) -> Engine:
    """An engine for `sqlite:///path` or `postgresql+psycopg://...`. Raises ValueError for another database.

    A missing SQLite file is an error unless `create`: only migrations make one, so that a file which was
    deleted or moved is noticed instead of replaced by an empty one. `connections`: at most, to PostgreSQL.
    """
    if url.startswith(("postgresql://", "postgres://")):
        url = "postgresql+psycopg://" + url.split("://", 1)[1]
    if url.startswith("postgresql+psycopg://"):
        # A host that vanishes without a word would hold a connection for hours.
        timeouts = {"connect_timeout": CONNECT_SECONDS, "keepalives_idle": 15, "tcp_user_timeout": 20_000}
        kept = connections // 3
        pool = {"pool_pre_ping": True, "pool_timeout": 10, "pool_recycle": 1800}
        pool |= {"pool_size": kept, "max_overflow": connections - kept}
        return create_engine(url, connect_args=timeouts, hide_parameters=True, **pool)
    if not url.startswith("sqlite:///"):
        raise ValueError(f"DATABASE_URL {url.split('://', 1)[0]!r} is not known; use postgresql:// or sqlite:///")
    file = sqlite_file(url)
    if file is None:  # in memory
        engine = create_engine(url, hide_parameters=True)
    else:
        engine = create_engine(url, creator=_opener(file, "rwc" if create else "rw"), hide_parameters=True)
        event.listen(engine, "connect", lambda _connection, record: record.info.update(file=_which(file)))
        event.listen(engine, "checkout", lambda _connection, record, _proxy: _check_file(file, record.info["file"]))
    event.listen(engine, "connect", _set_sqlite_pragmas)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def sqlite_file(url: str) -> Path | None:
    """The file of a SQLite database; None for another kind and for one in memory."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or parsed.database in (None, "", ":memory:"):
        return None
    return Path(str(parsed.database)).resolve()


def _opener(file: Path, mode: str) -> Callable[[], sqlite3.Connection]:
    address = f"{file.as_uri()}?mode={mode}"
    return lambda: sqlite3.connect(address, uri=True, timeout=CONNECT_SECONDS, check_same_thread=False)


def _which(file: Path) -> tuple[int, int] | None:
    """The file that has this name now; None when there is none."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _check_file(file: Path, opened: tuple[int, int] | None) -> None:
    """Drop a connection to a file that was deleted, moved or replaced: its writes would be lost."""
    if _which(file) != opened:
        raise DisconnectionError(f"{file} is another file now, or gone")


def _set_sqlite_pragmas(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # the driver must not begin transactions on its own
    for pragma in SQLITE_PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get(BEGIN, "BEGIN"))


class DatabaseClock(FunctionElement[float]):
    """The SQL expression of `db_now`. Tests stop the clock by putting a number here (`tests/clock.py`)."""

    type = Float(53)
    inherit_cache = True


@compiles(DatabaseClock, "postgresql")
def _postgresql_clock(element: DatabaseClock, compiler: SQLCompiler, **options: Any) -> str:
    return "extract(epoch from clock_timestamp())::double precision"


@compiles(DatabaseClock, "sqlite")
def _sqlite_clock(element: DatabaseClock, compiler: SQLCompiler, **options: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


def db_now() -> ColumnElement[float]:
    """The database's clock, UTC epoch seconds: one clock for every worker's leases."""
    return DatabaseClock()


def clock(session: Session) -> float:
    """What the database's clock says now, UTC epoch seconds."""
    return float(session.execute(select(db_now())).scalar_one())


def insert_ignoring(session: Session, table: type[DeclarativeBase]) -> "postgresql.Insert | sqlite.Insert":
    """An INSERT that skips existing rows, by any unique key: of two concurrent inserts one writes."""
    from sqlalchemy.dialects import postgresql, sqlite

    if session.get_bind().dialect.name == "postgresql":
        return postgresql.insert(table).on_conflict_do_nothing()
    return sqlite.insert(table).on_conflict_do_nothing()


def ping(database: Database) -> None:
    """Raise what the driver raises when the database does not answer."""
    with database.reading() as session:
        session.execute(text("SELECT 1"))


def spoken_reason(error: Exception) -> str:
    """The driver's words for a log, without PostgreSQL's DETAIL: that repeats values of rows."""
    reason = getattr(error, "orig", None) or error
    primary = getattr(getattr(reason, "diag", None), "message_primary", None)
    return f"{type(reason).__name__}: {primary or reason}"
