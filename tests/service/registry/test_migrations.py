"""The schema on both databases: no drift, and up, down, up again with a row in every table."""

import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from hrmodel.personal.bands import DEFAULT_INTERVALS
from hrmodel.personal.state import PersonState
from hrmodel.workouts.simulate import simulate_runner
from service.registry import migrations, model_versions, serving
from service.registry.session import Database, make_engine
from service.registry.tables import Base, DatasetWorkout, PersonStateRow
from tests.prediction_builders import LEVEL, make_predictor, make_response, make_state, predict_one


def a_value(column: sa.Column[Any]) -> Any:
    """Any legal value of a column."""
    kinds = {bool: True, int: 1, float: 1.0, str: "x", bytes: b"x", dict: {}, list: [], uuid.UUID: uuid.uuid4()}
    if isinstance(column.type, sa.Enum):
        return column.type.enum_class(column.type.enums[0])
    if isinstance(column.type, sa.JSON):
        return {}
    if column.name.endswith("_at"):
        return datetime.now(UTC)
    return kinds[column.type.python_type]


def fill(database: Database) -> dict[str, Any]:
    """One row in every table that the database has by now, parents first, all columns set that it has; their keys."""
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
    return keys


def copy_row(database: Database, table: str, **changed: sa.ColumnElement[Any]) -> None:
    """One more row like the table's only one, with some columns changed."""
    names = sorted(columns_of(database, table))
    source = sa.table(table, *(sa.column(name) for name in names))
    values = [changed.get(name, source.c[name]).label(name) for name in names]
    with database.unit_of_work() as session:
        session.execute(sa.insert(source).from_select(names, sa.select(*values)))


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
    scripts = ScriptDirectory(str(migrations.SCRIPTS))
    revisions = [script.revision for script in reversed(list(scripts.walk_revisions()))]
    for before, after in pairwise(revisions):
        migrations.upgrade(empty_database_url, before)
        then = shape(empty_database_url)
        migrations.upgrade(empty_database_url, after)
        assert shape(empty_database_url) != then, after
        command.downgrade(configuration, before)
        assert shape(empty_database_url) == then, after


TRACKINGS = sa.table(
    "trackings",
    sa.column("subject_id", sa.Uuid()),
    sa.column("model_version_id", sa.Uuid()),
    sa.column("response", sa.JSON()),
    sa.column("intervals", sa.JSON()),
    sa.column("updated_at", sa.DateTime(timezone=True)),
)
REPORTS = sa.table("evaluations", sa.column("dataset_id", sa.Uuid()), sa.column("report", sa.JSON()))
BEFORE = make_response(level=1.25, speed=-0.7, variance=17.3)
AFTER = make_response(level=3.3, speed_120s=2.1 / 3, drift=-1.1, variance=9.7)
BANDS = {**DEFAULT_INTERVALS, "blind": [float(width) for width in range(5, 16)]}
FIRST, NEWEST = {"response": BEFORE.to_dict(), "intervals": None}, {"response": AFTER.to_dict(), "intervals": BANDS}


@pytest.fixture
def tracked(empty_database_url) -> Iterator[tuple[Database, dict[str, Any]]]:
    """A database before states were whole: a version's response after the first and after the newest dataset."""
    migrations.upgrade(empty_database_url, "0010")
    database = Database(empty_database_url)
    keys = fill(database) | {"first": uuid.uuid4()}
    first, earlier = sa.literal(keys["first"], sa.Uuid()), datetime(2020, 1, 1, tzinfo=UTC)
    copy_row(database, "datasets", id=first, ready_at=sa.literal(earlier, sa.DateTime(timezone=True)))
    copy_row(database, "evaluations", id=sa.literal(uuid.uuid4(), sa.Uuid()), dataset_id=first)
    own = {"subject_id": keys["subjects"], "model_version_id": keys["model_versions"]}
    with database.unit_of_work() as session:
        session.execute(sa.insert(TRACKINGS).values(**own, **NEWEST, updated_at=datetime.now(UTC)))
    yield database, keys
    database.dispose()


