"""`stagewise` as a client of the API: what its commands print, also as JSON, and how they fail."""

import csv
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from hrmodel.workouts.simulate import simulate_runner
from service.cli.demo import write_parquet
from service.cli.main import app as command
from service.client import http as client_http
from service.jobs import live
from service.registry import jobs
from service.registry.tables import Stage
from service.settings import get_settings
from tests import builders, fit_writer
from tests.builders import add_epochs, add_evaluation, crown, on_sqlite
from tests.served import served
from tests.servers import free_port

pytestmark = on_sqlite
LOG_LINE = '{"request_id"'


@dataclass(frozen=True)
class Said:
    """How a command ended, and what it printed."""

    exit_code: int
    output: str
    stdout: str


Run = Callable[..., Said]


def without_log(printed: str) -> str:
    """The API runs in this process, and logs where the command prints."""
    return "".join(line for line in printed.splitlines(keepends=True) if not line.startswith(LOG_LINE))


def said(result: Result) -> Said:
    return Said(result.exit_code, without_log(result.output), without_log(result.stdout))


@pytest.fixture
def run(app, database, tmp_path, monkeypatch) -> Iterator[Run]:
    """Run a command against the API of this test, with an admin's key."""
    monkeypatch.setattr(client_http, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(live, "POLL_SECONDS", 0.05)
    with served(app) as url:
        monkeypatch.setenv("STAGEWISE_URL", url)
        monkeypatch.setenv("STAGEWISE_API_KEY", builders.add_key(database, "admin"))
        monkeypatch.setenv("STAGEWISE_STATE_DIR", str(tmp_path))
        monkeypatch.setenv("COLUMNS", "200")
        get_settings.cache_clear()
        yield lambda *words: said(CliRunner().invoke(command, [str(word) for word in words]))
    get_settings.cache_clear()


@pytest.fixture
def anna(database, make_dataset, make_version) -> dict[str, str]:
    """Anna, whose stage 1 serves; nothing of hers trains."""
    base, dataset = make_version(), make_dataset(subject="anna")
    version = make_version(dataset, seed=1)
    crown(database, dataset.subject_id, base, version)
    add_evaluation(database, version, dataset, 5.0)
    with database.reading() as session:
        job = session.get_one(builders.Job, version.job_id)
    add_epochs(database, job, 3)
    return {"dataset": str(dataset.id), "job": str(job.id), "version": str(version.id), "base": str(base.id)}


def test_lists_are_tables_and_json_is_what_the_api_says(run, client, anna):
    for words, path in ((["subjects"], "/subjects"), (["jobs"], "/jobs"), (["models"], "/models")):
        shown, as_json = run(*words), run(*words, "--json")
        assert shown.exit_code == as_json.exit_code == 0, shown.output
        assert "anna" in shown.output
        assert json.loads(as_json.stdout) == client.get(path).json()["items"]


def test_lists_of_nothing_say_what_to_do(run):
    assert "stagewise import FILE" in run("subjects").output
    assert "no such jobs" in run("jobs").output


def test_a_stage_starts_on_the_newest_upload_that_is_ready(run, client, make_dataset, anna):
    make_dataset(subject="anna", state="importing")
    result = run("stage1", "--subject", "anna", "--recipe", "original", "--set", "epochs=3", "--json")
    job = json.loads(result.stdout)
    assert (job["dataset_id"], job["configuration"]["epochs"]) == (anna["dataset"], 3)
    assert job["configuration"]["recipe"] == "original"
    after = run("stage2", "--dataset", anna["dataset"][:8])
    assert after.exit_code == 0, after.output
    newest = client.get("/jobs").json()["items"][0]
    assert (newest["stage"], newest["depends_on"]) == ("stage2", job["id"])
    assert f"stagewise watch {newest['id'][:8]}" in after.output


def test_a_stage_of_somebody_without_workouts_says_what_to_do(run):
    result = run("stage1", "--subject", "bert")
    assert (result.exit_code, "stagewise import FILE --subject bert" in result.output) == (1, True)


@pytest.mark.parametrize("setting", ["epochs", "epochs=many"])
def test_a_setting_that_is_no_number_is_refused(run, anna, setting):
    result = run("stage1", "--subject", "anna", "--set", setting)
    assert result.exit_code == 1
    assert "NAME=NUMBER" in result.output


def test_watch_follows_a_job_to_its_end(run, database, make_job, anna):
    job = make_job()

    def work() -> None:
        with database.unit_of_work() as session:
            claimed = jobs.claim_next(session, "w", (Stage.STAGE1,), 60.0)
        with database.unit_of_work() as session:
            jobs.succeed(session, claimed, {"decision": {"reason": "Promoted: better than before."}})

    working = threading.Timer(0.3, work)
    working.start()
    result = run("watch", str(job.id)[:8])
    working.join()
    assert result.exit_code == 0, result.output
    assert "Promoted: better than before." in result.output
    events = [json.loads(line)["event"] for line in run("watch", job.id, "--json").stdout.splitlines()]
    assert events == ["progress", "queued", "running", "succeeded"]


def test_the_list_of_jobs_says_in_which_phase_one_is_and_how_long_that_will_take(run, make_job):
    make_job(state="running", phase="testing", phase_done=9.0, phase_total=45.0, eta_seconds=63.0)
    listed = run("jobs").stdout
    assert ("testing 20 %" in listed, "1:03" in listed) == (True, True)


def test_watching_a_job_that_fails_ends_with_status_1_and_says_why(run, make_job):
    job = make_job(state="failed", error_code="non_finite_loss", error_message="The loss was not finite.")
    result = run("watch", job.id)
    assert result.exit_code == 1
    assert "The loss was not finite." in result.output


def test_a_job_is_cancelled_and_done_again(run, client, make_job):
    job = make_job()
    assert "is cancelled" in run("cancel", str(job.id)[:8]).output
    again = json.loads(run("retry", job.id, "--json").stdout)
    assert again["retry_of"] == str(job.id)


def test_metrics_show_epochs(run, anna):
    result = run("metrics", anna["job"])
    assert result.exit_code == 0, result.output
    assert "33,345" not in result.output
    assert result.output.count("0.001") == 3


def test_a_roll_back_and_a_promotion_change_who_serves(run, client, anna):
    assert "base" in run("rollback", "anna").output
    refused = run("promote", anna["version"][:8])
    assert (refused.exit_code, "force" in refused.output) == (1, True)
    assert run("promote", anna["version"][:8], "--force").exit_code == 0
    assert client.get("/subjects/anna/champion").json()["model_version_id"] == anna["version"]


def test_a_model_is_written_to_a_file(run, tmp_path, anna):
    target = tmp_path / "model.pt"
    assert run("export", anna["version"][:8], "--format", "pt", "--out", target).exit_code == 0
    assert target.stat().st_size > 1000
    nowhere = run("export", anna["version"], "--out", tmp_path / "no" / "model")
    assert (nowhere.exit_code, "cannot be written" in nowhere.output) == (1, True)


@pytest.mark.parametrize("given", ["12345678", "abc"])
def test_an_id_that_fits_nothing_says_what_is_wanted(run, anna, given):
    result = run("watch", given)
    assert result.exit_code == 1
    assert "at least 6 characters" in result.output


def test_a_workout_file_is_predicted_drawn_and_written(run, tmp_path, anna):
    workouts = simulate_runner(workouts=3, seed=5)
    file = write_parquet(workouts, tmp_path / "runs.parquet")
    picture, table = tmp_path / "out.png", tmp_path / "out.csv"
    result = run("predict", file, "--subject", "anna", "--observed", "180", "--plot", picture, "--out", table)
    assert result.exit_code == 0, result.output
    assert "off by" in result.output
    assert picture.read_bytes().startswith(b"\x89PNG")
    with table.open() as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == len(workouts[-1].t)
    answer = json.loads(run("predict", file, "--subject", "anna", "--observed", "180", "--json").stdout)
    assert answer["observed_until"] == 180.0
    assert [float(row["heart_rate"]) for row in rows] == answer["heart_rate"]


def test_only_a_run_is_predicted_and_a_file_without_a_sport_can_be_called_one(run, tmp_path, anna):
    file = tmp_path / "other.fit"
    file.write_bytes(fit_writer.write(900, sport=0))
    refused = run("predict", file, "--subject", "anna")
    assert (refused.exit_code, "--sport running" in refused.output) == (1, True)
    assert run("predict", file, "--subject", "anna", "--sport", "running").exit_code == 0
    file.write_bytes(fit_writer.write(900, sport=2))
    refused = run("predict", file, "--subject", "anna", "--sport", "running")
    assert (refused.exit_code, "is cycling" in refused.output) == (1, True)


def test_a_csv_of_a_plan_is_predicted_blind(run, tmp_path, anna):
    file = tmp_path / "plan.csv"
    file.write_text("t,speed,altitude\n" + "".join(f"{10 * i},2.5,{100 + i}\n" for i in range(30)) + "300,2.5,\n")
    result = run("predict", file, "--subject", "anna", "--plot", tmp_path / "plan.png")
    assert result.exit_code == 0, result.output
    assert "off by" not in result.output


@pytest.mark.parametrize(
    ("name", "content"),
    [("none.gpx", None), ("bad.gpx", "<gpx"), ("bad.csv", "a,b\n1,2\n"), ("text.csv", "t,speed\n0,fast\n")],
)
def test_a_file_without_a_workout_is_a_sentence(run, tmp_path, name, content):
    file = tmp_path / name
    if content is not None:
        file.write_text(content)
    result = run("predict", file)
    assert result.exit_code == 1
    assert name in result.output
    assert "Traceback" not in result.output


def test_the_number_of_a_workout_counts_from_one(run, tmp_path, anna):
    file = write_parquet(simulate_runner(workouts=2, seed=5), tmp_path / "runs.parquet")
    lengths = [
        len(json.loads(run("predict", file, "--subject", "anna", "--workout", n, "--json").stdout)["heart_rate"])
        for n in (1, 2)
    ]
    assert lengths == [len(each.t) for each in simulate_runner(workouts=2, seed=5)]
    assert "1 to 2" in run("predict", file, "--workout", 3).output


def test_without_an_api_every_command_says_how_to_start_one(run, monkeypatch, tmp_path):
    monkeypatch.setenv("STAGEWISE_URL", f"http://127.0.0.1:{free_port()}")
    get_settings.cache_clear()
    file = Path(write_parquet(simulate_runner(workouts=1, seed=5), tmp_path / "run.parquet"))
    for words in (["jobs"], ["stage1"], ["models"], ["subjects"], ["predict", file], ["rollback"]):
        result = run(*words)
        assert result.exit_code == 1, words
        assert "stagewise up" in result.output
        assert "stagewise doctor" in result.output
