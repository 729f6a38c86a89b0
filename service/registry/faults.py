"""Faults of a database, told from the exceptions of its driver, each with a sentence for the operator."""

import errno
import sqlite3
from enum import StrEnum

from sqlalchemy.exc import DBAPIError, InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

# Outages that may pass. InternalError: PostgreSQL during a failover, when it takes no writes yet.
DATABASE_UNAVAILABLE = (OperationalError, InterfaceError, InternalError, PoolTimeout)
NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
READ_ONLY = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


class Fault(StrEnum):
    """What keeps a database from working."""

    FULL = "full"
    DAMAGED = "damaged"
    GONE = "gone"
    READ_ONLY = "read_only"
    AWAY = "away"


SENTENCES = {
    Fault.FULL: "The disk is full: the database cannot write. Nothing was changed; make room.",
    Fault.DAMAGED: "The database is damaged: stop the service, put its file aside and `stagewise restore` a backup.",
    Fault.GONE: "There is no such database: its file was deleted or moved, or nothing was started here yet. "
    "Put it back, `stagewise restore` a backup, or begin with `stagewise migrate`.",
    Fault.READ_ONLY: "The database cannot be written: let the service's user write its file and folder.",
    Fault.AWAY: "The database does not answer; nothing was changed. Try again.",
}
CODES = {  # of the API's errors
    Fault.FULL: "storage_full",
    Fault.DAMAGED: "database_damaged",
    Fault.GONE: "database_gone",
    Fault.READ_ONLY: "storage_read_only",
    Fault.AWAY: "database_unavailable",
}
_SQLITE = {  # by primary result code
    sqlite3.SQLITE_FULL: Fault.FULL,
    sqlite3.SQLITE_CORRUPT: Fault.DAMAGED,
    sqlite3.SQLITE_NOTADB: Fault.DAMAGED,
    sqlite3.SQLITE_CANTOPEN: Fault.GONE,
    sqlite3.SQLITE_READONLY: Fault.READ_ONLY,
}
_POSTGRESQL = {
    "53100": Fault.FULL,
    "XX001": Fault.DAMAGED,
    "XX002": Fault.DAMAGED,
    "25006": Fault.READ_ONLY,
    "3D000": Fault.GONE,  # there is no database of that name
}


def fault_of(error: BaseException) -> Fault | None:
    """What an exception of SQLAlchemy says about the database; None when it is a fault of the statement."""
    reason = getattr(error, "orig", None) or error
    if isinstance(reason, sqlite3.Error):
        return _of_sqlite(reason)
    if (state := getattr(reason, "sqlstate", None)) in _POSTGRESQL:
        return _POSTGRESQL[state]
    away = isinstance(error, (OperationalError, InterfaceError)) or not isinstance(error, DBAPIError)
    return Fault.AWAY if away else None


def _of_sqlite(reason: sqlite3.Error) -> Fault | None:
    code = getattr(reason, "sqlite_errorcode", None)
    if code is None:
        return Fault.AWAY
    if str(reason).startswith("no such table"):  # a file of 0 bytes is a database without tables
        return Fault.DAMAGED
    if code == sqlite3.SQLITE_IOERR_SHMSIZE:  # no room for the index of its log
        return Fault.FULL
    known = _SQLITE.get(code & 0xFF)
    return known or (Fault.AWAY if isinstance(reason, sqlite3.OperationalError) else None)


def sentence(error: BaseException) -> str:
    """What is wrong and what to do."""
    return SENTENCES[fault_of(error) or Fault.AWAY]
