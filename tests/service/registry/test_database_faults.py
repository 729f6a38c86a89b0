"""What is wrong with a database or a disk is said in a sentence: by requests, /readyz, commands and the start."""

import errno
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from service.app import create_app
from service.cli.main import app as command
from service.datasets import upload
from service.local.preparing import prepare
from service.registry import reserve
from service.registry.artifacts import ArtifactStore
from service.registry.faults import Fault, fault_of
from service.registry.session import Database
from service.registry.starting import NotPrepared, check_start
from service.settings import Settings, get_settings
from tests import builders
from tests.builders import Sent

BROKER = "redis://127.0.0.1:1/0"


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    """A state folder after a first start, with somebody's workouts, to copy."""
    state = tmp_path_factory.mktemp("state")
    settings = Settings(state_dir=state)
    prepare(settings, state / "api-key")
    database, store = Database(settings.database_url), ArtifactStore(settings.artifact_dir)
    dataset = builders.add_ready(database)
    for position in range(60):
        builders.add_workout(database, store, dataset, b"workout %d" % position, position)
    database.dispose()
    return state


@pytest.fixture
def state(template, tmp_path, monkeypatch) -> Path:
    copied = tmp_path / "state"
    shutil.copytree(template, copied)
    for variable in ("DATABASE_URL", "BROKER_URL", "ARTIFACT_DIR", "STAGEWISE_URL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("STAGEWISE_STATE_DIR", str(copied))
    get_settings.cache_clear()
    yield copied
    get_settings.cache_clear()


@pytest.fixture
def client(state):
    """The API on it, with its key."""
    app = create_app(Settings(state_dir=state, broker_url_setting=BROKER), sender=Sent())
    with TestClient(app, raise_server_exceptions=False) as opened:
        opened.headers["Authorization"] = f"Bearer {(state / 'api-key').read_text().strip()}"
        yield opened


def start(settings: Settings) -> None:
    """What an API or a worker looks at before it starts."""
    check_start(settings.database_url, ArtifactStore(settings.artifact_dir))


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2 // 4096 * 4096)


def tear(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.write(b"rubbish " * 4096)


HARM = {
    "cut": (cut, "database_damaged"),
    "rubbish": (tear, "database_damaged"),
    "0 bytes": (lambda file: os.truncate(file, 0), "other_artifact_folder"),
    "deleted": (Path.unlink, "database_gone"),
    "moved": (lambda file: file.rename(file.with_suffix(".aside")), "database_gone"),
}


def harm_of(state: Path, harm: str) -> Path:
    """The file after it was written back and harmed."""
    file = state / "stagewise.sqlite3"
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    HARM[harm][0](file)
    return file


@pytest.mark.parametrize("harm", HARM)
def test_a_file_that_is_harmed_while_the_api_runs_is_noticed_and_nothing_is_written_into_it(client, state, harm):
    assert client.get("/readyz").status_code == 200
    assert client.get("/subjects").status_code == 200
    file = harm_of(state, harm)
    ready = client.get("/readyz")
    assert (ready.status_code, ready.json()["code"]) == (503, HARM[harm][1]), ready.text
    sent = client.post("/datasets", content=b"a,b\n1,2\n", headers={"Content-Type": "text/csv"})
    assert sent.status_code == 503, sent.text
    assert sent.json()["code"] in ("database_damaged", "database_gone")
    assert file.exists() is (harm not in ("deleted", "moved"))


@pytest.mark.parametrize("harm", ["deleted", "moved"])
def test_a_file_that_is_put_back_serves_again(client, state, harm):
    assert client.get("/readyz").status_code == 200
    file = state / "stagewise.sqlite3"
    shutil.copy(file, kept := state / "kept")
    harm_of(state, harm)
    assert client.get("/readyz").status_code == 503
    shutil.copy(kept, file)
    assert client.get("/readyz").status_code == 200
    assert len(client.get("/subjects").json()["items"]) == 1


@pytest.mark.parametrize("harm", HARM)
def test_the_start_and_every_command_say_so_in_a_sentence(state, harm, tmp_path):
    file = harm_of(state, harm)
    settings = get_settings()
    with pytest.raises(NotPrepared, match="stagewise restore"):
        prepare(settings, None)
    for arguments in (("migrate",), ("backup", str(tmp_path / "b.tar")), ("keys", "list"), ("doctor",)):
        done = CliRunner().invoke(command, arguments)
        assert done.exit_code == 1, (arguments, done.output)
        assert isinstance(done.exception, SystemExit), arguments
        assert "stagewise" in done.output, arguments
        assert "Traceback" not in done.output
    assert not (tmp_path / "b.tar").exists()
    assert file.exists() is (harm not in ("deleted", "moved"))


@pytest.mark.parametrize("harm", ["cut", "deleted"])
def test_neither_api_nor_worker_starts_on_it(state, harm):
    harm_of(state, harm)
    with pytest.raises(NotPrepared, match="stagewise restore"):
        start(get_settings())


def test_a_damaged_page_in_the_middle_is_found_by_doctor(state):
    file = state / "stagewise.sqlite3"
    with file.open("r+b") as opened:
        opened.seek(file.stat().st_size // 4096 // 2 * 4096)
        opened.write(b"\xff" * 8192)
    done = CliRunner().invoke(command, ["doctor"])
    assert "damaged" in done.output
    assert "stagewise restore" in done.output


def test_a_database_that_is_away_stops_no_start(state, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    get_settings.cache_clear()
    start(get_settings())


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(errno.ENOSPC, "storage_full", "full"), (errno.EROFS, "storage_read_only", "cannot be written")],
)
def test_a_disk_that_takes_nothing_is_named_wherever_it_happens(client, monkeypatch, number, code, word):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(ArtifactStore, "temporary", refuse)
    sent = client.post("/datasets", content=b"a,b\n1,2\n", headers={"Content-Type": "text/csv"})
    assert (sent.status_code, sent.json()["code"]) == (503, code)
    assert word in sent.json()["detail"]


@contextmanager
def mounted(folder: Path, size: str) -> Iterator[Path]:
    """A real small file system."""
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True)
    if done.returncode:
        pytest.skip("only root may mount a small file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def small_disk(tmp_path):
    """One of 3 MB."""
    with mounted(tmp_path / "small", "3m") as folder:
        yield folder


def fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


def test_a_full_disk_under_sqlite_is_called_full_and_readyz_says_so(template, small_disk, monkeypatch):
    shutil.copy(template / "stagewise.sqlite3", small_disk)
    shutil.copy(template / "api-key", small_disk)
    app = create_app(
        Settings(state_dir=small_disk, broker_url_setting=BROKER, artifact_dir_setting=template / "artifacts"),
        sender=Sent(),
    )
    with TestClient(app, raise_server_exceptions=False) as client:
        client.headers["Authorization"] = f"Bearer {(small_disk / 'api-key').read_text().strip()}"
        assert client.get("/readyz").status_code == 200
        fill(small_disk / "ballast")
        codes = set()
        for number in range(20):
            answer = client.post("/datasets", params={"subject": f"s{number}"}, content=b"x" * 100)
            codes.add(answer.json().get("code"))
        assert "storage_full" in codes
        assert codes <= {"storage_full", None}
        ready = client.get("/readyz").json()
        assert any("full" in each for each in ready["degraded"])


def test_a_person_can_be_deleted_on_a_full_disk_and_the_room_is_free_at_once(template, tmp_path, monkeypatch):
    monkeypatch.setattr(reserve, "FREE_TIMES", 0)
    with mounted(tmp_path / "disk", "24m") as disk:
        shutil.copytree(template, disk / "state")
        here = Settings(state_dir=disk / "state", broker_url_setting=BROKER)
        (disk / "state" / "stagewise.sqlite3.reserve").unlink(missing_ok=True)
        prepare(here, None)
        app = create_app(here, sender=Sent())
        with TestClient(app, raise_server_exceptions=False) as client:
            client.headers["Authorization"] = f"Bearer {(disk / 'state' / 'api-key').read_text().strip()}"
            assert len(client.get("/subjects").json()["items"]) == 1
            fill(disk / "ballast")
            answer = client.delete("/subjects/me")
            assert answer.status_code == 204, answer.text
            assert client.get("/subjects").json()["items"] == []
        assert shutil.disk_usage(disk).free > reserve.RESERVED_BYTES // 2
        accounts = [folder for folder in (disk / "state" / "artifacts").iterdir() if len(folder.name) == 36]
        assert [path for folder in accounts for path in folder.iterdir()] == []


class Driver(psycopg.OperationalError):
    """What psycopg raises for PostgreSQL's `disk_full`."""

    sqlstate = "53100"


def test_postgresqls_full_disk_is_known_by_its_code():
    assert fault_of(Driver("could not extend file")) == Fault.FULL


def test_an_upload_is_told_of_a_full_disk_at_once(monkeypatch):
    with pytest.raises(upload.Unavailable) as refused, upload.storage_errors():
        raise OSError(errno.ENOSPC, "No space left on device")
    assert refused.value.code == "storage_full"


def test_a_state_folder_that_is_none_is_a_sentence(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("STAGEWISE_STATE_DIR", str(tmp_path / "file" / "state"))
    get_settings.cache_clear()
    for arguments in (("up",), ("migrate",), ("adopt", "--yes"), ("demo",)):
        done = CliRunner().invoke(command, arguments)
        assert (done.exit_code, "cannot be written" in done.output) == (1, True), (arguments, done.output)
        assert isinstance(done.exception, SystemExit), arguments
    get_settings.cache_clear()


@pytest.mark.parametrize("arguments", [("jobs", "--limit", "-1"), ("jobs", "--limit", "0"), ("models", "--limit=-5")])
def test_a_number_of_rows_that_is_none_is_a_sentence(arguments):
    done = CliRunner().invoke(command, arguments)
    assert (done.exit_code, "greater than or equal to 1" in done.output) == (2, True), done.output
    assert "Traceback" not in done.output
