"""A living worker takes everything that somebody may upload to hurt it, and goes on working."""

from itertools import islice

import pytest
from sqlalchemy import select

from service import queue
from service.registry.tables import Dataset, DatasetState, Job, JobState, Stage
from tests import hostile_files
from tests.processes import alive, command_line, descendants, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::UserWarning")]  # torch warns of what it makes
EACH = 4  # the readers are given all of them in test_hostile_files.py
ENDED = (JobState.SUCCEEDED, JobState.FAILED)


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """What the files do is the same on both."""
    return sqlite_url


def left_to_do(context) -> list[Job]:
    with context.database.reading() as session:
        return list(session.scalars(select(Job).where(Job.state.not_in(ENDED))))


def test_a_worker_lives_through_the_hostile_files_and_then_imports_a_good_one(
    context, upload, broker, start_worker, runner_workouts
):
    some = islice(hostile_files.small(), 0, None, EACH)
    hostile = {upload(content, name=name): name for name, content in some}
    worker = start_worker(broker)
    queue.BrokerSender(broker).send(queue.IMPORTS)
    wait_until(lambda: len(left_to_do(context)) < len(hostile), 120)
    running = {pid for pid in descendants(worker.pid) if "hrmodel.workouts.reader" not in command_line(pid)}
    wait_until(lambda: not left_to_do(context), 30 * 60)
    good = upload(runner_workouts, name="good.parquet")
    queue.BrokerSender(broker).send(queue.IMPORTS)
    wait_until(lambda: not left_to_do(context), 120)
    assert worker.poll() is None
    assert alive(running) == running
    with context.database.reading() as session:
        assert session.get_one(Dataset, good).state == DatasetState.READY
        jobs = session.scalars(select(Job).where(Job.stage == Stage.IMPORT, Job.dataset_id != good)).all()
        ends = {hostile[job.dataset_id]: (job.state, job.attempt, job.error_code) for job in jobs}
    assert len(ends) == len(hostile) > 50
    assert {attempt for _, attempt, _ in ends.values()} == {1}
    assert {code for _, _, code in ends.values()} <= {None, "unreadable_upload", "no_workouts", "several_people"}
    assert not list(context.store.root.rglob("*stagewise-hostile*"))
