"""What the API shows of jobs, and cancelling and retrying."""

import json

import pytest

from service.operations.queue import TRAINING
from service.registry import jobs, model_versions
from service.registry.jobs import Claim
from service.registry.tables import JobLogLine, JobState, Phase, Stage
from tests.builders import add_epochs, add_evaluation, on_sqlite, row_counts

pytestmark = on_sqlite


def test_metrics_show_epochs_while_training_and_the_evaluation_at_the_end(
    client, database, make_dataset, make_job, make_version
):
    dataset = make_dataset()
    running = make_job(dataset, state=JobState.RUNNING, epoch=3)
    add_epochs(database, running, 3)
    metrics = client.get(f"/jobs/{running.id}/metrics").json()
    assert [row["epoch"] for row in metrics["epochs"]] == [1, 2, 3]
    assert metrics["epochs"][1] == {
        "epoch": 2,
        "train_loss": 0.5,
        "val_loss": 0.5,
        "learning_rate": 0.001,
        "epoch_time": 2.0,
        "trainable_parameters": 33_345,
        "gpu_peak_bytes": None,
    }
    assert metrics["evaluation"] is None
    version = make_version(dataset)
    add_evaluation(database, version, dataset, 5.5)
    metrics = client.get(f"/jobs/{version.job_id}/metrics").json()
    assert (metrics["evaluation"]["score"], metrics["evaluation"]["baselines"]["training_mean"]["P1"]["mae"]) == (
        5.5,
        9,
    )


@pytest.mark.parametrize("state", [JobState.RUNNING, JobState.QUEUED, JobState.FAILED])
def test_a_running_job_shows_its_phase_and_the_time_left_as_the_worker_told_them(client, make_job, state):
    job = make_job(state=state, phase="testing", phase_done=31.0, phase_total=45.0, eta_seconds=1.5)
    shown = client.get(f"/jobs/{job.id}").json()
    expected = ({"name": "testing", "done": 31.0, "total": 45.0}, 1.5) if state == JobState.RUNNING else (None, None)
    assert (shown["phase"], shown["eta_seconds"]) == expected


def test_a_job_that_is_claimed_has_no_phase_until_it_enters_one(client, database, make_job):
    job = make_job(phase="testing", phase_done=31.0, phase_total=45.0, eta_seconds=1.5)
    with database.unit_of_work() as session:
        claimed = jobs.claim_next(session, "w", (Stage.STAGE1,), 60.0)
    assert client.get(f"/jobs/{job.id}").json()["phase"] is None
    place = jobs.Place(phase=Phase.READING, done=1.0, total=3.0, eta_seconds=None)
    with database.unit_of_work() as session:
        jobs.heartbeat(session, claimed, 60.0, 0.01, place)
        jobs.record_phase(session, claimed, Phase.READING, 3.0)
    assert client.get(f"/jobs/{job.id}").json()["phase"] == {"name": "reading", "done": 1.0, "total": 3.0}
    newest = client.get(f"/jobs/{job.id}/events").json()["events"][-1]
    assert (newest["event"], newest["detail"]) == ("phase", {"phase": "reading", "total": 3.0})


def test_history_has_the_originals_form(client, database, make_job):
    job = make_job(state=JobState.RUNNING)
    add_epochs(database, job, 3)
    assert client.get(f"/jobs/{job.id}/history.json").json() == {
        "train_loss": [1.0, 0.5, pytest.approx(1 / 3)],
        "val_loss": [0.6, 0.5, 0.6],
        "learning_rate": [0.001] * 3,
        "epoch_times": [2.0] * 3,
        "best_val_loss": 0.5,
        "best_epoch": 2,
    }


def test_curves_are_a_picture_after_the_first_epoch(client, database, make_job):
    job = make_job(state=JobState.RUNNING)
    response = client.get(f"/jobs/{job.id}/curves.png")
    assert (response.status_code, response.json()["code"]) == (409, "no_epochs_yet")
    add_epochs(database, job, 2)
    response = client.get(f"/jobs/{job.id}/curves.png")
    assert response.headers["Content-Type"] == "image/png"
    assert response.content.startswith(b"\x89PNG")


def test_an_evaluation_is_a_picture_once_a_model_of_the_job_is_scored(
    client, database, make_dataset, make_job, make_version
):
    running, dataset = make_job(state=JobState.RUNNING), make_dataset()
    version = make_version(dataset)
    for job_id in (running.id, version.job_id):
        response = client.get(f"/jobs/{job_id}/evaluation.png")
        assert (response.status_code, response.json()["code"]) == (409, "no_evaluation_yet")
    add_evaluation(database, version, dataset, 5.5, test_workouts=0)
    assert client.get(f"/jobs/{version.job_id}/evaluation.png").json()["code"] == "no_evaluation_yet"
    add_evaluation(database, version, dataset, 5.5)
    response = client.get(f"/jobs/{version.job_id}/evaluation.png")
    assert (response.status_code, response.headers["Content-Type"]) == (200, "image/png")
    assert response.content.startswith(b"\x89PNG")


