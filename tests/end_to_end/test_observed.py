"""A whole service as whoever runs it sees it: what Prometheus reads, and log lines that lead from request to job."""

import json
import time

import httpx2
import pytest

from hrmodel.workouts.simulate import simulate_runner
from service.cli.demo import write_parquet
from service.local.background import running

pytestmark = pytest.mark.slow
UPLOAD, TRAINING = "upload-1", "training-1"


@pytest.fixture(scope="module")
def observed(tmp_path_factory):
    """A service that has imported an upload and trained stage 1 while it was looked at: metrics, log lines, the job."""
    folder = tmp_path_factory.mktemp("observed")
    write_parquet(simulate_runner(workouts=9, seed=1), folder / "runs.zip")
    with running(folder / "var", STAGEWISE_LEASE_SECONDS="6") as service:
        client = httpx2.Client(
            base_url=service.url, headers={"Authorization": f"Bearer {service.key}"}, timeout=60, trust_env=False
        )
        client.get("/metrics")
        data = (folder / "runs.zip").read_bytes()
        dataset = client.post("/datasets?subject=anna", content=data, headers={"X-Request-ID": UPLOAD}).json()
        ended(client, f"/datasets/{dataset['id']}")
        body = {"dataset_id": dataset["id"], "hyperparameters": {"epochs": 2}}
        job = client.post("/jobs/stage1", json=body, headers={"X-Request-ID": TRAINING}).json()
        ended(client, f"/jobs/{job['id']}")
        metrics = client.get("/metrics").text
        client.close()
    lines = {
        name: [json.loads(line) for line in (folder / "var" / "logs" / f"{name}.log").read_text().splitlines()]
        for name in ("api", "worker")
    }
    return metrics, lines, job["id"]


def ended(client, path):
    deadline = time.monotonic() + 120
    while client.get(path).json()["state"] not in ("ready", "succeeded"):
        assert time.monotonic() < deadline, client.get(path).text
        time.sleep(0.2)


def test_what_the_worker_did_is_in_the_metrics_of_the_api(observed):
    metrics = {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in observed[0].splitlines() if line[0] != "#"
    }
    for series, least in {
        'stagewise_job_attempts_total{stage="import"}': 1,
        'stagewise_job_attempts_total{stage="stage1"}': 1,
        'stagewise_jobs_ended_total{stage="import",state="succeeded"}': 1,
        'stagewise_jobs_ended_total{stage="stage1",state="succeeded"}': 1,
        'stagewise_job_seconds_count{stage="stage1",state="succeeded"}': 1,
        'stagewise_imported_workouts_total{verdict="kept"}': 1,
        'stagewise_champion_changes_total{reason="first"}': 1,
    }.items():
        assert metrics[series] >= least, series
    made = "stagewise_promotion_decisions_total"
    decisions = [metrics[f'{made}{{decision="{decision}",stage="stage1"}}'] for decision in ("promoted", "kept")]
    assert sum(decisions) == 1
    assert [metrics[f'stagewise_degraded{{part="{part}"}}'] for part in ("database", "broker", "worker")] == [0, 0, 0]


def test_every_line_of_api_and_worker_is_json_with_a_time_and_a_level(observed):
    for lines in observed[1].values():
        assert lines
        for line in lines:
            assert {"event", "level", "timestamp"} <= set(line), line


def test_a_jobs_lines_carry_its_id_and_the_id_of_the_request_that_queued_it(observed):
    _, lines, job = observed
    asked = [line for line in lines["api"] if line.get("request_id") == TRAINING]
    assert {line.get("job") for line in asked} == {job}
    mine = [line for line in lines["worker"] if line.get("job") == job]
    assert {line["event"] for line in mine} >= {"job taken", "job left"}
    assert {line["request_id"] for line in mine} == {TRAINING}
    imports = [line for line in lines["worker"] if line.get("request_id") == UPLOAD]
    assert {line["event"] for line in imports} >= {"job taken", "job left"}
    assert all(line["job"] != job for line in imports)


def test_the_logs_name_no_person(observed):
    assert "anna" not in json.dumps(observed[1])
