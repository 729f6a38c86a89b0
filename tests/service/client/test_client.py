"""The Python client: one method for each operation, safe to try again, live until the end."""

import inspect
import threading
import time
import typing
from collections.abc import Iterator

import pytest

from service.client import http as client_http
from service.client import types as client_types
from service.client.client import Client, JobFailed, NoAnswer, RequestFailed
from service.jobs import live
from tests import builders
from tests.builders import add_epochs, add_evaluation, add_recorded, crown, on_sqlite
from tests.served import served
from tests.servers import free_port

pytestmark = on_sqlite
SPEED = [2.5] * 6
SCHEMAS = {  # of the document, by the name that the client's types show users
    **{name: f"{name}Read" for name in ("Dataset", "Upload", "Job", "Epoch", "Event", "Model", "Evaluation")},
    **{name: f"{name}Read" for name in ("Serving", "Champion", "Change", "Prediction", "Plan", "Zone", "Review")},
    **{name: f"{name}Read" for name in ("Fault", "Error", "Fleet", "Phase")},
    **{name: name for name in ("DatasetReport", "JobMetrics", "WorkoutCounts", "AnsweredBy", "ReviewedPrediction")},
    **{"Subject": "SubjectDetail", "SubjectOutline": "SubjectRead", "ErrorSummary": "Summary"},
}


@pytest.fixture
def url(app) -> Iterator[str]:
    with served(app) as address:
        yield address


