"""The real worker: Celery processes, a Valkey broker, PostgreSQL and SQLite; processes are killed with signal 9."""

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import dropwhile
from pathlib import Path
from uuid import UUID

import pytest
import redis
import torch
from celery import Celery
from fastapi.testclient import TestClient
from sqlalchemy import select

from hrmodel.network.checkpoint import Checkpoint
from service.app import create_app
from service.operations import queue
from service.registry import accounts, model_versions
from service.registry.tables import EpochMetrics, JobEvent, JobState
from service.settings import Settings
from tests import servers
from tests.processes import alive, command_line, descendants, wait_until
from worker.reconciler import HINT_EVERY_SECONDS

pytestmark = pytest.mark.slow
LEASE = 6.0
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[str]:
    with servers.valkey(tmp_path) as url:
        yield url


@pytest.fixture
def start_worker(database_url: str, store, tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Start workers; all are gone at the end."""
    with ExitStack() as started:

        def start(broker_url: str) -> subprocess.Popen[bytes]:
            environment = {
                **os.environ,
                "DATABASE_URL": database_url,
                "BROKER_URL": broker_url,
                "ARTIFACT_DIR": str(store.root),
                "STAGEWISE_LEASE_SECONDS": str(LEASE),
                "STAGEWISE_DEVICE": "cpu",
                "STAGEWISE_STATE_DIR": str(tmp_path),
            }
            command = [sys.executable, "-m", "celery", "-A", "worker.app", "worker", "-l", "INFO"]
            with (tmp_path / f"worker-{time.monotonic_ns()}.log").open("wb") as log:
                process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=log, stderr=log)
            started.callback(process.wait)
            started.callback(process.kill)
            return process

        yield start


@pytest.fixture
def stage1(context, submit, dataset_id):
    """Queue a stage-1 job of many short epochs, always with the same seed."""
    with context.database.reading() as session:
        start = model_versions.shipped(session).id
    return lambda: submit(dataset_id, "stage1", start=start, epochs=60, batch_size=1, patience=60)


def weights(context, job_id):
    with context.database.reading() as session:
        version = model_versions.of_job(session, job_id)
    checkpoint = Checkpoint.from_bytes(context.store.read(version.account_id, version.sha256))
    return checkpoint.weights, [{k: v for k, v in e.items() if k != "epoch_time"} for e in checkpoint.history]


def events(context, job_id):
    with context.database.reading() as session:
        return list(session.scalars(select(JobEvent.event).where(JobEvent.job_id == job_id).order_by(JobEvent.id)))


def uninterrupted(context, stage1, work, job_row):
    job_id = stage1()
    work()
    assert job_row(job_id).state == JobState.SUCCEEDED
    return job_id


def test_a_job_whose_worker_is_killed_goes_on_in_a_new_one_and_ends_bit_for_bit_as_if_never_killed(
    context, broker, start_worker, stage1, work, job_row
):
    whole = uninterrupted(context, stage1, work, job_row)
    first = start_worker(broker)
    killed = stage1()
    queue.BrokerSender(broker).send(queue.TRAINING)
    wait_until(lambda: job_row(killed).epoch >= 10, 120)
    family = {first.pid, *descendants(first.pid)}
    first.kill()
    first.wait()
    died, epoch = time.monotonic(), job_row(killed).epoch
    assert job_row(killed).state == JobState.RUNNING
    wait_until(lambda: not alive(family), 10)
    start_worker(broker)
    wait_until(lambda: job_row(killed).attempt == 2, 3 * (LEASE + 10))
    print(f"went on {time.monotonic() - died:.1f} s after the kill, lease {LEASE:g} s")
    wait_until(lambda: job_row(killed).state == JobState.SUCCEEDED, 180)
    assert epoch >= 10
    with context.database.reading() as session:
        resumed = select(EpochMetrics.epoch).where(EpochMetrics.job_id == killed, EpochMetrics.attempt == 2)
        assert min(session.scalars(resumed)) in (epoch, epoch + 1)
    (one, history), (other, again) = weights(context, whole), weights(context, killed)
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert history == again


def test_the_same_hint_delivered_ten_times_trains_once(context, broker, start_worker, stage1, job_row):
    job_id = stage1()
    app = Celery(broker=broker)
    app.conf.update(queue.broker_options())
    for _ in range(10):
        app.send_task(queue.TRAINING, queue=queue.TRAINING)
    start_worker(broker)
    wait_until(lambda: job_row(job_id).state == JobState.SUCCEEDED, 180)
    assert events(context, job_id).count("running") == 1


UNREADABLE = [
    b"\xff\x00",
    b"no JSON",
    b"null",
    b"[]",
    b"{}",
    b'{"properties": {}}',
    b'{"headers": [], "properties": {"delivery_tag": 1}}',
    b'{"headers": {"task": {}}, "properties": {"delivery_tag": 1}}',
    pickle.dumps({"task": queue.TRAINING}),
]


def test_a_worker_outlives_messages_that_cannot_be_read(broker, context, start_worker, stage1, job_row):
    client = redis.Redis.from_url(broker)
    for name in (queue.TRAINING, queue.IMPORTS):
        client.lpush(name, *UNREADABLE)
    worker = start_worker(broker)
    job_id = stage1()  # nobody sends a hint: the reconciler must
    wait_until(lambda: job_row(job_id).state == JobState.SUCCEEDED, 180)
    assert worker.poll() is None
    assert client.llen(queue.TRAINING) == client.llen(queue.IMPORTS) == 0
    client.close()


def test_with_the_broker_stopped_a_job_is_accepted_at_once_and_runs_after_its_return(
    context, dataset_id, start_worker, job_row, tmp_path
):
    port = servers.free_port()
    url = f"redis://127.0.0.1:{port}/0"
    start_worker(url)
    settings = Settings(state_dir=tmp_path, broker_url_setting=url)
    with context.database.unit_of_work() as session:
        account = accounts.ensure_account(session, "default")
        key = accounts.create_key(session, account, "test", ["admin"])
    sender = queue.BrokerSender(url)
    client = TestClient(create_app(settings, context.database, context.store, sender))
    asked = time.monotonic()
    response = client.post(
        "/jobs/stage1",
        json={"dataset_id": str(dataset_id), "hyperparameters": {"epochs": 2}},
        headers={"Authorization": f"Bearer {key}"},
    )
    assert response.status_code == 202
    assert time.monotonic() - asked < 3.0  # it takes milliseconds; a wait for the broker would take 5 s and more
    time.sleep(5.0)
    with servers.valkey(tmp_path, port):
        wait_until(lambda: job_row(UUID(response.json()["id"])).state == JobState.SUCCEEDED, 120)


def test_a_worker_that_is_told_to_stop_hands_its_job_back_and_exits(context, broker, start_worker, stage1, job_row):
    job_id = stage1()
    worker = start_worker(broker)
    queue.BrokerSender(broker).send(queue.TRAINING)
    wait_until(lambda: job_row(job_id).epoch >= 3, 120)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=45) == 0
    assert job_row(job_id).state == JobState.QUEUED
    assert job_row(job_id).crashes == 0
    assert events(context, job_id)[-1] == "handed_back"
    start_worker(broker)
    wait_until(lambda: job_row(job_id).state == JobState.SUCCEEDED, 180)


def test_a_job_that_is_handed_back_goes_on_at_once_in_an_idle_worker(
    context, broker, start_worker, stage1, job_row, tmp_path
):
    workers = [start_worker(broker), start_worker(broker)]
    wait_until(lambda: [b"ready." in log.read_bytes() for log in tmp_path.glob("worker-*.log")] == [True, True], 120)
    job_id = stage1()
    queue.BrokerSender(broker).send(queue.TRAINING)
    wait_until(lambda: job_row(job_id).epoch >= 3, 120)
    busy = int(job_row(job_id).worker.split(":")[1])
    next(worker for worker in workers if busy in descendants(worker.pid)).send_signal(signal.SIGTERM)
    wait_until(lambda: "running" in dict(after_the_hand_back(context, job_id)), 60)
    (_, back), (_, again) = after_the_hand_back(context, job_id)[:2]
    assert (again - back).total_seconds() < HINT_EVERY_SECONDS  # not by a repeated hint


def after_the_hand_back(context, job_id):
    with context.database.reading() as session:
        told = select(JobEvent.event, JobEvent.created_at).where(JobEvent.job_id == job_id).order_by(JobEvent.id)
        rows = [tuple(row) for row in session.execute(told)]
    return list(dropwhile(lambda row: row[0] != "handed_back", rows))


def test_a_killed_training_process_does_not_take_its_siblings_along(context, broker, start_worker, stage1, job_row):
    job_id = stage1()
    worker = start_worker(broker)
    queue.BrokerSender(broker).send(queue.TRAINING)
    wait_until(lambda: job_row(job_id).epoch >= 3, 120)
    os.kill(int(job_row(job_id).worker.split(":")[1]), signal.SIGKILL)
    wait_until(lambda: job_row(job_id).state == JobState.SUCCEEDED, 180)
    assert worker.poll() is None
    assert job_row(job_id).attempt == 2


def reconcilers(worker):
    return {pid for pid in descendants(worker.pid) if "worker.reconciler" in command_line(pid)}


def test_a_killed_reconciler_is_started_again_and_leaves_no_zombie(broker, start_worker):
    worker = start_worker(broker)
    wait_until(lambda: reconcilers(worker), 60)
    (first,) = reconcilers(worker)
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: reconcilers(worker) - {first}, 30)
    assert not Path(f"/proc/{first}").exists()
    worker.kill()
    wait_until(lambda: not reconcilers(worker), 10)


def test_a_training_process_that_is_told_to_stop_hands_its_job_back_and_another_goes_on(
    context, broker, start_worker, stage1, job_row
):
    job_id = stage1()
    worker = start_worker(broker)
    queue.BrokerSender(broker).send(queue.TRAINING)
    wait_until(lambda: job_row(job_id).epoch >= 3, 120)
    told = int(job_row(job_id).worker.split(":")[1])
    os.kill(told, signal.SIGTERM)
    wait_until(lambda: job_row(job_id).state == JobState.SUCCEEDED, 180)
    assert "handed_back" in events(context, job_id)
    assert "lease_expired" not in events(context, job_id)
    assert not alive({told})
    assert worker.poll() is None


def test_work_goes_on_after_the_broker_was_restarted(context, start_worker, stage1, job_row, tmp_path):
    port = servers.free_port()
    url = f"redis://127.0.0.1:{port}/0"
    sender = queue.BrokerSender(url)
    with servers.valkey(tmp_path, port):
        start_worker(url)
        first = stage1()
        sender.send(queue.TRAINING)
        wait_until(lambda: job_row(first).state == JobState.SUCCEEDED, 180)
    time.sleep(3.0)
    with servers.valkey(tmp_path, port):
        second = stage1()  # nobody sends a hint: the reconciler must
        wait_until(lambda: job_row(second).state == JobState.SUCCEEDED, 180)
