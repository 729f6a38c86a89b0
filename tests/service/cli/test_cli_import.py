"""`stagewise import` against an API that listens on a port: what it uploads, shows and says when something is wrong."""

import json
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile

import pytest
import uvicorn
from typer.testing import CliRunner

from service.app import make_services
from service.cli.import_files import ImportFailed, name_of, packed
from service.cli.main import app as command
from service.local.background import running
from service.registry import imports, jobs
from service.registry.tables import Dataset, Job, Stage
from service.settings import Settings, get_settings
from tests.builders import Sent, add_key, on_sqlite
from tests.import_rows import a_file, a_workout, dropped, repaired
from tests.servers import free_port

TWENTY_MIXED = [a_workout(n) for n in range(14)] + [a_workout(n, split="val") for n in (14, 15)]
TWENTY_MIXED += [repaired(16, "bad_time", split="test"), dropped(17, "too_short")]
TWENTY_MIXED += [dropped(18, "not_running", sport="cycling"), dropped(19, "not_running", sport="[red]swim[/red]")]


class AtOnce(Sent):
    """Instead of a worker: ends every import as soon as it is queued, with what a test wants to be found."""

    def __init__(self, database, store):
        super().__init__()
        self.database, self.store = database, store
        self.found, self.files, self.failure = [], [], None
        self.uploads, self.configurations = [], []

    def send(self, name):
        with self.database.unit_of_work() as session:
            claim = jobs.claim_next(session, "test", (Stage.IMPORT,), 60.0)
            dataset = session.get_one(Dataset, session.get_one(Job, claim.job_id).dataset_id)
            self.configurations.append(session.get_one(Job, claim.job_id).configuration)
            self.uploads.append(
                (dataset.name, dataset.kind, self.store.read(dataset.account_id, dataset.upload_sha256))
            )
            if self.failure:
                imports.report_failed(session, dataset.id, self.found, self.files)
                jobs.fail(session, claim, *self.failure)
            else:
                imports.finish(session, dataset.id, self.found, self.files, digest="d", level=None)
                jobs.succeed(session, claim, {})


@pytest.fixture
def worker(database, store):
    return AtOnce(database, store)


