"""Every error has one shape, whatever went wrong, and says nothing about our insides or the caller's input."""

import json

import psycopg
import pytest
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.testclient import TestClient
from structlog.testing import capture_logs

from service.app import create_app
from service.registry import job_history
from service.registry.session import Database


@pytest.fixture
def database_url(sqlite_url):
    return sqlite_url


SHAPE = {"type", "title", "status", "code", "detail", "errors", "request_id"}


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "route_not_found"),
        ("GET", "/jobs/", 404, "route_not_found"),
        ("PATCH", "/jobs", 405, "method_not_allowed"),
        ("DELETE", "/healthz", 405, "method_not_allowed"),
        ("GET", "/jobs/nonsense", 422, "invalid_request"),
        ("GET", "/subjects/nobody", 404, "subject_not_found"),
    ],
)
def test_errors_have_one_shape(client, method, path, status, code):
    response = client.request(method, path)
    problem = response.json()
    assert response.headers["Content-Type"] == "application/problem+json"
    assert set(problem) == SHAPE
    assert (response.status_code, problem["status"], problem["code"]) == (status, status, code)
    assert problem["request_id"] == response.headers["X-Request-ID"]


def test_a_method_that_is_not_allowed_names_those_that_are(client):
    assert client.patch("/jobs").headers["Allow"] == "GET"


def test_a_fault_of_ours_is_a_500_that_says_nothing_about_it(client, monkeypatch):
    def broken(*_):
        raise RuntimeError("the secret is 1234")

    monkeypatch.setattr(job_history, "page", broken)
    with capture_logs() as logs:
        response = client.get("/jobs")
    assert (response.status_code, response.json()["code"]) == (500, "internal_error")
    assert set(response.json()) == SHAPE
    assert "1234" not in response.text
    assert any(entry["event"] == "request failed" for entry in logs)


@pytest.mark.parametrize(
    "error",
    [
        OperationalError("SELECT", {}, Exception("connection refused")),
        InterfaceError("SELECT", {}, Exception("connection already closed")),
        PoolTimeout("no connection"),
    ],
)
def test_a_database_that_does_not_answer_is_a_503_with_retry_after(client, monkeypatch, error):
    def away(*_):
        raise error

    monkeypatch.setattr(job_history, "page", away)
    response = client.get("/jobs")
    assert (response.status_code, response.json()["code"]) == (503, "database_unavailable")
    assert response.headers["Retry-After"] == "5"


def test_a_database_that_takes_no_writes_during_a_failover_is_a_503_that_says_so(client, monkeypatch):
    def read_only(*_):
        raise InternalError("UPDATE", {}, psycopg.errors.ReadOnlySqlTransaction())

    monkeypatch.setattr(job_history, "page", read_only)
    response = client.get("/jobs")
    assert (response.status_code, response.json()["code"]) == (503, "storage_read_only")


def test_a_request_id_is_kept_if_it_is_one_and_made_if_not(client):
    assert client.get("/healthz", headers={"X-Request-ID": "abc-123"}).headers["X-Request-ID"] == "abc-123"
    for bad in ("a b", "x" * 65, '"quoted"'):
        assert len(client.get("/healthz", headers={"X-Request-ID": bad}).headers["X-Request-ID"]) == 32


def test_the_log_has_a_line_per_request_and_neither_keys_nor_bodies(client, capsys):
    client.post("/predict", json={"speed": [2.71828], "subject": "secret-person"})
    client.get("/subjects/secret-person")
    text = capsys.readouterr().out
    lines = [json.loads(line) for line in text.splitlines()]
    requests = [(line["route"], line["status"]) for line in lines if line["event"] == "request"]
    assert requests == [("/predict", 404), ("/subjects/{subject}", 404)]
    secret = client.headers["Authorization"].split("_", 2)[2]
    assert not any(word in text for word in (secret, "2.71828", "secret-person"))


def test_input_is_not_echoed(client):
    response = client.post("/jobs/stage1", json={"dataset_id": "PRIVATE", "recipe": "PRIVATE"})
    assert {error["pointer"] for error in response.json()["errors"]} == {"/dataset_id", "/recipe"}
    assert "PRIVATE" not in response.text


def test_a_database_that_is_not_there_is_a_503_everywhere(settings, store, sent):
    away = Database("postgresql://nobody@127.0.0.1:1/nowhere")
    client = TestClient(create_app(settings, away, store, sent), raise_server_exceptions=False)
    client.headers["Authorization"] = f"Bearer sw_{'0' * 16}_{'x' * 43}"
    requests = [("GET", "/jobs", {}), ("POST", "/datasets", {"content": b"x"}), ("POST", "/predict", {"json": {}})]
    for method, path, options in [*requests, ("GET", "/readyz", {}), ("DELETE", "/subjects/me", {})]:
        response = client.request(method, path, **options)
        assert (response.status_code, response.json()["code"]) == (503, "database_unavailable"), path
        assert response.headers["Retry-After"] == "5"
    away.dispose()


def test_a_failed_commit_is_not_a_202_and_no_hint_goes_out(client, sent, make_dataset, make_version, monkeypatch):
    make_version()
    dataset = make_dataset()
    client.get("/jobs")

    def broken(_):
        raise OperationalError("COMMIT", {}, Exception("disk I/O error"))

    monkeypatch.setattr("sqlalchemy.engine.default.DefaultDialect.do_commit", lambda *_: broken(_))
    response = client.post("/jobs/stage1", json={"dataset_id": str(dataset.id)})
    assert (response.status_code, sent) == (503, [])
