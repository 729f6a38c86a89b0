"""The schema's version: upgrade it, or tell whether it is behind."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from service.registry.session import Database

SCRIPTS = Path(__file__).resolve().parents[2] / "alembic"


def configuration(database_url: str) -> Config:
    """Alembic's configuration for one database."""
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    config.attributes["database_url"] = database_url
    return config


def upgrade(database_url: str, revision: str = "head") -> None:
    """Bring the schema to `revision`; safe when several start at once."""
    command.upgrade(configuration(database_url), revision)


def drop_all(database_url: str) -> None:
    """Drop every table."""
    command.downgrade(configuration(database_url), "base")


def schema_is_behind(database: Database) -> bool:
    """Whether the database lacks a migration that this code needs."""
    head = ScriptDirectory(str(SCRIPTS)).get_current_head()
    with database.engine.connect() as connection:
        return current_revision(connection) != head


def current_revision(connection: Connection) -> str | None:
    """The revision of a database; None before the first migration."""
    return MigrationContext.configure(connection).get_current_revision()


def is_known(revision: str) -> bool:
    """Whether this code has the migration."""
    return any(script.revision == revision for script in ScriptDirectory(str(SCRIPTS)).walk_revisions())
