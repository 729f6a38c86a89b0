"""Following jobs live: every event once and in order, wherever the connection is cut."""

import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from sqlalchemy import event as sql_event
from starlette.testclient import TestClient

from service.jobs import live
from service.registry import jobs
from service.registry.session import Database
from service.registry.tables import Stage
from tests.processes import wait_until
from tests.served import served

SSE = {"Accept": "text/event-stream"}
WAIT_SECONDS = 20.0
POLL_SECONDS, FOLLOWERS = 0.1, 30
Message = tuple[int | None, str, dict[str, Any]]


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "POLL_SECONDS", POLL_SECONDS)


def messages(lines: Iterator[str]) -> Iterator[Message]:
    """Id, event and data of each message of a stream."""
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        if line == "" and "data" in fields:
            yield (int(fields["id"]) if "id" in fields else None), fields["event"], json.loads(fields["data"])
            fields = {}
        elif line and name:
            fields[name] = value


def numbered(stream: Iterator[Message]) -> Iterator[tuple[int, str]]:
    return ((number, event) for number, event, _ in stream if number is not None)


@contextmanager
def following(url: str, client: TestClient, path: str, last: int | None = None) -> Iterator[Iterator[Message]]:
    headers = {**SSE, "Authorization": client.headers["Authorization"]}
    headers |= {} if last is None else {"Last-Event-ID": str(last)}
    with httpx2.stream("GET", url + path, headers=headers, timeout=WAIT_SECONDS) as response:
        assert response.status_code == 200
        yield messages(response.iter_lines())


def claim(database: Database) -> jobs.Claim:
    with database.unit_of_work() as session:
        claimed = jobs.claim_next(session, "w", (Stage.STAGE1,), 60.0)
    assert claimed is not None
    return claimed


def train_epoch(database: Database, claimed: jobs.Claim, epoch: int) -> None:
    metrics = {"epoch": epoch, "train_loss": 1.0 / epoch, "val_loss": 0.5, "learning_rate": 0.001}
    metrics |= {"epoch_time": 0.1, "trainable_parameters": 33_345}
    with database.unit_of_work() as session:
        assert jobs.heartbeat(session, claimed, 60.0, epoch / 3).lease_held
        jobs.record_epoch(session, claimed, metrics)
        jobs.record_checkpoint(session, claimed, epoch=epoch, sha256=f"{epoch:064d}")
        jobs.add_log(session, claimed, f"epoch {epoch}")


def run_job(database: Database, pause: float = 0.0) -> None:
    """From queued to succeeded, three epochs."""
    claimed = claim(database)
    for epoch in (1, 2, 3):
        train_epoch(database, claimed, epoch)
        time.sleep(pause)
    with database.unit_of_work() as session:
        assert jobs.succeed(session, claimed, {"promoted": False})


STORY = ["queued", "running", "checkpoint", "checkpoint", "checkpoint", "succeeded"]


def test_a_job_that_has_ended_is_told_whole_and_then_there_is_nothing_more_to_say(client, database, make_job):
    job = make_job()
    run_job(database)
    said = list(messages(iter(client.get(f"/jobs/{job.id}/events", headers=SSE).text.split("\n"))))
    assert [event for number, event, _ in said if number is not None] == STORY
    assert said[0][1] == "progress"
    assert said[0][2]["state"] == "succeeded"
    assert [data["epoch"]["epoch"] for _, event, data in said if event == "checkpoint"] == [1, 2, 3]
    rest = client.get(f"/jobs/{job.id}/events", headers={**SSE, "Last-Event-ID": str(said[-1][0])})
    assert (rest.status_code, rest.content) == (204, b"")


def test_cut_at_every_event_of_a_running_job_and_resumed_each_event_comes_once_and_in_order(
    app: FastAPI, client, database, make_job
):
    job = make_job()
    with served(app) as url:
        working = threading.Thread(target=run_job, args=(database, 0.3))
        working.start()
        seen: list[tuple[int, str]] = []
        while not seen or seen[-1][1] != "succeeded":
            last = seen[-1][0] if seen else None
            with following(url, client, f"/jobs/{job.id}/events", last) as stream:
                seen.append(next(numbered(stream)))
        working.join()
    assert [event for _, event in seen] == STORY
    assert all(before < after for (before, _), (after, _) in pairwise(seen))


def test_resuming_a_finished_job_behind_any_event_gives_exactly_the_rest(client, database, make_job):
    job = make_job()
    run_job(database)
    whole = client.get(f"/jobs/{job.id}/events").json()["events"]
    for place, event in enumerate(whole[:-1]):
        answer = client.get(f"/jobs/{job.id}/events", headers={**SSE, "Last-Event-ID": str(event["id"])})
        said = [data for number, _, data in messages(iter(answer.text.split("\n"))) if number is not None]
        assert said == whole[place + 1 :]