@pytest.fixture
def served(routes, settings, database, store, worker, monkeypatch):
    """The API on a port, and an environment that names it and a key."""
    routes.state.services = make_services(settings, database, store, worker)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(routes, log_config=None, lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        monkeypatch.setenv("STAGEWISE_URL", f"http://127.0.0.1:{listening.getsockname()[1]}")
        monkeypatch.setenv("STAGEWISE_API_KEY", add_key(database, "train", "read"))
        yield
        server.should_exit = True
        thread.join()


@pytest.fixture
def files(tmp_path):
    """A folder of files, some hidden."""
    folder = tmp_path / "my export"
    (folder / "deep").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    for name in ("a.fit", "deep/b.gpx", ".c", ".hidden/d.gpx"):
        (folder / name).write_bytes(name.encode())
    return folder


def stagewise(*arguments: object):
    get_settings.cache_clear()
    try:
        return CliRunner().invoke(command, ["import", *map(str, arguments)], env={"COLUMNS": "160"})
    finally:
        get_settings.cache_clear()


@on_sqlite
def test_a_file_is_uploaded_as_it_is_and_the_report_is_shown_with_the_next_command(served, worker, files):
    worker.found, worker.files = TWENTY_MIXED, [a_file("a.fit"), a_file("b.fit", "it ends too early")]
    shown = stagewise(files / "a.fit", "--subject", "anna")
    assert shown.exit_code == 0, shown.output
    assert worker.uploads == [("a.fit", "personal", b"a.fit")]
    text = shown.stdout
    assert text.index("it ends too early") < text.index("a.fit")
    assert "2024-03-01 06:30" in text
    for words in (
        "this is too_short",
        "this is bad_time (10 samples)",
        "another sport than running (cycling 1, [red]swim[/red] 1)",
        "under 10 minutes",
    ):
        assert words in text, words
    assert "of anna is ready: 14 train, 2 val, 1 test" in text
    last = text.strip().splitlines()[-1]
    assert last == "stagewise stage1 --subject anna --watch && stagewise stage2 --subject anna --watch"
    assert "sw_" not in shown.output


@on_sqlite
def test_a_folder_and_several_files_are_one_dataset_without_what_is_hidden(served, worker, files, tmp_path):
    worker.found = [a_workout()]
    other = tmp_path / "a.fit"
    other.write_bytes(b"another a.fit")
    shown = stagewise(files, other, files / "a.fit", "--kind", "population", "--min-hr-per-minute", 0)
    assert shown.exit_code == 0, shown.output
    ((name, kind, upload),) = worker.uploads
    assert (name, kind) == ("my export and 2 more", "population")
    (tmp_path / "upload.zip").write_bytes(upload)
    with ZipFile(tmp_path / "upload.zip") as archive:
        assert {info.compress_type for info in archive.infolist()} == {ZIP_STORED}
        held = {name: archive.read(name) for name in archive.namelist()}
    assert sorted(held) == ["2-a.fit", "a.fit", "my export/a.fit", "my export/deep/b.gpx"]
    assert (held["a.fit"], held["my export/deep/b.gpx"]) == (b"another a.fit", b"deep/b.gpx")


@on_sqlite
def test_json_prints_the_report_and_nothing_else(served, worker, files):
    worker.found = TWENTY_MIXED
    arguments = ["import", str(files / "a.fit"), "--json", "--name", "spring"]
    # a process of its own: the API writes its log to this one's standard output
    shown = subprocess.run([sys.executable, "-m", "service.cli", *arguments], capture_output=True, text=True)
    report = json.loads(shown.stdout)
    assert (shown.returncode, shown.stderr, report["state"], len(report["workouts"])) == (0, "", "ready", 20)
    assert worker.uploads[0][0] == "spring"


@on_sqlite
def test_many_workouts_and_files_are_shown_by_reason_only(served, worker, files):
    worker.found = [a_workout(n) for n in range(60)] + [dropped(n, "no_heart_rate") for n in range(60, 90)]
    worker.files = [a_file(f"{n}.gpx") for n in range(89)] + [a_file("bad.gpx", "damaged")]
    text = stagewise(files / "a.fit").stdout
    assert "2024-03-01 06:30" not in text
    assert "no heart rate was recorded" in text
    assert "and 70 more" in text
    assert "damaged" in text


@on_sqlite
def test_a_failed_import_says_why_shows_the_files_and_ends_with_status_1(served, worker, files):
    worker.found = [dropped(n, "no_heart_rate") for n in range(3)]
    worker.files = [a_file("a.gpx", "it ends too early")]
    worker.failure = ("no_workouts", "No workout of this upload can be used.")
    shown = stagewise(files / "a.fit")
    assert shown.exit_code == 1
    assert "it ends too early" in shown.stdout
    assert "jobs/stage1" not in shown.stdout
    assert shown.stderr.strip().endswith("The import failed: No workout of this upload can be used.")


@on_sqlite
def test_what_files_are_that_name_no_sport_can_be_said(served, worker, files):
    worker.found = [dropped(0, "sport_not_named", sport="unknown"), a_workout(1)]
    assert "upload it again with sport=running" in stagewise(files / "a.fit").stdout
    assert stagewise(files / "a.fit", "--sport", "running").exit_code == 0
    assert worker.configurations == [{"units": None}, {"units": None, "sport": "running"}]


@on_sqlite
def test_too_few_workouts_for_a_model_of_ones_own_are_said(served, worker, files):
    worker.found = [a_workout()]
    text = stagewise(files / "a.fit").stdout
    assert "8 usable ones" in text
    assert "jobs/stage1" not in text


@on_sqlite
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--speed-unit", "knots"], "speed_unit"),
        (["--sport", "cycling"], "sport"),
        (["--subject", "a/b"], "slash"),
        (["--kind", "population", "--subject", "me"], "A population has no subject"),
    ],
)
def test_what_the_api_refuses_is_said_in_its_words(served, files, options, said):
    shown = stagewise(files / "a.fit", *options)
    assert (shown.exit_code, said in shown.stderr) == (1, True), shown.output


@on_sqlite
def test_a_file_that_is_too_large_is_refused_before_it_is_sent(served, worker, tmp_path):
    large = tmp_path / "large"
    large.write_bytes(b"x" * 100_001)
    shown = stagewise(large)
    assert (shown.exit_code, "100000" in shown.stderr.replace(",", ""), worker.uploads) == (1, True, [])


