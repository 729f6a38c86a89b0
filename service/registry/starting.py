"""Checks before a process starts: the database is whole, and the artifact folder belongs to it."""

from sqlalchemy.exc import SQLAlchemyError

from service.errors import Unavailable
from service.registry import identity
from service.registry.artifacts import ArtifactStore
from service.registry.faults import SENTENCES, Fault, fault_of
from service.registry.session import Database, spoken_reason, sqlite_file

LASTING = (Fault.DAMAGED, Fault.GONE)


class NotPrepared(Exception):
    """Nothing may start like this; the text says why and what to do."""


def check_start(database_url: str, store: ArtifactStore) -> None:
    """Raise NotPrepared when the database is damaged or gone, or the artifact folder another one's. A database that
    does not answer may come later: the service starts without.
    """  # fmt: skip
    database = Database(database_url)
    try:
        identity.check(database, store)
    except SQLAlchemyError as error:
        if fault_of(error) in LASTING:
            raise NotPrepared(words(database_url, error)) from error
        import structlog  # commands that only read need none

        structlog.get_logger(__name__).warning("starts without the database", reason=spoken_reason(error))
    except (identity.OtherStore, Unavailable, OSError) as error:
        raise NotPrepared(words(database_url, error)) from error
    finally:
        database.dispose()


def words(database_url: str, error: Exception) -> str:
    """What is wrong with a database, its file or a folder, where, and what to do."""
    if isinstance(error, SQLAlchemyError):
        fault = fault_of(error) or Fault.AWAY
        where = sqlite_file(database_url) or "DATABASE_URL"
        right = " Is DATABASE_URL or STAGEWISE_STATE_DIR right?" if fault in (Fault.AWAY, Fault.GONE) else ""
        return f"{SENTENCES[fault]}{right} ({where}: {spoken_reason(error)})"
    if isinstance(error, Unavailable):
        return f"{error.detail} ({sqlite_file(database_url) or 'DATABASE_URL'})"
    if isinstance(error, OSError):
        return (
            f"{error.filename or 'A folder'} cannot be written or read: {error.strerror}. Let the service's user write "
            "there, make room, or set STAGEWISE_STATE_DIR or ARTIFACT_DIR to another folder."
        )
    return str(error)
