"""`stagewise doctor` names the fault of a broken installation, and no other."""

import http.server
import json
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from importlib.resources import files
from pathlib import Path

import pytest
from fastapi import FastAPI
from sqlalchemy.orm import Session
from typer.testing import CliRunner

from hrmodel.workouts.sandbox import confinement
from service.app import make_services
from service.cli import doctor, doctor_machine
from service.cli.doctor import Finding
from service.cli.main import app as command
from service.registry import accounts, migrations
from service.registry.artifacts import ArtifactStore
from service.registry.session import Database
from service.registry.shipped import install_shipped_base
from service.settings import Settings, get_settings
from tests import builders
from tests.builders import Sent
from tests.served import served
from tests.servers import free_port, valkey

Faults = Callable[[], dict[str, Finding]]
READY = json.dumps({"ready": True, "degraded": [], "info": {"version": "0"}, "items": []}).encode()


@contextmanager
def answering(body: bytes, date: Callable[[], datetime], late: float = 0.0) -> Iterator[str]:
    """Something on another machine, by its clock: the URL at which it answers everything with 200 and these bytes,
    `late` seconds late when asked whether it is ready."""

    class Elsewhere(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            time.sleep(late if self.path == "/readyz" else 0.0)
            self.send_response_only(200)
            self.send_header("Date", format_datetime(date(), usegmt=True))
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def change(state: Path, work: Callable[[Session], object]) -> None:
    """Change the installation's database behind the API's back."""
    database = Database(f"sqlite:///{state / 'stagewise.sqlite3'}")
    with database.unit_of_work() as session:
        work(session)
    database.dispose()


def new_key(state: Path, *scopes: str) -> str:
    made: list[str] = []
    change(
        state, lambda session: made.append(accounts.create_key(session, accounts.ensure_account(session), "", scopes))
    )
    return made[0]


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder as `stagewise migrate` leaves it, to copy."""
    state = tmp_path_factory.mktemp("migrated")
    url = f"sqlite:///{state / 'stagewise.sqlite3'}"
    migrations.upgrade(url)
    database = Database(url)
    folder = Path(str(files("hrmodel.pretrained")))
    install_shipped_base(database, ArtifactStore(state / "artifacts"), folder)
    database.dispose()
    return state


@pytest.fixture
def broker_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """One that nobody started; with the parameter None, a real one without a worker."""
    if not hasattr(request, "param"):
        yield "redis://127.0.0.1:1/0"
        return
    with valkey(tmp_path) as url:
        yield url


@pytest.fixture
def faults(
    migrated: Path, routes: FastAPI, tmp_path: Path, broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Faults]:
    """What doctor finds wrong with a whole installation (SQLite, an API without broker and worker) once it is broken.

    The broker's and the worker's absence is left out: their tests look at it.
    """
    monkeypatch.setattr(confinement, "missing", list)  # whatever the kernel of the tests has
    for name in ("DATABASE_URL", "BROKER_URL", "ARTIFACT_DIR"):
        monkeypatch.delenv(name, raising=False)
    settings = Settings(state_dir=tmp_path, broker_url_setting=broker_url)
    shutil.copytree(migrated, tmp_path, dirs_exist_ok=True)
    database, store = Database(settings.database_url), ArtifactStore(settings.artifact_dir)
    key = builders.add_key(database, "admin")
    routes.state.services = make_services(settings, database, store, Sent())
    with served(routes) as url:
        monkeypatch.setenv("STAGEWISE_STATE_DIR", str(tmp_path))
        monkeypatch.setenv("STAGEWISE_URL", url)
        monkeypatch.setenv("STAGEWISE_API_KEY", key)
        yield lambda: {each.check: each for each in doctor.diagnose() if each.state in ("fault", "warning")}
    database.dispose()


@pytest.fixture
def others(faults: Faults) -> Faults:
    """The same without the broker that nobody started."""
    return lambda: {name: each for name, each in faults().items() if name != "broker"}


def test_nothing_is_wrong_with_what_works(others: Faults):
    assert others() == {}


def test_a_broker_that_is_away(faults: Faults):
    [found] = faults().values()
    assert (found.check, found.state) == ("broker", "fault")
    assert "BROKER_URL" in found.help


@pytest.mark.parametrize("broker_url", [None], indirect=True)
def test_no_worker(faults: Faults):
    [found] = faults().values()
    assert (found.check, found.state) == ("worker", "fault")
    assert "stagewise worker" in found.help


@pytest.mark.parametrize("broker_url", [None], indirect=True)
def test_without_an_api_the_broker_and_the_worker_are_looked_at_where_broker_url_says(
    faults: Faults, broker_url: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("STAGEWISE_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("BROKER_URL", broker_url)
    assert set(faults()) == {"API", "worker"}
    monkeypatch.setenv("BROKER_URL", "redis://127.0.0.1:1/0")
    assert set(faults()) == {"API", "broker"}


def test_a_database_that_is_away(others: Faults, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DATABASE_URL", f"postgresql+psycopg://nobody@127.0.0.1:{free_port()}/none")
    [found] = others().values()
    assert (found.check, found.state) == ("database", "fault")
    assert "DATABASE_URL" in found.help


@pytest.mark.parametrize("url", ["mysql://me:hidden@host/x", "postgresql://me:hid:hidden@host/x", "nonsense"])
def test_a_database_url_that_is_none_and_no_password_is_shown(
    others: Faults, url: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("DATABASE_URL", url)
    [found] = others().values()
    assert (found.check, "DATABASE_URL" in found.message + found.help) == ("database", True)
    assert "hidden" not in found.message + found.help


def test_a_database_file_that_is_none(others: Faults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "torn.sqlite3").write_bytes(b"this is no database" * 100)
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path / 'torn.sqlite3'}")
    [found] = others().values()
    assert (found.check, "stagewise restore" in found.help) == ("database", True)


def test_a_state_folder_that_cannot_be_one(others: Faults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("STAGEWISE_STATE_DIR", str(tmp_path / "file" / "state"))
    found = others()
    assert found.pop("database").state == "fault"  # follows, like the next: both lie in it
    assert found.pop("artifact folder").state == "fault"
    assert list(found) == ["state folder"]


def test_a_path_that_no_disk_can_hold_hides_no_other_finding(others: Faults, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("STAGEWISE_STATE_DIR", "x" * 300)
    assert set(others()) == {"state folder", "artifact folder", "database"}


def test_a_state_folder_without_a_database(others: Faults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("STAGEWISE_STATE_DIR", str(tmp_path / "elsewhere"))
    [found] = others().values()
    assert (found.check, "stagewise up" in found.help) == ("database", True)
    assert not (tmp_path / "elsewhere").exists()


def test_a_schema_that_is_behind(others: Faults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    old = f"sqlite:///{tmp_path / 'old.sqlite3'}"
    migrations.upgrade(old, "0001")
    monkeypatch.setenv("DATABASE_URL", old)
    [found] = others().values()
    assert (found.check, "stagewise migrate" in found.help) == ("migrations", True)


def test_a_schema_of_a_newer_version(others: Faults, tmp_path: Path):
    with sqlite3.connect(tmp_path / "stagewise.sqlite3") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    found = others()
    assert (found["migrations"].state, "newer version" in found["migrations"].message) == ("fault", True)
    assert set(found) == {"migrations", "API"}  # it cannot serve either
    assert "cannot serve" in found["API"].message


def test_an_artifact_folder_that_cannot_be_written(others: Faults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("ARTIFACT_DIR", str(tmp_path / "file"))
    found = others()
    assert found.pop("base model").state == "fault"  # follows from it
    assert list(found) == ["artifact folder"]


def test_a_damaged_base_model(others: Faults, tmp_path: Path):
    for file in (tmp_path / "artifacts" / "shipped").iterdir():
        file.write_bytes(b"damaged")
    [found] = others().values()
    assert (found.check, "missing or damaged" in found.message) == ("base model", True)


def test_the_remedy_for_a_damaged_base_model_is_one(others: Faults, tmp_path: Path):
    for file in (tmp_path / "artifacts" / "shipped").iterdir():
        file.unlink()
    assert list(others()) == ["base model"]
    get_settings.cache_clear()
    assert CliRunner().invoke(command, ["migrate"]).exit_code == 0
    get_settings.cache_clear()
    assert others() == {}


def test_a_key_that_is_not_valid(others: Faults, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("STAGEWISE_API_KEY", f"sw_{'0' * 16}_{'x' * 43}")
    [found] = others().values()
    assert (found.check, "stagewise keys" in found.help) == ("key", True)


def test_a_revoked_key(others: Faults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("STAGEWISE_API_KEY", key := new_key(tmp_path, "admin"))
    assert others() == {}
    change(tmp_path, lambda session: accounts.revoke_key(session, accounts.split_key(key).public))
    [remembered] = others().values()  # the API remembers it for a minute
    assert (remembered.check, remembered.state) == ("key", "warning")


def test_a_key_that_was_revoked_before_the_api_saw_it(others: Faults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("STAGEWISE_API_KEY", key := new_key(tmp_path, "admin"))
    change(tmp_path, lambda session: accounts.revoke_key(session, accounts.split_key(key).public))
    [found] = others().values()
    assert (found.check, found.state, "revoked" in found.message) == ("key", "fault", True)
    assert key not in found.message + found.help


def test_a_key_that_may_only_predict_is_valid(others: Faults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("STAGEWISE_API_KEY", new_key(tmp_path, "predict"))
    [found] = others().values()
    assert (found.check, found.state, "(predict)" in found.message) == ("key", "warning", True)


def test_what_a_key_may_do_is_shown(others: Faults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("STAGEWISE_API_KEY", new_key(tmp_path, "read", "train"))
    [found] = [each for each in doctor.diagnose() if each.check == "key"]
    assert (found.state, found.message.endswith(": read train")) == ("ok", True)


@pytest.mark.parametrize("text", ["", "a key with \u00e9 and\nlines", "sw_short"])
def test_a_key_that_is_none(others: Faults, text: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("STAGEWISE_API_KEY", text)
    [found] = others().values()
    assert (found.check, found.state) == ("key", "fault")


def test_no_key_at_all(others: Faults, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("STAGEWISE_API_KEY")
    [found] = others().values()
    assert found.check == "key"


def test_an_api_that_is_away(others: Faults, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("STAGEWISE_URL", f"http://127.0.0.1:{free_port()}")
    [found] = others().values()
    assert (found.check, "stagewise up" in found.help) == ("API", True)


@pytest.mark.parametrize("url", ["localhost:8000", "http://127.0.0.1:many"])
def test_an_address_that_is_none(others: Faults, url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("STAGEWISE_URL", url)
    [found] = others().values()
    assert (found.check, "STAGEWISE_URL" in found.help) == ("API", True)


@pytest.mark.parametrize("body", [b'{"hello": 1}', b"[]", b"<html>", b""])
def test_something_else_at_the_apis_address(others: Faults, body: bytes, monkeypatch: pytest.MonkeyPatch):
    with answering(body, lambda: datetime.now(UTC)) as url:
        monkeypatch.setenv("STAGEWISE_URL", url)
        [found] = others().values()
    assert (found.check, "no Stagewise" in found.message) == ("API", True)


@pytest.mark.slow
def test_an_api_that_answers_late_has_no_wrong_clock(others: Faults, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor_machine, "CLOCK_SECONDS", 1.0)
    with answering(READY, lambda: datetime.now(UTC), late=2.5) as url:
        monkeypatch.setenv("STAGEWISE_URL", url)
        assert set(others()) == {"API version"}


def test_a_device_that_is_not_there(others: Faults, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setenv("STAGEWISE_DEVICE", "cuda")
    [found] = others().values()
    assert (found.check, "STAGEWISE_DEVICE=auto" in found.help) == ("device", True)


def test_a_kernel_without_landlock(others: Faults, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(confinement, "missing", lambda: [confinement.NO_LANDLOCK])
    [found] = others().values()
    assert (found.check, found.state) == ("sandbox", "warning")
    assert found.message.startswith("Reading is not confined")
    assert "Landlock" in found.help


def test_a_disk_that_is_nearly_full(others: Faults, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor_machine, "LITTLE_BYTES", 1 << 60)
    [found] = others().values()
    assert (found.check, found.state) == ("disk", "warning")


def test_a_setting_that_makes_no_sense(others: Faults, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("STAGEWISE_PORT", "many")
    [found] = others().values()
    assert (found.check, "STAGEWISE_PORT" in found.message) == ("settings", True)


@pytest.mark.parametrize(("minutes", "direction"), [(-5, "behind"), (5, "ahead of")])
def test_a_clock_that_is_off_and_a_version_that_differs(
    others: Faults, minutes: int, direction: str, monkeypatch: pytest.MonkeyPatch
):
    with answering(READY, lambda: datetime.now(UTC) + timedelta(minutes=minutes)) as url:
        monkeypatch.setenv("STAGEWISE_URL", url)
        found = others()
    assert set(found) == {"API clock", "API version"}
    assert direction in found["API clock"].message


def test_the_command_ends_with_status_1_when_something_is_wrong(faults: Faults):
    result = CliRunner().invoke(command, ["doctor"])
    assert result.exit_code == 1
    assert "BROKER_URL" in result.output
    shown = CliRunner().invoke(command, ["doctor", "--json"])
    listed = json.loads(shown.stdout[shown.stdout.index("[\n") :])
    assert {each["state"] for each in listed} == {"ok", "fault", "skipped"}
