"""What comes before a start: the schema brought up to date, and database and artifact folder that belong together."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import structlog
from sqlalchemy.exc import SQLAlchemyError

from service.errors import Unavailable
from service.registry import identity, migrations
from service.registry.artifacts import ArtifactStore
from service.registry.faults import SENTENCES, Fault, fault_of
from service.registry.session import Database, spoken_reason, sqlite_file
from service.registry.shipped import install_shipped_base
from service.registry.sqlite_files import check_whole
from service.secret_files import ensure_key
from service.settings import Settings

LASTING = (Fault.DAMAGED, Fault.GONE)

log = structlog.get_logger(__name__)


class NotPrepared(Exception):
    """Nothing may start like this; the text says why and what to do."""


def prepare(settings: Settings, key_file: Path | None) -> None:
    """Bring the database up to date, give it and the artifact folder their common identity, put the shipped base model
    there, and an admin key into `key_file` unless it holds one. Raises NotPrepared.
    """  # fmt: skip
    store = ArtifactStore(settings.artifact_dir)
    with said(settings):
        settings.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        identity.check_before(settings.database_url, store)
        migrations.upgrade(settings.database_url)
        database = Database(settings.database_url)
        try:
            identity.establish(database, store)
            install_shipped_base(database, store, Path(str(files("hrmodel.pretrained"))))
            if key_file is not None:
                ensure_key(database, key_file)
        finally:
            database.dispose()


def check_start(settings: Settings) -> None:
    """Raise NotPrepared when the database is damaged or gone, or the artifact folder another one's. A database that
    does not answer may come later: the service starts without.
    """  # fmt: skip
    database = Database(settings.database_url)
    try:
        check_whole(database)
        identity.check(database, ArtifactStore(settings.artifact_dir))
    except SQLAlchemyError as error:
        if fault_of(error) in LASTING:
            raise NotPrepared(words(settings, error)) from error
        log.warning("starts without the database", reason=spoken_reason(error))
    except (identity.OtherStore, Unavailable, OSError) as error:
        raise NotPrepared(words(settings, error)) from error
    finally:
        database.dispose()


@contextmanager
def said(settings: Settings) -> Iterator[None]:
    """Turn what a database, its file or a folder raises into NotPrepared with a sentence."""
    try:
        yield
    except (SQLAlchemyError, Unavailable, identity.OtherStore, OSError) as error:
        if isinstance(error, SQLAlchemyError) and fault_of(error) is None:
            raise
        raise NotPrepared(words(settings, error)) from error


def words(settings: Settings, error: Exception) -> str:
    """What is wrong, where, and what to do."""
    if isinstance(error, SQLAlchemyError):
        fault = fault_of(error) or Fault.AWAY
        where = sqlite_file(settings.database_url) or "DATABASE_URL"
        right = " Is DATABASE_URL or STAGEWISE_STATE_DIR right?" if fault in (Fault.AWAY, Fault.GONE) else ""
        return f"{SENTENCES[fault]}{right} ({where}: {spoken_reason(error)})"
    if isinstance(error, Unavailable):
        return f"{error.detail} ({sqlite_file(settings.database_url) or 'DATABASE_URL'})"
    if isinstance(error, OSError):
        where = error.filename or settings.state_dir
        return (
            f"{where} cannot be written or read: {error.strerror}. Let the service's user write there, make room, or "
            "set STAGEWISE_STATE_DIR or ARTIFACT_DIR to another folder."
        )
    return str(error)
