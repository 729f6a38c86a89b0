"""The schema's version: upgrade it, or tell whether it is behind. Alembic is loaded by what changes the schema."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text

from service.registry.session import Database

if TYPE_CHECKING:
    from alembic.config import Config

SCRIPTS = Path(__file__).resolve().parents[2] / "alembic"
VERSIONS = "alembic_version"  # Alembic's table


def configuration(database_url: str) -> "Config":
    """Alembic's configuration for one database."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    config.attributes["database_url"] = database_url
    return config


def upgrade(database_url: str, revision: str = "head") -> None:
    """Bring the schema to `revision`; safe when several start at once."""
    from alembic import command

    command.upgrade(configuration(database_url), revision)


def drop_all(database_url: str) -> None:
    """Drop every table."""
    from alembic import command

    command.downgrade(configuration(database_url), "base")


def schema_is_behind(database: Database) -> bool:
    """Whether the database lacks a migration that this code needs."""
    with database.engine.connect() as connection:
        return current_revision(connection) != max(revisions())


def current_revision(connection: Connection) -> str | None:
    """The revision of a database; None before the first migration."""
    if not inspect(connection).has_table(VERSIONS):
        return None
    revision: str | None = connection.scalar(text(f"SELECT version_num FROM {VERSIONS}"))
    return revision


def is_known(revision: str) -> bool:
    """Whether this code has the migration."""
    return revision in revisions()


@cache
def revisions() -> frozenset[str]:
    """All migrations of this code. A migration's file name begins with its number, and each one follows the last."""
    return frozenset(path.stem.partition("_")[0] for path in (SCRIPTS / "versions").glob("[0-9]*.py"))
