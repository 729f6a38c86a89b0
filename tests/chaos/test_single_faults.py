"""One fault at a time, on real processes: what is promised while it lasts and after it."""

import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID, uuid4

import httpx2
import psycopg
import pytest

from tests.chaos.checker import Evidence, finished_twice, illegal_transitions, lost, stale_writes, wrong_bytes
from tests.chaos.cluster import BROKER, DATABASE, LEASE, WORKERS, Cluster
from tests.chaos.load import Block, Load, Promises
from tests.processes import command_line, wait_until

pytestmark = pytest.mark.chaos
AT_ONCE = 2.0  # s for a POST: it takes milliseconds; a wait for the broker would take 5 s and more
SLOTS = WORKERS * (os.cpu_count() or 1)


class Caller:
    """A client with a subject of its own, who remembers what was accepted."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.load = Load(cluster.api_url, cluster.key, cluster.folder, blocks=1, seconds=1.0, seed=0)
        headers = {"Authorization": f"Bearer {cluster.key}"}
        self.http = httpx2.Client(base_url=cluster.api_url, headers=headers, timeout=30.0, trust_env=False)
        self.block = Block(self.load, self.http, number=0)
        self.dataset: str | None = None

    @property
    def promises(self) -> Promises:
        return self.load.promises

    def upload(self) -> None:
        accepted = self.block.post("/datasets", content=self.block.upload(), params={"subject": "me"})
        self.dataset = accepted["id"]
        self.wait(self.block.note(accepted["job_id"], "import"))

    def submit(self, stage: str = "stage1", *, epochs: int = 4, key: str | None = None, **body: object) -> UUID:
        """Accepted at the first try, or an error."""
        request = {"dataset_id": self.dataset, "hyperparameters": {"epochs": epochs, "learning_rate": 0.02}, **body}
        answer = self.http.post(f"/jobs/{stage}", json=request, headers={"Idempotency-Key": key or str(uuid4())})
        assert answer.status_code == 202, answer.text
        return self.block.note(answer.json()["id"], stage)

    def job(self, job_id: UUID) -> dict:
        with psycopg.connect(self.cluster.database_url, row_factory=psycopg.rows.dict_row) as connection:
            return connection.execute("SELECT * FROM jobs WHERE id = %s", [job_id]).fetchone()

    def ended(self, *job_ids: UUID) -> bool:
        return all(self.job(job_id)["state"] in ("succeeded", "failed", "cancelled") for job_id in job_ids)

    def wait(self, *job_ids: UUID, seconds: float = 90.0) -> None:
        """Until they have succeeded."""
        wait_until(lambda: self.ended(*job_ids), seconds)
        assert [self.job(job_id)["state"] for job_id in job_ids] == ["succeeded"] * len(job_ids)

    def reach(self, job_id: UUID, epoch: int) -> dict:
        wait_until(lambda: self.job(job_id)["epoch"] >= epoch, 60)
        return self.job(job_id)


@pytest.fixture(scope="module")
def caller() -> Iterator[Caller]:
    with tempfile.TemporaryDirectory(prefix="stagewise-chaos-") as folder, Cluster(Path(folder)) as cluster:
        cluster.wait_until_ready()
        made = Caller(cluster)
        made.upload()
        yield made
        made.http.close()


@pytest.fixture(autouse=True)
def promises_kept(caller: Caller) -> Iterator[None]:
    """After each fault: nothing lost, nothing twice, nothing stale, no wrong bytes."""
    yield
    caller.cluster.keep_alive()
    wait_until(lambda: caller.ended(*(job.job_id for job in caller.promises.accepted)), 90)
    evidence = Evidence(caller.cluster.database_url, caller.cluster.artifacts, caller.promises)
    checks = (lost, finished_twice, illegal_transitions, stale_writes, wrong_bytes)
    assert [sentence for check in checks for sentence in check(evidence).broken] == []


def kill_broker(cluster: Cluster) -> Callable[[], None]:
    cluster.valkey.kill()
    return cluster.valkey.start


def hold_broker(cluster: Cluster) -> Callable[[], None]:
    cluster.turn(BROKER, "hold")
    return lambda: cluster.turn(BROKER, "pass")


def reset_broker(cluster: Cluster) -> Callable[[], None]:
    cluster.turn(BROKER, "reset")
    return lambda: cluster.turn(BROKER, "pass")


@pytest.mark.parametrize(("take_away", "seconds"), [(kill_broker, 120.0), (hold_broker, 10.0), (reset_broker, 10.0)])
def test_without_a_broker_posts_are_answered_at_once_and_busy_workers_drain_the_queue(caller, take_away, seconds):
    running = [caller.submit(epochs=20) for _ in range(SLOTS)]
    wait_until(lambda: all(caller.job(job)["state"] == "running" for job in running), 60)
    give_back, began = take_away(caller.cluster), time.monotonic()
    waiting = [caller.submit() for _ in range(5)]
    assert time.monotonic() - began < 5 * AT_ONCE
    caller.wait(*running, *waiting)  # nobody was told of these five
    idle = caller.submit()
    time.sleep(max(0.0, began + seconds - time.monotonic()))
    give_back()
    caller.wait(idle, seconds=30.0)


def test_a_flushed_broker_loses_nothing(caller):
    jobs = [caller.submit() for _ in range(2 * SLOTS)]
    with caller.cluster.broker() as broker:
        broker.flushall()
    caller.wait(*jobs)


def test_a_job_whose_api_died_before_it_could_say_so_runs_all_the_same(caller):
    caller.cluster.turn(BROKER, "hold")  # the commit is done, the hint is on its way and gets nowhere
    job = caller.submit()
    caller.cluster.api.signal_all(signal.SIGKILL)
    caller.cluster.turn(BROKER, "pass")
    caller.wait(job, seconds=30.0)
    wait_until(lambda: not caller.cluster.api.running)
    caller.cluster.keep_alive()
    wait_until(lambda: ready(caller), 60)


def ready(caller: Caller) -> bool:
    try:
        return caller.http.get("/readyz").status_code == 200
    except httpx2.TransportError:
        return False


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGQUIT])
def test_a_database_that_is_away_in_mid_training_costs_no_attempt(caller, number):
    job = caller.submit(epochs=20)
    caller.reach(job, 3)
    caller.cluster.postgresql.kill(number)
    answer = caller.http.get(f"/jobs/{job}")
    assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
    assert "Retry-After" in answer.headers
    time.sleep(1.0)
    caller.cluster.postgresql.start()
    caller.wait(job)
    assert caller.job(job)["attempt"] == 1


def test_a_slow_database_costs_no_attempt(caller):
    caller.cluster.turn(DATABASE, "delay", 0.05)
    job = caller.submit()
    caller.wait(job)
    caller.cluster.turn(DATABASE, "pass")
    assert caller.job(job)["attempt"] == 1


def test_a_submission_whose_commit_was_not_answered_is_done_once(caller):
    """Answers of the database get lost from the insert on, at one moment after the other."""
    for number in range(5):
        key = str(uuid4())
        with ThreadPoolExecutor() as pool:
            first = pool.submit(caller.submit, key=key)
            time.sleep(0.004 * number)
            caller.cluster.turn(DATABASE, "lose")
            time.sleep(0.3)
            caller.cluster.turn(DATABASE, "pass")
        lost_answer = first.exception()
        again = caller.submit(key=key)
        assert lost_answer is not None or first.result() == again
        with psycopg.connect(caller.cluster.database_url) as connection:
            (made,) = connection.execute("SELECT count(*) FROM jobs").fetchone()
        assert made == len({job.job_id for job in caller.promises.accepted})


def test_jobs_whose_commits_were_not_answered_end_once(caller):
    jobs = [caller.submit(epochs=8) for _ in range(SLOTS)]
    while not caller.ended(*jobs):
        caller.cluster.turn(DATABASE, "lose")
        time.sleep(0.2)
        caller.cluster.turn(DATABASE, "pass")
        time.sleep(2.0)
    caller.wait(*jobs)


def test_more_requests_than_connections_are_told_to_come_again(caller):
    caller.cluster.turn(DATABASE, "hold")
    with ThreadPoolExecutor(60) as pool:
        asked = [pool.submit(caller.http.get, "/jobs") for _ in range(60)]
        time.sleep(12.0)  # a request waits 10 s for a connection
        caller.cluster.turn(DATABASE, "pass")
        answers = {each.result().status_code for each in asked}
    assert answers <= {200, 503}
    assert caller.http.get("/jobs").status_code == 200


def test_a_worker_that_slept_longer_than_its_lease_writes_nothing_when_it_wakes(caller):
    job = caller.submit(epochs=30)
    pid = int(caller.reach(job, 3)["worker"].split(":")[1])
    asleep = next(worker for worker in caller.cluster.workers if pid in worker.family)
    asleep.signal_all(signal.SIGSTOP)
    wait_until(lambda: caller.job(job)["attempt"] == 2, LEASE + 15)
    epoch = caller.job(job)["epoch"]
    caller.reach(job, epoch + 2)  # the new one is at work
    asleep.signal_all(signal.SIGCONT)
    caller.wait(job)
    assert caller.job(job)["attempt"] == 2


def test_without_a_reconciler_a_dead_workers_job_waits_and_is_not_lost(caller):
    job = caller.submit(epochs=20)
    pid = int(caller.reach(job, 3)["worker"].split(":")[1])
    family = {each for worker in caller.cluster.workers for each in worker.family}
    reconcilers = [each for each in family if "worker.reconciler" in command_line(each)]
    assert len(reconcilers) == WORKERS
    for each in reconcilers:
        os.kill(each, signal.SIGSTOP)
    os.kill(pid, signal.SIGKILL)
    time.sleep(LEASE + 4.0)
    assert caller.job(job)["state"] == "running"
    for each in reconcilers:
        os.kill(each, signal.SIGCONT)
    caller.wait(job)
    assert caller.job(job)["attempt"] == 2


def test_a_cancel_at_any_moment_ends_the_job_once(caller):
    jobs = [caller.submit() for _ in range(20)]
    for number, job in enumerate(jobs):
        time.sleep(0.1 if number % 2 else 0.25)
        caller.promises.cancels.add(job)
        assert caller.http.post(f"/jobs/{job}/cancel").status_code in (200, 202, 409)
    wait_until(lambda: caller.ended(*jobs), 60)
    states = [caller.job(job)["state"] for job in jobs]
    assert set(states) <= {"cancelled", "succeeded"}
    assert "cancelled" in states


def test_a_model_file_deleted_by_hand_fails_what_needs_it_with_a_reason(caller):
    first = caller.submit()
    caller.wait(first)
    with psycopg.connect(caller.cluster.database_url, row_factory=psycopg.rows.dict_row) as connection:
        version = connection.execute("SELECT * FROM model_versions WHERE job_id = %s", [first]).fetchone()
    path = caller.cluster.artifacts / str(version["account_id"]) / version["sha256"]
    data = path.read_bytes()
    path.unlink()
    second = caller.submit("stage2", stage1_model_version_id=str(version["id"]))
    wait_until(lambda: caller.ended(second), 60)
    assert (caller.job(second)["state"], caller.job(second)["error_code"]) == ("failed", "broken_checkpoint")
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])  # a flipped bit
    third = caller.submit("stage2", stage1_model_version_id=str(version["id"]))
    wait_until(lambda: caller.ended(third), 60)
    assert (caller.job(third)["state"], caller.job(third)["error_code"]) == ("failed", "broken_checkpoint")
    path.write_bytes(data)
