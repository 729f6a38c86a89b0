"""What is followed of a subject is of their newest workouts, whichever job, deletion or roll back comes after."""

from copy import deepcopy
from uuid import UUID

import pytest
from sqlalchemy import select

from hrmodel.workouts.simulate import simulate_runner
from service.registry import datasets, model_versions, promotion, removal
from service.registry.tables import ChampionReason, Dataset, Evaluation, JobState, Tracked
from tests.builders import roll_back


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """Whatever SQL does here it does on PostgreSQL too: other tests see to that."""
    return sqlite_url


@pytest.fixture(scope="module")
def runs():
    """12 runs of one simulated person."""
    return simulate_runner(workouts=12)


@pytest.fixture
def two_uploads(upload, work, runs) -> tuple[UUID, UUID]:
    """The first 9 runs, then all 12."""
    first = upload(runs[:9])
    work()
    second = upload(runs)
    work()
    return first, second


def weights_of(context, version_id: UUID) -> dict[str, float]:
    with context.database.reading() as session:
        (row,) = session.scalars(select(Tracked).where(Tracked.model_version_id == version_id))
        return row.response["weights"]


def weights_after(context, version_id: UUID, dataset_id: UUID) -> dict[str, float]:
    with context.database.reading() as session:
        return model_versions.evaluation(session, version_id, dataset_id).report["tracking"]["response"]["weights"]


def base_of(context) -> UUID:
    with context.database.reading() as session:
        return model_versions.shipped(session).id


def version_of(context, job_id: UUID) -> UUID:
    with context.database.reading() as session:
        return model_versions.of_job(session, job_id).id


def test_a_job_on_an_older_dataset_leaves_the_newest_tracking(context, two_uploads, submit, work):
    first, second = two_uploads
    base = base_of(context)
    before = weights_of(context, base)
    job = submit(first, "stage1", start=base, epochs=1)
    work()
    version = version_of(context, job)
    assert before == weights_of(context, base) == weights_after(context, base, second)
    assert weights_of(context, version) == weights_after(context, version, second)
    assert weights_after(context, version, first) != weights_after(context, version, second)


def test_deleting_the_newest_dataset_goes_back_to_what_was_followed_before(context, two_uploads):
    first, second = two_uploads
    base = base_of(context)
    assert weights_of(context, base) != weights_after(context, base, first)
    with context.database.unit_of_work() as session:
        removal.remove_dataset(session, session.get_one(Dataset, second))
    assert weights_of(context, base) == weights_after(context, base, first)
    with context.database.reading() as session:
        assert datasets.newest_ready(session, session.get_one(Dataset, first).subject_id).id == first


@pytest.mark.slow
def test_a_version_that_served_before_follows_each_import_so_that_a_roll_back_serves_what_is_known(
    context, upload, submit, work, runs
):
    first = upload(runs[:9])
    work()
    jobs = [submit(first, "stage1", start=base_of(context), epochs=epochs) for epochs in (1, 2)]
    work()
    with context.database.unit_of_work() as session:
        subject = session.get_one(Dataset, first).subject_id
        for job in jobs:
            version = model_versions.of_job(session, job).id
            champion = promotion.require(session, subject)
            if champion.model_version_id != version:
                promotion.promote(
                    session, subject, version, reason=ChampionReason.FORCED, expected_revision=champion.revision
                )
    second = upload(runs)
    work()
    roll_back(context.database, subject)
    with context.database.reading() as session:
        serving = promotion.require(session, subject).model_version_id
    assert serving in {version_of(context, job) for job in jobs}
    assert weights_of(context, serving) == weights_after(context, serving, second)


def test_a_report_of_the_first_release_without_tracking_is_scored_anew(context, upload, submit, work, runs, job_row):
    dataset = upload(runs[:9])
    work()
    with context.database.unit_of_work() as session:
        for scored in session.scalars(select(Evaluation)):
            old = deepcopy(scored.report)
            del old["tracking"]
            scored.report = old
    job = submit(dataset, "stage1", start=base_of(context), epochs=1)
    work()
    assert job_row(job).state == JobState.SUCCEEDED
    assert weights_of(context, base_of(context)) == weights_after(context, base_of(context), dataset)
