"""Before a start: migrate the schema, and check that database and artifact folder belong together."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from service.errors import Unavailable
from service.local.secret_files import ensure_key
from service.registry import identity, migrations, reserve
from service.registry.artifacts import ArtifactStore
from service.registry.faults import fault_of
from service.registry.session import Database
from service.registry.shipped import install_shipped_base
from service.registry.starting import NotPrepared, words
from service.settings import Settings


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
            reserve.keep(database)
            if key_file is not None:
                ensure_key(database, key_file)
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
        raise NotPrepared(words(settings.database_url, error)) from error