def report(database: Database, trackings: dict[uuid.UUID, dict[str, Any]]) -> None:
    """Let the reports on these datasets hold a tracking, as they did before states had a table."""
    with database.unit_of_work() as session:
        for dataset, tracking in trackings.items():
            of_dataset = sa.update(REPORTS).where(REPORTS.c.dataset_id == dataset)
            session.execute(of_dataset.values(report={"score": 5.0, "tracking": tracking}))


def served(database: Database, keys: dict[str, Any]) -> PersonState:
    with database.reading() as session:
        found = serving.find(session, keys["accounts"], "x", keys["model_versions"])
        assert found.state
        return PersonState.from_dict(found.state.state)


def test_migrations_that_fail_half_way_change_nothing(empty_database_url):
    engine = make_engine(empty_database_url, create=True)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE person_states (id INTEGER)"))  # the last migration makes it
    with pytest.raises(sa.exc.SQLAlchemyError):
        migrations.upgrade(empty_database_url)
    assert sa.inspect(engine).get_table_names() == ["person_states"]
    engine.dispose()


@pytest.mark.parametrize("reported", [True, False])
def test_what_was_tracked_serves_the_same_prediction_after_the_upgrade(empty_database_url, tracked, reported):
    database, keys = tracked
    if reported:
        report(database, {keys["first"]: FIRST, keys["datasets"]: NEWEST})
    migrations.upgrade(empty_database_url)
    state = served(database, keys)
    (run,), predictor = simulate_runner(workouts=1), make_predictor()
    before = predict_one(predictor, run, level=LEVEL, response=AFTER, intervals=BANDS)
    after = predict_one(predictor, run, level=LEVEL, response=state.response_at(None), intervals=state.intervals)
    assert np.array_equal(after.heart_rate, before.heart_rate)
    assert np.array_equal(after.lower, before.lower)


def test_what_old_reports_hold_serves_once_the_newest_dataset_is_deleted(empty_database_url, tracked):
    database, keys = tracked
    report(database, {keys["first"]: FIRST, keys["datasets"]: NEWEST})
    migrations.upgrade(empty_database_url)
    with database.unit_of_work() as session:
        assert len(session.scalars(sa.select(PersonStateRow)).all()) == 2
        session.execute(sa.delete(PersonStateRow).where(PersonStateRow.dataset_id == keys["datasets"]))
    state = served(database, keys)
    assert (state.response_at(None).to_dict(), state.intervals) == (BEFORE.to_dict(), None)


STATE = replace(make_state(level=1.0, climb=0.3), intervals=BANDS)
OF_ONE_FILTER = {
    "filters": [
        {"mean": STATE.filter.mean.tolist(), "covariance": STATE.filter.covariance.tolist(), "log_likelihood": -3.0}
    ],
    "intervals": BANDS,
}


@pytest.mark.parametrize("stored", [STATE.to_dict(), OF_ONE_FILTER], ids=["today's", "as it was"])
def test_on_the_way_down_the_newest_state_is_tracked_again(empty_database_url, tracked, stored):
    database, keys = tracked
    report(database, {keys["first"]: FIRST, keys["datasets"]: NEWEST})
    migrations.upgrade(empty_database_url)
    own = (keys["subjects"], keys["model_versions"], keys["datasets"])
    with database.unit_of_work() as session:
        model_versions.set_person_state(session, *own, stored)
    command.downgrade(migrations.configuration(empty_database_url), "0010")
    with database.reading() as session:
        (row,) = session.execute(sa.select(TRACKINGS)).mappings().all()
    assert row["intervals"] == BANDS
    assert row["response"]["variance"] == pytest.approx(STATE.filter.variance)
    assert row["response"]["weights"] == pytest.approx(STATE.filter.response.to_dict()["weights"])


def test_the_newest_migration_is_the_one_that_alembic_goes_to(database_url):
    script = ScriptDirectory.from_config(migrations.configuration(database_url))
    assert max(migrations.revisions()) == script.get_current_head()
    assert migrations.revisions() == {each.revision for each in script.walk_revisions()}
