"""One JSON line per request: with its id, and with the job that it is about or that it queued."""

import asyncio
import json
from dataclasses import replace
from functools import partial
from uuid import uuid4

import pytest

from service.logs import log_as_json
from service.operations.queue import BrokerSender, send_after_commit
from service.web.request_log import RequestLog
from tests.builders import on_sqlite
from tests.processes import wait_until

pytestmark = on_sqlite


@pytest.fixture
def lines(capfd):
    log_as_json()
    capfd.readouterr()
    return lambda: [json.loads(line) for line in capfd.readouterr().out.splitlines()]


def test_the_request_that_queues_a_job_names_it(client, make_version, make_dataset, lines):
    make_version()
    body = {"dataset_id": str(make_dataset().id)}
    answer = client.post("/jobs/stage1", json=body, headers={"X-Request-ID": "mine-1"})
    said = lines()
    assert answer.status_code == 202
    assert {line["request_id"] for line in said} == {"mine-1"}
    access = next(line for line in said if line["event"] == "request")
    assert access["job"] == answer.json()["id"]
    assert (access["method"], access["route"], access["status"]) == ("POST", "/jobs/stage1", 202)


def test_requests_about_a_job_name_it_whether_it_is_there_or_not(client, make_job, lines):
    job, nobody = make_job(), uuid4()
    for path in (f"/jobs/{job.id}", f"/jobs/{job.id}/log", f"/jobs/{nobody}"):
        client.get(path)
    assert [line.get("job") for line in lines()] == [str(job.id), str(job.id), str(nobody)]


def test_probes_that_find_all_well_are_counted_and_not_logged(client, lines):
    client.get("/healthz")
    client.get("/readyz")  # the schema of these tests is not Alembic's
    assert [(line["route"], line["status"]) for line in lines() if line["event"] == "request"] == [("/readyz", 503)]


def test_what_is_no_job_is_not_repeated(client, lines):
    client.get("/jobs/anna's-job")
    client.get("/subjects/anna")
    said = lines()
    assert len(said) == 2
    assert "anna" not in json.dumps(said)


def test_a_hint_that_could_not_be_sent_names_the_request(client, app, make_version, make_dataset, lines):
    sender = BrokerSender("redis://127.0.0.1:1/0")
    app.state.services = replace(app.state.services, send_hints=partial(send_after_commit, sender=sender))
    make_version()
    client.post("/jobs/stage1", json={"dataset_id": str(make_dataset().id)}, headers={"X-Request-ID": "mine-2"})
    found = []
    wait_until(lambda: found.extend(lines()) or [line for line in found if line["event"] == "hint not sent"], 20.0)
    assert {line["request_id"] for line in found} == {"mine-2"}
    sender.close()


def test_a_request_takes_until_its_answer_begins_however_long_a_stream_goes_on(app):
    async def stream(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.sleep(0.3)
        await send({"type": "http.response.body", "body": b""})

    async def take(_):
        return None

    scope = {"type": "http", "method": "GET", "path": "/x", "headers": [], "query_string": b"", "app": app}
    asyncio.run(RequestLog(stream)(scope, take, take))
    text = app.state.services.metrics.text([]).decode()
    assert 'stagewise_http_request_seconds_bucket{le="0.1",method="GET",route="unknown"} 1.0' in text
