"""Alive, ready, degraded, and counted."""

import asyncio
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy.exc import OperationalError
from starlette.testclient import TestClient

from service.operations import health, parts
from service.operations.parts import Parts, degradations
from service.registry.migrations import upgrade
from service.registry.session import Database
from service.registry.tables import JobState, Stage
from tests import servers


@pytest.fixture
def database_url(sqlite_url):
    return sqlite_url


@pytest.fixture
def migrated(monkeypatch):
    """Tests make tables without Alembic; its version table is not what is tested here."""
    monkeypatch.setattr(health, "schema_is_behind", lambda _: False)


@pytest.fixture
def local(app):
    """A caller on this machine, without a key."""
    return TestClient(app, base_url="http://127.0.0.1:8000", client=("127.0.0.1", 5000))


def test_alive_looks_at_nothing(connect, app):
    app.state.services = replace(app.state.services, database=None)
    assert connect().get("/healthz").json() == {"alive": True}


def test_without_a_broker_it_is_ready_and_degraded(connect, migrated):
    response = connect().get("/readyz")
    assert response.status_code == 200
    assert [line.split(":")[0] for line in response.json()["degraded"]] == ["broker", "worker"]


def test_with_a_broker_and_no_worker_it_says_so(tmp_path):
    with servers.valkey(tmp_path) as url:
        assert [line.split(":")[0] for line in degradations(url)] == ["worker"]


def test_forty_who_ask_at_once_share_one_look_and_none_waits_for_ever(tmp_path, monkeypatch):
    looks, real = [], parts.degradations
    monkeypatch.setattr(parts, "degradations", lambda url: looks.append(url) or real(url))

    async def ask() -> list[list[str]]:
        mine = Parts(url)
        return await asyncio.wait_for(asyncio.gather(*(mine.away() for _ in range(40))), 20)

    with servers.valkey(tmp_path) as url:
        answers = asyncio.run(ask())
    assert {line.split(":")[0] for answer in answers for line in answer} == {"worker"}
    assert len(looks) == 1


def test_looks_at_once_do_not_wait_for_each_others_connections(tmp_path):
    with servers.valkey(tmp_path) as url, ThreadPoolExecutor(30) as pool:
        answers = [each.result(timeout=30) for each in [pool.submit(degradations, url) for _ in range(30)]]
    assert len(answers) == 30


def test_a_look_that_hangs_counts_as_no_answer(monkeypatch):
    released = threading.Event()
    monkeypatch.setattr(parts, "LOOK_SECONDS", 0.2)
    monkeypatch.setattr(parts, "degradations", lambda _: released.wait(10) and [])
    assert asyncio.run(Parts("redis://127.0.0.1:1/0").away()) == parts.NO_BROKER
    released.set()


def test_a_schema_that_is_behind_is_not_ready(connect):
    response = connect().get("/readyz")
    assert (response.status_code, response.json()["code"]) == (503, "schema_behind")


def test_a_migrated_database_is_ready(tmp_path, settings, store, sent):
    from service.app import create_app

    url = f"sqlite:///{tmp_path / 'migrated.sqlite3'}"
    upgrade(url)
    database = Database(url)
    app = create_app(settings, database, store, sent)
    assert TestClient(app).get("/readyz").status_code == 200
    database.dispose()


def test_without_a_database_it_is_not_ready(connect, monkeypatch):
    def away(_):
        raise OperationalError("SELECT 1", {}, Exception("connection refused"))

    monkeypatch.setattr(health, "ping", away)
    response = connect().get("/readyz")
    assert (response.status_code, response.json()["code"]) == (503, "database_unavailable")
    assert response.headers["Retry-After"] == "5"