@pytest.fixture
def api(url, database, monkeypatch) -> Iterator[Client]:
    monkeypatch.setattr(client_http, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(client_http, "LONGEST_PAUSE_SECONDS", 0.05)
    with Client(url, builders.add_key(database, "admin")) as made:
        yield made


@pytest.fixture
def anna(database, store, make_dataset, make_version) -> dict:
    base, dataset = make_version(), make_dataset(subject="anna")
    version = make_version(dataset, seed=1)
    crown(database, dataset.subject_id, base, version)
    add_evaluation(database, version, dataset, 5.0)
    with database.reading() as session:
        job = session.get_one(builders.Job, version.job_id)
    add_epochs(database, job, 3)
    workout = add_recorded(database, store, dataset)
    return {"dataset": str(dataset.id), "job": str(job.id), "version": str(version.id), "workout": workout.digest}


def test_every_operation_has_a_method_of_its_name_that_takes_its_parameters(client):
    operations = client.get("/openapi.json").json()["paths"]
    for path, methods in operations.items():
        for method, operation in methods.items():
            name = operation["operationId"]
            taken = inspect.signature(getattr(Client, name)).parameters
            for parameter in operation.get("parameters", []):
                paging = ("cursor", "after", "limit", "file_after", "file_limit")
                own = parameter["in"] == "header" or parameter["name"] in paging
                assert own or parameter["name"] in taken, f"{method} {path}: {parameter['name']}"


def test_types_of_answers_are_those_of_the_served_document(client):
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    for name, schema in SCHEMAS.items():
        shown = set(typing.get_type_hints(getattr(client_types, f"{name}Json")))
        assert shown == set(schemas[schema]["properties"]), name
    types = {name for name, each in vars(client_types).items() if typing.is_typeddict(each)}
    assert types == {f"{name}Json" for name in SCHEMAS}


def test_methods_that_read_read(api, anna):
    assert [each["name"] for each in api.list_subjects()] == ["anna"]
    assert api.get_subject("anna")["champion"]["model_version_id"] == anna["version"]
    assert api.get_champion("anna")["subject"] == "anna"
    assert len(list(api.get_champion_history("anna"))) == 2
    assert [each["id"] for each in api.list_datasets(subject="anna")] == [anna["dataset"]]
    assert api.get_dataset(anna["dataset"])["state"] == "ready"
    assert len(api.get_dataset_report(anna["dataset"])["workouts"]) == 1
    assert api.get_dataset_picture(anna["dataset"]).startswith(b"\x89PNG")
    assert api.get_job(anna["job"])["id"] == anna["job"]
    assert [each["epoch"] for each in api.get_job_metrics(anna["job"])["epochs"]] == [1, 2, 3]
    assert api.get_job_history(anna["job"])["best_epoch"] == 2
    assert api.get_job_curves(anna["job"]).startswith(b"\x89PNG")
    assert api.get_job_events(anna["job"])[0]["event"] == "queued"
    assert api.get_job_log(anna["job"]) == ""
    assert {each["stage"] for each in api.list_models(subject="anna")} == {"stage1"}
    assert api.get_model(anna["version"])["subject"] == "anna"
    assert api.get_model_evaluation(anna["version"])["score"] == 5.0
    assert len(api.download_model(anna["version"])) > 1000
    assert len(api.review_workout("anna", anna["workout"])["predictions"]) == 2
    assert api.check_alive()
    with pytest.raises(RequestFailed, match="stagewise migrate"):
        api.check_ready()  # the tests' tables are made without migrations
    assert "stagewise_" in api.read_metrics()


def test_methods_that_ask_and_act_do(api, anna):
    assert len(api.predict(speed=SPEED, subject="anna")["heart_rate"]) == len(SPEED)
    assert len(api.predict_batch([{"speed": SPEED}, {"speed": SPEED, "subject": "anna"}])) == 2
    assert api.plan_pace(distance=[0.0, 2000.0], heart_rate_cap=150.0, subject="anna")["seconds"] > 0
    first = api.submit_stage1_job(anna["dataset"], hyperparameters={"epochs": 2})
    assert first["configuration"]["epochs"] == 2
    assert api.submit_stage2_job(anna["dataset"])["depends_on"] == first["id"]
    assert api.cancel_job(first["id"])["state"] == "cancelled"
    assert api.retry_job(first["id"])["retry_of"] == first["id"]
    assert api.submit_fleet(subjects=["anna"])["stage"] == "fleet"
    assert api.roll_champion_back("anna")["stage"] == "base"
    assert api.promote_model(anna["version"], force=True)["model_version_id"] == anna["version"]


def test_an_upload_is_told_how_far_it_is(api, tmp_path):
    file = tmp_path / "notes.gpx"
    file.write_bytes(b"x" * 50_000)
    sent: list[int] = []
    accepted = api.upload_dataset(file, on_sent=sent.append, subject="bert", sport="running")
    assert (api.get_dataset(accepted["id"])["subject"], sent[-1]) == ("bert", 50_000)
    api.delete_subject("bert")
    with pytest.raises(RequestFailed) as refused:
        api.get_dataset(accepted["id"])
    assert (refused.value.status, refused.value.code) == (404, "dataset_not_found")


def test_lists_go_on_over_pages(api, make_job, make_dataset):
    dataset = make_dataset()
    made = {str(make_job(dataset, state="cancelled").id) for _ in range(60)}
    assert {job["id"] for job in api.list_jobs()} == made


def test_a_refusal_is_the_apis_sentence_with_the_fields(api, anna):
    with pytest.raises(RequestFailed, match="/speed/2") as refused:
        api.predict(speed=[2.5, 2.5, -1.0])
    assert (refused.value.status, refused.value.code) == (422, "invalid_request")


def test_what_makes_something_is_tried_again_and_made_once(api, app, anna, monkeypatch):
    lost = {"POST": 2}
    send = client_http.httpx2.Client.request

    def losing(self, method, *arguments, **options):
        response = send(self, method, *arguments, **options)
        if lost.get(method, 0):
            lost[method] -= 1
            raise client_http.httpx2.ReadError("the answer was lost")
        return response

    monkeypatch.setattr(client_http.httpx2.Client, "request", losing)
    job = api.submit_stage1_job(anna["dataset"])
    monkeypatch.undo()
    queued = [each["id"] for each in api.list_jobs(state="queued")]
    assert queued == [job["id"]]


def test_nothing_answers_is_said_at_once(app, monkeypatch):
    monkeypatch.setattr(client_http, "FIRST_PAUSE_SECONDS", 0.01)
    with Client(f"http://127.0.0.1:{free_port()}", "sw_x") as api, pytest.raises(NoAnswer, match="does not answer"):
        api.get_job("x")


def test_waiting_for_a_job_that_fails_says_why(api, database, make_job):
    job = make_job(state="failed", error_code="non_finite_loss", error_message="The loss was not finite.")
    with pytest.raises(JobFailed, match=r"stage1 job failed: The loss was not finite\."):
        api.wait(str(job.id))


def test_whoever_watches_goes_on_behind_the_last_event_when_the_api_starts_anew(app, database, make_job, monkeypatch):
    monkeypatch.setattr(live, "POLL_SECONDS", 0.05)
    key, job, port = builders.add_key(database, "admin"), make_job(), free_port()
    seen: list[str] = []

    def follow() -> None:
        with Client(f"http://127.0.0.1:{port}", key) as api:
            seen.extend(name for number, name, _ in api.watch(str(job.id)) if number is not None)

    watching = threading.Thread(target=follow)
    with served(app, port) as _:
        watching.start()
        while not seen_by(app, job):
            time.sleep(0.02)
    with served(app, port) as url, Client(url, key) as api:
        api.cancel_job(str(job.id))
        watching.join(timeout=30)
    assert seen == ["queued", "cancelled"]


def seen_by(app, job) -> bool:
    return app.state.services.live.streams > 0
