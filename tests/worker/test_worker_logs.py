"""The worker's log lines: JSON, with the request that queued the job, and without anybody's heart rate."""

import json
from dataclasses import replace
from uuid import UUID

import numpy as np
import pytest
from structlog.contextvars import bound_contextvars

from service.logs import log_as_json
from service.registry import jobs, model_versions
from service.registry.tables import Dataset, Job, JobEvent, JobLogLine, JobState, Stage
from tests.builders import on_sqlite
from tests.clock import bound_clock
from worker import training
from worker.runner import run_job

pytestmark = on_sqlite
CANARY = ".015625"  # 1/64: survives float32


@pytest.fixture
def marked(runner_workouts):
    """Workouts whose every heart rate ends with the canary."""
    return [replace(w, heart_rate=np.floor(w.heart_rate) + float(CANARY)) for w in runner_workouts]


@pytest.fixture
def lines(capfd):
    log_as_json()
    return lambda: [json.loads(line) for line in capfd.readouterr().out.splitlines()]


def submit_as(request_id, context, submit, dataset_id) -> UUID:
    with context.database.reading() as session:
        start = model_versions.shipped(session).id
    with bound_contextvars(request_id=request_id):
        return submit(dataset_id, "stage1", start=start, epochs=2)


def test_every_line_of_a_job_names_the_request_and_none_holds_a_heart_rate(
    context, upload, submit, work, job_row, marked, lines
):
    dataset_id = upload(marked)
    work()
    job_id = submit_as("req-1", context, submit, dataset_id)
    work()
    assert job_row(job_id).state == JobState.SUCCEEDED
    said = lines()
    mine = [line for line in said if line.get("job") == str(job_id)]
    assert {line["event"] for line in mine} >= {"job taken", "job left"}
    assert {(line["request_id"], line["attempt"]) for line in mine} == {("req-1", 1)}
    with context.database.reading() as session:
        rows = [line.message for line in session.query(JobLogLine)]
        details = [event.detail for event in session.query(JobEvent)]
    assert rows
    assert CANARY not in json.dumps([said, rows, details])


def test_a_job_that_is_lost_at_once_still_says_whose_it_was(context, submit, dataset_id, lines):
    job_id = submit_as("req-3", context, submit, dataset_id)
    with context.database.unit_of_work() as session:
        claim = jobs.claim_next(session, "w", jobs.TRAINING_STAGES, 60.0)
    run_job(context, replace(claim, attempt=claim.attempt + 1), "cpu")
    said = [line for line in lines() if line["event"] == "claim lost"]
    assert [(line["job"], line["request_id"]) for line in said] == [(str(job_id), "req-3")]


def test_every_line_between_taking_a_job_and_leaving_it_is_of_that_job(context, submit, work, dataset_id, lines):
    ids = {submit_as(f"req-{n}", context, submit, dataset_id): f"req-{n}" for n in range(2)}
    lines()
    work()
    said = lines()
    assert {(line["job"], line["request_id"]) for line in said} == {(str(job), name) for job, name in ids.items()}
    assert {line["worker"] for line in said if line["event"] == "job taken"} == {context.worker}


def test_the_reconciler_names_the_job_and_the_request_of_what_it_changes(context, submit, dataset_id, lines):
    job_id = submit_as("req-4", context, submit, dataset_id)
    with context.database.unit_of_work() as session:
        jobs.claim_next(session, "w", jobs.TRAINING_STAGES, 60.0)
    with bound_clock(4e9), context.database.unit_of_work() as session:
        assert jobs.reconcile(session) == 1
    with context.database.unit_of_work() as session:
        waits = jobs.add(
            session,
            session.get_one(Dataset, dataset_id),
            stage=Stage.STAGE2,
            configuration={},
            depends_on=jobs.request_cancel(session, session.get_one(Job, job_id)).id,
        )
    with context.database.unit_of_work() as session:
        assert jobs.reconcile(session) == 1
    said = [(line["event"], line["job"], line["request_id"]) for line in lines() if line["level"] == "warning"]
    assert said == [("lease over, job queued", str(job_id), "req-4"), ("dependency failed", str(waits.id), None)]


def test_a_job_that_fails_shows_where_and_not_with_what(context, submit, work, dataset_id, job_row, lines, monkeypatch):
    monkeypatch.setattr(training, "train", lambda *_: float(f"151{CANARY} is no number"))
    job_id = submit_as("req-2", context, submit, dataset_id)
    work()
    said = lines()
    failed = next(line for line in said if line["event"] == "job failed")
    assert (failed["request_id"], failed["code"]) == ("req-2", "internal_error")
    assert failed["exception"][0] == "builtins.ValueError"
    assert CANARY not in json.dumps(said)
    assert job_row(job_id).state == JobState.FAILED
    assert CANARY not in job_row(job_id).error_message
