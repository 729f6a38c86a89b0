"""The API in this process, on a real database, with a list instead of the broker."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from fastapi import FastAPI
from sqlalchemy import event
from starlette.testclient import TestClient

from service.app import create_app, make_services
from service.registry.artifacts import ArtifactStore
from service.registry.session import Database
from service.registry.tables import Dataset, Job, ModelVersion
from service.settings import Settings
from tests import builders
from tests.builders import Sent


@pytest.fixture
def sent() -> Sent:
    """The queues that were told that there is work, in order."""
    return Sent()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Nothing listens at the broker's address; uploads end at 100 kB."""
    return Settings(state_dir=tmp_path, broker_url_setting="redis://127.0.0.1:1/0", max_upload_bytes=100_000)


@pytest.fixture(scope="session")
def routes(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    """The API without what it works with: making its routes takes longer than most tests."""
    folder = tmp_path_factory.mktemp("nothing")
    return create_app(Settings(state_dir=folder), Database(f"sqlite:///{folder / 'none'}"), sender=Sent())


@pytest.fixture
def app(routes: FastAPI, settings: Settings, database: Database, store: ArtifactStore, sent: Sent) -> FastAPI:
    """The API on this test's database and files."""
    routes.state.services = make_services(settings, database, store, sent)
    return routes


@pytest.fixture
def connect(app: FastAPI, database: Database) -> Iterator[Callable[..., TestClient]]:
    """Make clients: `connect("read", account="b")`; without a scope, one without a key."""
    with ExitStack() as opened:

        def make(*scopes: str, account: str = "default") -> TestClient:
            client = opened.enter_context(TestClient(app, raise_server_exceptions=False))
            if scopes:
                client.headers["Authorization"] = f"Bearer {builders.add_key(database, *scopes, account=account)}"
            return client

        yield make


@pytest.fixture
def client(connect: Callable[..., TestClient]) -> TestClient:
    """Somebody with every scope, in the account `default`."""
    return connect("admin")


@pytest.fixture
def stranger(connect: Callable[..., TestClient]) -> TestClient:
    """Somebody with every scope, in another account."""
    return connect("admin", account="stranger")


@pytest.fixture
def make_dataset(database: Database) -> Callable[..., Dataset]:
    """Ready personal datasets that can train."""
    return partial(builders.add_ready, database)


@pytest.fixture
def make_job(database: Database, make_dataset: Callable[..., Dataset]) -> Callable[..., Job]:
    """Jobs in any state, on a dataset of their own unless one is given."""

    def make(dataset: Dataset | None = None, *arguments: object, **columns: object) -> Job:
        return builders.add_job(database, dataset or make_dataset(), *arguments, **columns)

    return make


@pytest.fixture
def make_version(database: Database, store: ArtifactStore) -> Callable[..., ModelVersion]:
    """Versions that predict, with their files; without a dataset, the shipped base."""
    return partial(builders.add_version, database, store)


@pytest.fixture
def count_queries(database: Database) -> Callable[[Callable[[], object]], int]:
    """How many statements something sends to the database."""

    def count(act: Callable[[], object]) -> int:
        seen: list[str] = []

        def note(connection, cursor, statement, *_: object) -> None:
            seen.append(statement)

        event.listen(database.engine, "before_cursor_execute", note)
        try:
            act()
        finally:
            event.remove(database.engine, "before_cursor_execute", note)
        return len(seen)

    return count