@on_sqlite
def test_a_wrong_key_is_said(served, files, monkeypatch):
    monkeypatch.setenv("STAGEWISE_API_KEY", "sw_0123456789abcdef_" + "x" * 43)
    shown = stagewise(files / "a.fit")
    assert (shown.exit_code, "key" in shown.stderr) == (1, True)


def test_without_an_api_the_command_says_how_to_start_it(files, monkeypatch):
    monkeypatch.setenv("STAGEWISE_API_KEY", "sw_0123456789abcdef_" + "x" * 43)
    monkeypatch.delenv("STAGEWISE_URL", raising=False)
    monkeypatch.setenv("STAGEWISE_PORT", str(free_port()))
    shown = stagewise(files / "a.fit")
    assert (shown.exit_code, "`stagewise up`" in shown.stderr) == (1, True)


def test_without_a_key_the_command_says_where_it_looked(files, monkeypatch, tmp_path):
    monkeypatch.delenv("STAGEWISE_API_KEY", raising=False)
    monkeypatch.setenv("STAGEWISE_STATE_DIR", str(tmp_path / "nowhere"))
    shown = stagewise(files / "a.fit")
    assert (shown.exit_code, str(tmp_path / "nowhere" / "api-key") in shown.stderr) == (1, True)


def test_a_missing_file_is_named(files, tmp_path):
    shown = stagewise(files / "a.fit", tmp_path / "nothing.fit")
    assert (shown.exit_code, "nothing.fit" in shown.stderr) == (1, True)


def test_a_folder_of_hidden_files_has_nothing_to_upload(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / ".DS_Store").touch()
    with pytest.raises(ImportFailed, match="no files"), packed([tmp_path / "empty"]):
        pass


def test_the_temporary_zip_is_gone_afterwards(files):
    with packed([files]) as upload:
        assert upload.exists()
    assert not upload.exists()


def test_a_dataset_is_called_like_its_file():
    assert name_of([Path("/x/export.zip")]) == "export.zip"
    assert name_of([Path("/x/a\nb"), Path("c")]) == "a?b and 1 more"
    assert len(name_of([Path("/x") / ("y" * 250), Path("c")])) == 200


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        (Settings(), "http://127.0.0.1:8000"),
        (Settings(host="0.0.0.0", port=1), "http://127.0.0.1:1"),
        (Settings(host="::1", port=2), "http://[::1]:2"),
        (Settings(host="::1", url="https://runs.example"), "https://runs.example"),
    ],
)
def test_the_api_is_found_on_this_machine_unless_a_url_is_set(settings, url, monkeypatch):
    assert settings.api_url == url


def test_a_key_in_the_settings_is_not_shown():
    assert "secret" not in repr(Settings(api_key="secret"))


@pytest.mark.slow
def test_a_real_service_imports_a_real_file_and_draws_its_report(tmp_path, monkeypatch):
    import httpx2

    from hrmodel.workouts.simulate import simulate_runner
    from service.cli.demo import write_parquet

    upload = tmp_path / "runs"
    upload.mkdir()
    write_parquet(simulate_runner(workouts=9, seed=1), upload / "runs.parquet")
    (upload / "notes.txt").write_text("not a workout")
    with running(tmp_path / "state") as service:
        monkeypatch.setenv("STAGEWISE_STATE_DIR", str(tmp_path / "state"))
        monkeypatch.setenv("STAGEWISE_URL", service.url)
        monkeypatch.delenv("STAGEWISE_API_KEY", raising=False)
        began = time.monotonic()
        shown = stagewise(upload)
        assert shown.exit_code == 0, shown.output
        assert "is ready: 4 train, 2 val, 3 test" in shown.stdout
        assert "1 .txt" in shown.stdout  # one line for all files without workouts
        assert time.monotonic() - began < 60
        dataset_id = shown.stdout.split("Dataset ")[1].split()[0]
        headers = {"Authorization": f"Bearer {service.key}"}
        path = f"{service.url}/datasets/{dataset_id}/report.png"
        assert httpx2.get(path, headers=headers, trust_env=False).content.startswith(b"\x89PNG")
