"""Runs migrations in one transaction, one process at a time: an advisory lock on PostgreSQL, the write lock on SQLite.

On SQLite foreign keys are off and checked at the end.

A batch ALTER on SQLite makes the table anew; with foreign keys on, dropping the old one would delete the child rows.
"""

from typing import Any

from alembic import context
from sqlalchemy import Connection, text

from service.registry.session import BEGIN, make_engine
from service.registry.tables import Base, UtcDateTime
from service.settings import get_settings

LOCK = 7_201_934_455  # any number that nothing else locks


def render_item(kind: str, item: Any, _autogen: Any) -> str | bool:
    """Write our own types as plain ones: a migration must not change when the code's types do."""
    if kind == "type" and isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    return False


def migrate(connection: Connection) -> None:
    """Run the migrations in the connection's transaction."""
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=True,
        render_item=render_item,
        compare_type=True,
    )
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
    context.run_migrations()
    if connection.dialect.name == "sqlite":
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
        if broken:
            raise RuntimeError(f"the migration would leave dangling references: {broken[:5]}")


def main() -> None:
    """Connect and migrate."""
    url = context.config.attributes.get("database_url") or get_settings().database_url
    engine = make_engine(url, create=True).execution_options(**{BEGIN: "BEGIN IMMEDIATE"})
    try:
        with engine.connect() as connection:
            if connection.dialect.name == "sqlite":
                # A pragma inside a transaction does nothing: it goes to the driver before SQLAlchemy begins one.
                connection.connection.driver_connection.execute("PRAGMA foreign_keys=OFF")
            # Alembic's own transactions on SQLite end after each migration: another process could come in between.
            with connection.begin():
                migrate(connection)
    finally:
        engine.dispose()


main()