def test_prometheus_counts_requests_predictions_and_jobs(client, make_version, make_dataset, make_job):
    make_version()
    make_job(make_dataset(), Stage.STAGE2, state=JobState.RUNNING)
    for _ in range(3):
        client.post("/predict", json={"speed": [2.5]})
    client.get("/jobs/00000000-0000-0000-0000-000000000000")
    text = client.get("/metrics").text
    for line in (
        'stagewise_http_requests_total{method="POST",route="/predict",status="200"} 3.0',
        'stagewise_http_requests_total{method="GET",route="/jobs/{job_id}",status="404"} 1.0',
        'stagewise_http_request_seconds_count{method="POST",route="/predict"} 3.0',
        "stagewise_predict_seconds_count 3.0",
        "stagewise_predict_batch_size_sum 3.0",
        "stagewise_model_cache_hits_total 2.0",
        "stagewise_model_cache_misses_total 1.0",
        "stagewise_model_cache_loads_total 1.0",
        "stagewise_model_cache_models 1.0",
        'stagewise_jobs{stage="stage2",state="running"} 1.0',
        'stagewise_jobs{stage="stage1",state="queued"} 0.0',
        'stagewise_degraded{part="broker"} 1.0',
        'stagewise_degraded{part="database"} 0.0',
    ):
        assert line in text.splitlines(), line
    assert re.search(r"^stagewise_model_cache_bytes [1-9]", text, re.MULTILINE)
    assert re.search(r"^stagewise_artifact_disk_free_bytes [1-9]", text, re.MULTILINE)
    assert re.search(r'^stagewise_build_info\{version="[0-9.]+"\} 1.0', text, re.MULTILINE)


def test_names_follow_the_conventions_and_no_label_holds_what_a_caller_wrote(client, make_job):
    client.get("/jobs/of-somebody")
    client.get("/nowhere/of-somebody")
    client.request("SPY", "/predict")
    text = client.get("/metrics").text
    assert "somebody" not in text
    assert "SPY" not in text
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    for name, kind in kinds.items():
        assert name.startswith(("stagewise_", "process_")), name
        assert name.endswith("_total") == (kind == "counter"), name
        assert not name.endswith(("_ms", "_minutes", "_megabytes", "_mb")), name
    assert len(text.splitlines()) < 2000


def test_metrics_answer_without_a_database(local, monkeypatch):
    def away(*_):
        raise OperationalError("SELECT 1", {}, Exception("connection refused"))

    monkeypatch.setattr(Database, "reading", away)
    text = local.get("/metrics").text
    assert 'stagewise_degraded{part="database"} 1.0' in text
    assert "stagewise_jobs{" not in text
    assert "stagewise_predict_seconds_count 0.0" in text


def test_metrics_do_not_wait_for_a_database_that_hangs(local, monkeypatch):
    monkeypatch.setattr(health, "SQL_SECONDS", 0.2)
    released = threading.Event()
    monkeypatch.setattr(Database, "reading", lambda _: released.wait(10))
    began = time.monotonic()
    assert 'stagewise_degraded{part="database"} 1.0' in local.get("/metrics").text
    assert time.monotonic() - began < 5
    released.set()


def test_metrics_are_for_keys_with_their_scope_and_this_machine(local, connect):
    assert connect().get("/metrics").status_code == 401
    assert connect("read").get("/metrics").status_code == 403
    assert connect("metrics").get("/metrics").status_code == 200
    assert local.get("/metrics").status_code == 200


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:9", "127.1.2.3", "[::1]:8000"])
def test_metrics_are_open_to_who_asks_this_machine_for_itself(local, host):
    assert local.get("/metrics", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        *(
            {"Host": host}
            for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "[")
        ),
        *({name: "203.0.113.7"} for name in ("X-Forwarded-For", "X-Real-IP", "Via", "Forwarded", "X-Forwarded-Proto")),
    ],
    ids=str,
)
def test_metrics_want_a_key_of_other_names_for_this_machine_and_of_what_a_proxy_passes_on(local, headers):
    assert local.get("/metrics", headers=headers).status_code == 401


def test_metrics_want_a_key_of_whoever_is_elsewhere(app):
    client = TestClient(app, base_url="http://127.0.0.1", client=("192.0.2.1", 5000))
    assert client.get("/metrics").status_code == 401
