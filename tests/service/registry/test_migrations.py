"""The schema on both databases: no drift, and up, down, up again with a row in every table."""

import uuid
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.util import CommandError

from service.registry import migrations
from service.registry.session import Database
from service.registry.tables import Base, DatasetWorkout


def a_value(column: sa.Column[Any]) -> Any:
    """Any legal value of a column."""
    kinds = {bool: True, int: 1, float: 1.0, str: "x", dict: {}, list: [], uuid.UUID: uuid.uuid4()}
    if isinstance(column.type, sa.Enum):
        return column.type.enum_class(column.type.enums[0])
    if isinstance(column.type, sa.JSON):
        return {}
    if column.name.endswith("_at"):
        return datetime.now(UTC)
    return kinds[column.type.python_type]


def fill(database: Database) -> None:
    """One row in every table that the database has by now, parents first, all columns set that it has."""
    keys: dict[str, Any] = {}
    tables = [t for t in Base.metadata.sorted_tables if sa.inspect(database.engine).has_table(t.name)]
    there = {t.name: columns_of(database, t.name) for t in tables}
    with database.unit_of_work() as session:
        for table in tables:
            row = {c.name: a_value(c) for c in table.columns if not c.foreign_keys and c.name in there[table.name]}
            for column in table.columns:
                for key in column.foreign_keys:
                    parent = key.column.table.name
                    row[column.name] = None if parent == table.name else keys[parent]
            known = [sa.Column(c.name, c.type) for c in table.columns if c.name in there[table.name]]
            bare = sa.Table(table.name, sa.MetaData(), *known)  # without defaults of columns that come later
            session.execute(sa.insert(bare).values(row))
            primary = [c.name for c in table.primary_key]
            keys[table.name] = row[primary[0]]


def columns_of(database: Database, table: str) -> set[str]:
    return {column["name"] for column in sa.inspect(database.engine).get_columns(table)}


def counts(database: Database) -> dict[str, int]:
    with database.reading() as session:
        return {t.name: session.scalar(sa.select(sa.func.count()).select_from(t)) for t in Base.metadata.sorted_tables}


def test_up_down_and_up_again_with_a_row_in_every_table(empty_database_url):
    migrations.upgrade(empty_database_url)
    database = Database(empty_database_url)
    fill(database)
    assert set(counts(database).values()) == {1}
    assert not migrations.schema_is_behind(database)
    database.dispose()
    command.downgrade(migrations.configuration(empty_database_url), "base")
    assert migrations.schema_is_behind(database)
    migrations.upgrade(empty_database_url)
    assert set(counts(database).values()) == {0}
    database.dispose()


def test_a_second_upgrade_keeps_every_row(empty_database_url):
    migrations.upgrade(empty_database_url)
    database = Database(empty_database_url)
    fill(database)
    migrations.upgrade(empty_database_url)
    assert set(counts(database).values()) == {1}
    database.dispose()


def test_workouts_from_before_the_import_report_are_runs_without_a_density(empty_database_url):
    migrations.upgrade(empty_database_url, "0002")
    database = Database(empty_database_url)
    fill(database)
    assert "sport" not in columns_of(database, "dataset_workouts")
    migrations.upgrade(empty_database_url)
    with database.reading() as session:
        row = session.scalar(sa.select(DatasetWorkout))
        assert (row.sport, row.heart_rate_per_minute, row.verdict) == ("running", 0.0, "x")
    database.dispose()


def test_the_migrations_make_exactly_the_tables_of_the_code(empty_database_url):
    migrations.upgrade(empty_database_url)
    try:
        command.check(migrations.configuration(empty_database_url))
    except CommandError as drift:
        pytest.fail(str(drift))


def shape(url: str) -> dict[str, Any]:
    """Columns and indexes of every table."""
    database = Database(url)
    seen = sa.inspect(database.engine)
    found = {
        name: (
            {column["name"]: column["nullable"] for column in seen.get_columns(name)},
            sorted((index["name"], tuple(index["column_names"])) for index in seen.get_indexes(name)),
        )
        for name in seen.get_table_names()
    }
    database.dispose()
    return found


def test_the_way_down_of_every_migration_leads_to_what_was_there_before(empty_database_url):
    configuration = migrations.configuration(empty_database_url)
    scripts = migrations.ScriptDirectory(str(migrations.SCRIPTS))
    revisions = [script.revision for script in reversed(list(scripts.walk_revisions()))]
    for before, after in pairwise(revisions):
        migrations.upgrade(empty_database_url, before)
        then = shape(empty_database_url)
        migrations.upgrade(empty_database_url, after)
        assert shape(empty_database_url) != then, after
        command.downgrade(configuration, before)
        assert shape(empty_database_url) == then, after