def test_whoever_follows_sees_a_job_get_ahead_and_the_stream_ends_with_it(app: FastAPI, client, database, make_job):
    job = make_job()
    with served(app) as url, following(url, client, f"/jobs/{job.id}/events") as stream:
        assert next(stream)[2]["state"] == "queued"
        working = threading.Thread(target=run_job, args=(database, 0.3))
        working.start()
        rest = list(stream)
        working.join()
    assert [event for number, event, _ in rest if number is not None] == STORY
    progress = [data["progress"] for _, event, data in rest if event == "progress"]
    assert progress == sorted(progress)
    assert len(set(progress)) >= 3


def test_log_lines_come_live_too(app: FastAPI, client, database, make_job):
    job = make_job()
    with served(app) as url, following(url, client, f"/jobs/{job.id}/log") as stream:
        working = threading.Thread(target=run_job, args=(database, 0.3))
        working.start()
        assert [data["message"] for _, _, data in stream] == ["epoch 1", "epoch 2", "epoch 3"]
        working.join()


def test_thirty_who_follow_one_job_ask_the_database_no_more_often_than_one(app: FastAPI, client, database, make_job):
    job = make_job()
    asked = 0

    def count(*_: object) -> None:
        nonlocal asked
        asked += 1

    opened: list[Any] = []
    with served(app) as url:
        for _ in range(FOLLOWERS):
            context = following(url, client, f"/jobs/{job.id}/events")
            stream = context.__enter__()
            assert next(stream)[1] == "progress"
            assert next(stream)[1] == "queued"
            opened.append((context, stream))
        time.sleep(5 * POLL_SECONDS)  # each has seen its first change
        sql_event.listen(database.engine, "before_cursor_execute", count)
        time.sleep(10 * POLL_SECONDS)
        sql_event.remove(database.engine, "before_cursor_execute", count)
        assert client.post(f"/jobs/{job.id}/cancel").status_code == 200
        assert all("cancelled" in [event for _, event, _ in stream] for _, stream in opened)
        for context, _ in opened:
            context.__exit__(None, None, None)
    assert asked <= 20 < 10 * FOLLOWERS


def test_too_many_streams_are_refused_and_plain_requests_are_not(client, make_job, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(live, "MAX_STREAMS", 0)
    job = make_job()
    refused = client.get(f"/jobs/{job.id}/events", headers=SSE)
    assert (refused.status_code, refused.json()["code"]) == (503, "busy")
    assert client.get(f"/jobs/{job.id}/events").status_code == 200


def test_nobody_follows_another_accounts_job(stranger, make_job):
    job = make_job()
    for path in ("events", "log"):
        assert stranger.get(f"/jobs/{job.id}/{path}", headers=SSE).status_code == 404


def test_the_stream_of_a_deleted_job_ends(app: FastAPI, client, database, make_job):
    job = make_job()
    with served(app) as url, following(url, client, f"/jobs/{job.id}/events") as stream:
        assert next(stream)[1] == "progress"
        assert httpx2.delete(
            f"{url}/subjects/me", headers={"Authorization": client.headers["Authorization"]}
        ).is_success
        assert {event for _, event, _ in stream} <= {"queued", "progress"}


def test_live_answers_ask_proxies_to_pass_them_on_at_once(client, database, make_job):
    job = make_job()
    run_job(database)
    for path in ("events", "log"):
        headers = client.get(f"/jobs/{job.id}/{path}", headers=SSE).headers
        assert headers["x-accel-buffering"] == "no"
        assert headers["content-type"].startswith("text/event-stream")
        assert "no-store" in headers["cache-control"] or "no-cache" in headers["cache-control"]


def test_one_accounts_streams_are_bounded_and_delay_nobody_elses(
    app, client, connect, database, make_job, make_dataset
):
    mine, theirs = make_job(), make_job(make_dataset(account="stranger"))
    stranger = connect("admin", account="stranger")
    path = f"/jobs/{mine.id}/events"
    with served(app) as url, ExitStack() as opened:
        address = ("127.0.0.1", int(url.rsplit(":", 1)[1]))
        ask = f"GET {path} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n"
        ask += f"Authorization: {client.headers['Authorization']}\r\n\r\n"
        followers = [
            opened.enter_context(socket.create_connection(address)) for _ in range(live.MAX_ACCOUNT_STREAMS + 5)
        ]
        for each in followers:
            each.sendall(ask.encode())
        statuses = Counter(int(each.recv(1000).split()[1]) for each in followers)
        assert statuses == {200: live.MAX_ACCOUNT_STREAMS, 429: 5}
        began = time.monotonic()
        with following(url, stranger, f"/jobs/{theirs.id}/events") as stream:
            assert next(stream)[1] == "progress"
        assert time.monotonic() - began < 5
        for each in followers:
            each.close()
        wait_until(lambda: app.state.services.live.streams == 0, 20)
        with following(url, client, path) as stream:
            assert next(stream)[1] == "progress"
