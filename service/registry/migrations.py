"""The schema's version: upgrade it, or tell whether it is behind."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

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


def schema_is_behind(database: Database) -> bool:
    """Whether the database lacks a migration that this code needs."""
    head = ScriptDirectory(str(SCRIPTS)).get_current_head()
    with database.engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision() != head
