"""What must never show: keys in logs, files or answers; heart rates and exceptions' messages in logs."""

import ast
import asyncio
import hmac
import json
import logging
import re
from pathlib import Path

import pytest
import structlog
from sqlalchemy.exc import IntegrityError

from service.logs import describe_exception, log_as_json
from service.registry import accounts, job_history
from service.registry.session import spoken_reason
from service.registry.tables import Account
from service.web import security
from tests.builders import add_key, on_sqlite

ROOT = Path(__file__).resolve().parents[3]
CANARY = ".015625"  # 1/64 survives float32: every heart rate that is sent below ends with it


def lines_of(capfd):
    """All that was written so far; every line of it is one JSON object."""
    out, err = capfd.readouterr()
    assert err == ""
    return [json.loads(line) for line in out.splitlines()]


@pytest.fixture
def secret(client):
    return client.headers["Authorization"].split("_", 2)[2]


@on_sqlite
def test_a_key_is_in_no_log_no_file_and_no_answer(client, connect, database, secret, tmp_path, capfd, make_version):
    make_version()
    key, anybody = client.headers["Authorization"].removeprefix("Bearer "), connect()
    answers = [client.request(*line) for line in [("GET", "/jobs"), ("POST", "/predict"), ("DELETE", "/subjects/x")]]
    answers += [client.post("/predict", json={"speed": [2.5]}), client.post("/datasets", content=b"x")]
    for header in (f"Token {key}", f"Bearer {key} ", f"Bearer {key}x", f"bearer  {key}", f"Bearer {key},{key}", key):
        answers.append(anybody.get("/jobs", headers={"Authorization": header}))
    for path in (f"/jobs/{key}", f"/subjects/{key}", f"/nowhere/{key}", f"/jobs?key={key}", f"/jobs?cursor={key}"):
        answers += [client.get(path), anybody.get(path)]
    answers.append(client.get("/jobs", headers={"X-Request-ID": key}))
    shown = "\n".join(f"{answer.headers} {answer.text}" for answer in answers)
    assert secret not in shown
    assert secret not in json.dumps(lines_of(capfd))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) >= 3
    assert not [path for path in files if secret.encode() in path.read_bytes()]


@on_sqlite
def test_a_key_is_in_no_log_when_everything_fails(client, secret, capfd, monkeypatch):
    monkeypatch.setattr(job_history, "read", lambda *_: (_ for _ in ()).throw(RuntimeError(f"failed for {secret}")))
    answer = client.get("/jobs/00000000-0000-4000-8000-000000000000")
    lines = lines_of(capfd)
    assert answer.status_code == 500
    failed = next(line for line in lines if line["event"] == "request failed")
    assert failed["request_id"] == answer.json()["request_id"]
    assert failed["exception"][0] == "builtins.RuntimeError"
    assert any("views.py" in place for place in failed["exception"])
    assert secret not in json.dumps(lines) + answer.text


@on_sqlite
def test_no_heart_rate_is_in_a_log(client, capfd, make_version, monkeypatch):
    make_version()
    hearts = [118 + n + float(CANARY) for n in range(6)]
    bodies = [
        {"speed": [2.5] * 6, "heart_rate": hearts},
        {"speed": [2.5] * 6, "heart_rate": [*hearts[:5], 300 + float(CANARY)]},
        {"speed": [2.5] * 6, "heart_rate": [*hearts[:5], str(hearts[5])]},
        {"speed": [2.5] * 5, "heart_rate": hearts},
    ]
    answers = [client.post("/predict", json=body) for body in bodies]
    client.post("/datasets", content=",".join(map(str, hearts)).encode())
    monkeypatch.setattr("service.predict.service.to_json", lambda answer: float(f"{hearts} is no number"))
    answers.append(client.post("/predict", json=bodies[0]))
    assert [answer.status_code for answer in answers] == [200, 422, 422, 422, 500]
    lines = lines_of(capfd)
    assert len(lines) >= 6
    assert CANARY not in json.dumps(lines)
    assert not any(CANARY in answer.text for answer in answers[1:])


def test_a_constraint_that_refuses_is_logged_without_the_rows_values(database):
    def twice():
        with database.unit_of_work() as session:
            session.add_all([Account(name="anna-canary"), Account(name="anna-canary")])

    with pytest.raises(IntegrityError) as refused:
        twice()
    reason = spoken_reason(refused.value)
    assert "anna-canary" not in reason
    assert "account" in reason


def test_a_line_stays_one_line_whatever_is_in_it(capfd):
    log_as_json()
    nasty = 'a\nb\r\x1b[31m\x00\u2028"}'
    structlog.get_logger().info("x", value=nasty + "\ud800", thing=object())
    logging.getLogger("uvicorn.error").warning("library %s", nasty)
    logging.getLogger("celery.worker").info("told")
    logging.getLogger("httpx2").info("not told: it shows addresses")
    lines = lines_of(capfd)
    assert [line["event"] for line in lines] == ["x", f"library {nasty}", "told"]
    assert lines[0]["value"] == nasty + "\ud800"
    assert lines[1]["logger"] == "uvicorn.error"


def test_an_exception_is_shown_by_kind_and_place_through_its_causes():
    try:
        try:
            Path("/nowhere/canary").read_text()
        except OSError as error:
            raise ValueError("canary") from error
    except ValueError as error:
        shown = describe_exception(error)
    assert shown[0] == "builtins.ValueError"
    assert "builtins.FileNotFoundError 2" in shown
    assert any(re.search(r"test_secrets\.py:\d+ test_an_exception", line) for line in shown)
    assert "canary" not in "".join(shown)


@on_sqlite
def test_a_request_and_its_job_share_an_id(client, make_dataset, make_version):
    make_version()
    body = {"dataset_id": str(make_dataset().id)}
    answer = client.post("/jobs/stage1", json=body, headers={"X-Request-ID": "from-a-client"})
    events = client.get(f"/jobs/{answer.json()['id']}/events").json()["events"]
    assert [(event["event"], event["detail"]) for event in events] == [("queued", {"request_id": "from-a-client"})]
    upload = client.post("/datasets", content=b"x", headers={"X-Request-ID": "an-upload"}).json()
    events = client.get(f"/jobs/{upload['job_id']}/events").json()["events"]
    assert events[0]["detail"] == {"request_id": "an-upload"}


@on_sqlite
def test_secrets_are_compared_in_constant_time(database, monkeypatch):
    compared = []

    def note(one, other):
        compared.append((one, other))
        return hmac.compare_digest(one, other)

    monkeypatch.setattr(security, "hmac", type("Watched", (), {"compare_digest": staticmethod(note)}))
    parts = accounts.split_key(add_key(database, "read"))
    ring = security.KeyRing(database)
    assert asyncio.run(ring.find(parts))
    assert asyncio.run(ring.find(parts))
    assert compared == [(parts.secret_sha256,) * 2] * 2


def test_no_other_comparison_of_secrets_is_there():
    def names_a_secret(node):
        name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
        return ("secret" in name and name != "secrets") or name in ("password", "token")

    found = []
    for path in (ROOT / "service").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare) and any(map(names_a_secret, [node.left, *node.comparators])):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert found == []
