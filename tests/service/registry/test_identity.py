"""Database and artifact folder belong together: with another one nothing starts, and nothing is deleted."""

import os
import shutil
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import delete

from service.local.preparing import prepare
from service.registry import identity, migrations, sweep
from service.registry.artifacts import ArtifactStore
from service.registry.session import Database
from service.registry.starting import NotPrepared, check_start
from service.registry.tables import Account, Installation
from service.settings import Settings
from tests import builders
from tests.builders import files_of

on_sqlite = pytest.mark.parametrize("empty_database_url", ["sqlite"], indirect=True)
AGED = (1_000_000_000, 1_000_000_000)


@pytest.fixture
def settings(empty_database_url, tmp_path):
    """An installation before its first start, on each kind of database."""
    return Settings(state_dir=tmp_path / "state", database_url_setting=empty_database_url)


@pytest.fixture
def opened(settings):
    """The installation after its first start, with ten old workouts of somebody."""
    prepare(settings, settings.state_dir / "api-key")
    database, store = Database(settings.database_url), ArtifactStore(settings.artifact_dir)
    dataset = builders.add_ready(database)
    for position in range(10):
        builders.add_workout(database, store, dataset, b"workout %d" % position, position)
    age(store)
    yield database, store
    database.dispose()


def start(settings: Settings) -> None:
    """What an API or a worker looks at before it starts."""
    check_start(settings.database_url, ArtifactStore(settings.artifact_dir))


def age(store: ArtifactStore) -> None:
    for path in store.root.rglob("*"):
        if path.is_file():
            os.utime(path, AGED)


def everything(store: ArtifactStore) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in store.root.rglob("*") if path.is_file()}


def other(settings: Settings, tmp_path: Path, name: str = "other") -> Settings:
    """The same folder, another SQLite file."""
    url = f"sqlite:///{tmp_path / name}.sqlite3"
    return settings.model_copy(update={"database_url_setting": url, "artifact_dir_setting": settings.artifact_dir})


def test_the_first_start_writes_one_identity_on_both_sides_and_the_next_keeps_it(settings, opened):
    database, store = opened
    first = identity.read(database, store)
    assert isinstance(first.database, UUID)
    assert first.database == first.folder
    prepare(settings, None)
    start(settings)
    assert identity.read(database, store) == first


@pytest.mark.parametrize("there", ["nothing", "a file of 0 bytes", "tables without rows", "another installation"])
def test_another_database_does_not_start_on_the_folder_and_nothing_is_deleted(settings, opened, tmp_path, there):
    _, store = opened
    wrong, file = other(settings, tmp_path), tmp_path / "other.sqlite3"
    if there == "a file of 0 bytes":
        file.touch()
    if there == "tables without rows":
        migrations.upgrade(wrong.database_url)
    if there == "another installation":
        prepare(wrong.model_copy(update={"artifact_dir_setting": tmp_path / "elsewhere"}), None)
    kept, key = everything(store), (settings.state_dir / "api-key").read_text()
    with pytest.raises(NotPrepared) as refused:
        prepare(wrong, settings.state_dir / "api-key")
    said = str(refused.value)
    assert str(file) in said
    assert str(store.root) in said
    assert str(identity.of_folder(store)) in said
    assert "stagewise restore" in said
    assert "stagewise adopt" in said
    assert everything(store) == kept
    assert (settings.state_dir / "api-key").read_text() == key
    if there == "nothing":
        assert not file.exists()
    elif there != "a file of 0 bytes":
        with pytest.raises(NotPrepared, match="stagewise adopt"):
            start(wrong)
        stranger = Database(wrong.database_url)
        with pytest.raises(identity.OtherStore):
            sweep.old_files(stranger, store, confirmed=True)
        stranger.dispose()
    assert everything(store) == kept
    prepare(settings, settings.state_dir / "api-key")  # and the right one goes on


def forget(database: Database, store: ArtifactStore) -> None:
    """As the last edition left it."""
    with database.unit_of_work() as session:
        session.execute(delete(Installation))
    (store.root / identity.FILE).unlink()


def test_an_installation_of_the_last_edition_gets_its_identity(settings, opened):
    database, store = opened
    forget(database, store)
    prepare(settings, None)
    found = identity.read(database, store)
    assert found.agree
    assert found.database is not None


@on_sqlite
@pytest.mark.parametrize("there", ["nothing", "tables without rows", "somebody else's rows"])
def test_an_empty_database_does_not_claim_the_files_of_the_last_edition(settings, opened, tmp_path, there):
    database, store = opened
    forget(database, store)
    wrong = other(settings, tmp_path)
    if there != "nothing":
        migrations.upgrade(wrong.database_url)
    if there == "somebody else's rows":
        stranger = Database(wrong.database_url)
        builders.add_workout(stranger, ArtifactStore(tmp_path / "elsewhere"), builders.add_ready(stranger))
        stranger.dispose()
    kept = everything(store)
    with pytest.raises(NotPrepared, match="stagewise adopt"):
        prepare(wrong, None)
    assert everything(store) == kept


@on_sqlite
def test_a_folder_without_the_files_of_the_database_is_no_folder_of_it(settings, opened):
    _, store = opened
    shutil.move(store.root, store.root.with_name("unmounted"))
    store.root.mkdir()
    with pytest.raises(NotPrepared, match="has none"):
        start(settings)
    with pytest.raises(NotPrepared, match="has none"):
        prepare(settings, None)


@on_sqlite
def test_a_first_start_that_was_cut_between_row_and_file_is_finished_by_the_next(settings, opened):
    database, store = opened
    before = identity.read(database, store).database
    (store.root / identity.FILE).unlink()
    prepare(settings, None)
    assert identity.read(database, store).folder == before


@on_sqlite
def test_an_adopted_folder_is_kept_as_it_is_and_its_old_database_is_refused(settings, opened, tmp_path):
    database, store = opened
    wrong = other(settings, tmp_path)
    migrations.upgrade(wrong.database_url)
    adopter = Database(wrong.database_url)
    identity.adopt(adopter, store)
    prepare(wrong, None)
    account = next(folder for folder in store.root.iterdir() if len(folder.name) == 36)
    with adopter.unit_of_work() as session:  # it even knows the account
        session.add(Account(id=UUID(account.name), name="came back"))
    kept = files_of(store, UUID(account.name))
    assert len(kept) == 10
    assert sweep.old_files(adopter, store).count == 0
    assert files_of(store, UUID(account.name)) == kept
    with pytest.raises(NotPrepared, match="stagewise adopt"):
        prepare(settings, None)
    identity.adopt(database, store)
    prepare(settings, None)
    with pytest.raises(NotPrepared):
        prepare(wrong, None)
    adopter.dispose()


@on_sqlite
def test_an_identity_that_cannot_be_read_is_another_ones(settings, opened):
    (ArtifactStore(settings.artifact_dir).root / identity.FILE).write_bytes(b"\xff\x00rubbish")
    with pytest.raises(NotPrepared, match="says unreadable"):
        start(settings)


def test_no_password_is_shown(tmp_path):
    database = Database("postgresql://me:secret-word@127.0.0.1:1/there")
    assert "secret-word" not in identity.name_of(database)
    assert "127.0.0.1:1/there" in identity.name_of(database)
    database.dispose()
