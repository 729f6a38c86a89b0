"""Fixtures that all tests share: real databases, a real broker, a folder of artifacts."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from service.registry.artifacts import ArtifactStore
from service.registry.session import Database, make_engine
from service.registry.tables import Base, Dataset
from tests import registry_builders as builders
from tests import servers


@pytest.fixture(autouse=True)
def same_umask() -> Iterator[None]:
    """What a command sets for its own process ends with the test."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)


@pytest.fixture(scope="session")
def postgresql_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL server's URL without a database name: TEST_DATABASE_URL, else one started from the wheel."""
    if given := os.environ.get("TEST_DATABASE_URL"):
        yield given.rsplit("/", 1)[0]
        return
    with tempfile.TemporaryDirectory(prefix="stagewise-postgresql-") as folder, servers.postgresql(Path(folder)) as url:
        yield url


@pytest.fixture(scope="session")
def postgresql_template(postgresql_url: str) -> Iterator[str]:
    """The name of a PostgreSQL database with our tables, to copy: a tenth of the time of making them anew."""
    with new_postgresql_database(postgresql_url) as url:
        make_tables(url)
        yield url.rsplit("/", 1)[1]


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with our tables, to copy."""
    path = tmp_path_factory.mktemp("template") / "template.sqlite3"
    make_tables(f"sqlite:///{path}")
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without tables: each test runs on both kinds."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.sqlite3'}"
        return
    with new_postgresql_database(request.getfixturevalue("postgresql_url")) as url:
        yield url


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """A SQLite database with our tables."""
    return f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'stagewise.sqlite3')}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A database with our tables: each test runs on both kinds."""
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite_url")
        return
    server, template = request.getfixturevalue("postgresql_url"), request.getfixturevalue("postgresql_template")
    with new_postgresql_database(server, f"TEMPLATE {template}") as url:
        yield url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A database with our tables, open: each test runs on both kinds."""
    opened = Database(database_url)
    yield opened
    opened.dispose()


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    """An empty artifact folder."""
    return ArtifactStore(tmp_path / "artifacts")


@contextmanager
def new_postgresql_database(server_url: str, options: str = "") -> Iterator[str]:
    name = f"test_{uuid4().hex}"
    with psycopg.connect(f"{server_url}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} {options}")
    yield f"{server_url}/{name}"
    with psycopg.connect(f"{server_url}/postgres", autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def make_tables(url: str) -> None:
    engine = make_engine(url, create=True)
    Base.metadata.create_all(engine)
    engine.dispose()


@pytest.fixture
def make_dataset(database: Database) -> Callable[..., Dataset]:
    """Make ready personal datasets; takes `add_dataset`'s overrides."""
    return partial(builders.add_dataset, database)
