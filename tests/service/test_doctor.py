"""`stagewise doctor` names the fault of a broken installation, and no other."""

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path

import pytest
from typer.testing import CliRunner

from service import doctor
from service.app import create_app
from service.cli.main import app as command
from service.doctor import Finding
from service.registry import migrations
from service.registry.artifacts import ArtifactStore
from service.registry.session import Database
from service.registry.shipped import install_shipped_base
from service.settings import Settings, get_settings
from tests import builders
from tests.builders import Sent
from tests.served import served
from tests.servers import free_port

Faults = Callable[[], dict[str, Finding]]


@pytest.fixture
def faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Faults]:
    """What doctor finds wrong with a whole installation (SQLite, an API without broker and worker) once it is broken.

    The broker's and the worker's absence is left out: their tests look at it.
    """
    for name in ("DATABASE_URL", "BROKER_URL", "ARTIFACT_DIR"):
        monkeypatch.delenv(name, raising=False)
    settings = Settings(state_dir=tmp_path, broker_url_setting="redis://127.0.0.1:1/0")
    migrations.upgrade(settings.database_url)
    database, store = Database(settings.database_url), ArtifactStore(settings.artifact_dir)
    install_shipped_base(database, store, Path(str(files("hrmodel.pretrained"))))
    key = builders.add_key(database, "admin")
    with served(create_app(settings, database, store, Sent())) as url:
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


def test_no_worker(others: Faults, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("service.parts.degradations", lambda _: ["worker: none answers; jobs wait"])
    [found] = others().values()
    assert found.check == "worker"
    assert "stagewise worker" in found.help


def test_a_database_that_is_away(others: Faults, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DATABASE_URL", f"postgresql+psycopg://nobody@127.0.0.1:{free_port()}/none")
    [found] = others().values()
    assert (found.check, found.state) == ("database", "fault")
    assert "DATABASE_URL" in found.help


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


def test_no_key_at_all(others: Faults, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("STAGEWISE_API_KEY")
    [found] = others().values()
    assert found.check == "key"


def test_an_api_that_is_away(others: Faults, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("STAGEWISE_URL", f"http://127.0.0.1:{free_port()}")
    [found] = others().values()
    assert (found.check, "stagewise up" in found.help) == ("API", True)


def test_a_device_that_is_not_there(others: Faults, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setenv("STAGEWISE_DEVICE", "cuda")
    [found] = others().values()
    assert (found.check, "STAGEWISE_DEVICE=auto" in found.help) == ("device", True)


def test_a_disk_that_is_nearly_full(others: Faults, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor, "LITTLE_BYTES", 1 << 60)
    [found] = others().values()
    assert (found.check, found.state) == ("disk", "warning")


def test_a_setting_that_makes_no_sense(others: Faults, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("STAGEWISE_PORT", "many")
    [found] = others().values()
    assert (found.check, "STAGEWISE_PORT" in found.message) == ("settings", True)


class Elsewhere(http.server.BaseHTTPRequestHandler):
    """An API on a machine whose clock is five minutes behind."""

    def do_GET(self) -> None:
        body = json.dumps({"ready": True, "degraded": [], "info": {"version": "0"}, "items": []}).encode()
        self.send_response_only(200)
        late = datetime.now(UTC) - timedelta(minutes=5)
        self.send_header("Date", late.strftime("%a, %d %b %Y %H:%M:%S GMT"))
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_a_clock_that_is_off_and_a_version_that_differs(others: Faults, monkeypatch: pytest.MonkeyPatch):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("STAGEWISE_URL", f"http://127.0.0.1:{server.server_port}")
        found = others()
        server.shutdown()
    assert set(found) == {"API clock", "API version"}
    assert "behind" in found["API clock"].message


def test_the_command_ends_with_status_1_when_something_is_wrong(faults: Faults):
    result = CliRunner().invoke(command, ["doctor"])
    assert result.exit_code == 1
    assert "BROKER_URL" in result.output
    shown = CliRunner().invoke(command, ["doctor", "--json"])
    listed = json.loads(shown.stdout[shown.stdout.index("[\n") :])
    assert {each["state"] for each in listed} == {"ok", "fault", "skipped"}