def test_the_series_of_an_evaluation_are_the_models_and_not_in_the_jobs_metrics(
    client, database, make_dataset, make_version
):
    dataset = make_dataset()
    version = make_version(dataset)
    add_evaluation(database, version, dataset, 5.5)
    with database.unit_of_work() as session:
        stored = model_versions.evaluation(session, version.id)
        stored.report = {**stored.report, "examples": [{"which": "best", "measured": [140.0, None]}]}
    report = client.get(f"/models/{version.id}/evaluation").json()["report"]
    assert report["examples"] == [{"which": "best", "measured": [140.0, None]}]
    assert client.get(f"/jobs/{version.job_id}/metrics").json()["evaluation"] == {
        name: part for name, part in report.items() if name != "examples"
    }


def test_events_go_on_behind_a_number(client, database, make_job):
    job = make_job()
    with database.unit_of_work() as session:
        jobs.request_cancel(session, session.merge(job))
    events = client.get(f"/jobs/{job.id}/events").json()["events"]
    assert [event["event"] for event in events] == ["queued", "cancelled"]
    rest = client.get(f"/jobs/{job.id}/events", params={"after": events[0]["id"]}).json()["events"]
    assert rest == events[1:]


def test_the_log_is_text_or_json_lines(client, database, make_job):
    job = make_job()
    with database.unit_of_work() as session:
        jobs.add_log(session, Claim(job.id, 1), "epoch 1")
        session.flush()
        jobs.add_log(session, Claim(job.id, 1), "epoch 2: ✓")
    text = client.get(f"/jobs/{job.id}/log")
    assert text.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert [line.split(" ", 1)[1] for line in text.text.splitlines()] == ["epoch 1", "epoch 2: ✓"]
    lines = client.get(f"/jobs/{job.id}/log", headers={"Accept": "application/x-ndjson"}).text.splitlines()
    assert [json.loads(line)["message"] for line in lines] == ["epoch 1", "epoch 2: ✓"]
    assert row_counts(database)[JobLogLine.__tablename__] == 2


def test_a_queued_job_is_cancelled_at_once_and_a_running_one_asked(client, make_job):
    queued, running = make_job(), make_job(state=JobState.RUNNING)
    assert client.post(f"/jobs/{queued.id}/cancel").json()["state"] == "cancelled"
    answer = client.post(f"/jobs/{running.id}/cancel").json()
    assert (answer["state"], answer["cancel_requested"]) == ("running", True)


@pytest.mark.parametrize("state", [JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED])
def test_a_job_that_has_ended_cannot_be_cancelled(client, make_job, state):
    response = client.post(f"/jobs/{make_job(state=state).id}/cancel")
    assert (response.status_code, response.json()["code"]) == (409, "job_finished")


def test_a_retry_is_a_new_job_once_per_key(client, sent, make_job):
    failed = make_job(state=JobState.FAILED, error_code="internal_error", error_message="Oh.")
    headers = {"Idempotency-Key": "again"}
    first = client.post(f"/jobs/{failed.id}/retry", headers=headers)
    assert first.status_code == 202
    assert first.json()["retry_of"] == str(failed.id)
    assert client.post(f"/jobs/{failed.id}/retry", headers=headers).json() == first.json()
    assert client.get(f"/jobs/{failed.id}").json()["error"] == {"code": "internal_error", "message": "Oh."}
    assert sent == [TRAINING]


def test_a_job_that_did_not_fail_cannot_be_retried(client, make_job):
    response = client.post(f"/jobs/{make_job().id}/retry")
    assert (response.status_code, response.json()["code"]) == (409, "job_not_retryable")


def test_the_list_filters_by_subject_stage_state_and_dataset(client, make_dataset, make_job):
    one, two = make_dataset(subject="one"), make_dataset(subject="two")
    a = make_job(one, Stage.STAGE1, state=JobState.FAILED)
    b = make_job(one, Stage.STAGE2)
    c = make_job(two, Stage.STAGE1)

    def ids(**query):
        return [item["id"] for item in client.get("/jobs", params=query).json()["items"]]

    assert ids() == [str(c.id), str(b.id), str(a.id)]
    assert ids(subject="one", stage="stage1") == [str(a.id)]
    assert ids(state="queued") == [str(c.id), str(b.id)]
    assert ids(dataset_id=str(two.id)) == [str(c.id)]


def test_a_long_list_costs_a_constant_number_of_queries(client, database, make_dataset, make_job, count_queries):
    dataset = make_dataset()
    for _ in range(3):
        add_epochs(database, make_job(dataset, state=JobState.RUNNING), 2)
    client.get("/jobs")
    few = count_queries(lambda: client.get("/jobs?limit=1"))
    assert count_queries(lambda: client.get("/jobs?limit=3")) == few
    assert len(client.get("/jobs").json()["items"]) == 3
