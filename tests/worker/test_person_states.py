"""A subject's state is that of their newest workouts, whichever job, deletion or roll back comes after."""

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from hrmodel.workouts.simulate import simulate_runner
from service.registry import datasets, model_versions, promotion, removal, serving
from service.registry.tables import ChampionReason, Dataset, Evaluation, JobState, PersonStateRow, Subject
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


def served(context, version_id: UUID) -> dict[str, Any]:
    """The state that answers the subject's next prediction by the version."""
    with context.database.reading() as session:
        account_id = session.scalars(select(Dataset.account_id)).first()
        name = session.scalars(select(Subject.name)).one()
        return serving.find(session, account_id, name, version_id).state.state


def state_after(context, version_id: UUID, dataset_id: UUID) -> dict[str, Any]:
    with context.database.reading() as session:
        after = PersonStateRow.dataset_id == dataset_id, PersonStateRow.model_version_id == version_id
        return session.scalars(select(PersonStateRow).where(*after)).one().state


def base_of(context) -> UUID:
    with context.database.reading() as session:
        return model_versions.shipped(session).id


def version_of(context, job_id: UUID) -> UUID:
    with context.database.reading() as session:
        return model_versions.of_job(session, job_id).id


def test_a_job_on_an_older_dataset_leaves_the_newest_state(context, two_uploads, submit, work):
    first, second = two_uploads
    base = base_of(context)
    before = served(context, base)
    job = submit(first, "stage1", start=base, epochs=1)
    work()
    version = version_of(context, job)
    assert before == served(context, base) == state_after(context, base, second)
    assert served(context, version) == state_after(context, version, second)
    assert state_after(context, version, first) != state_after(context, version, second)


def test_deleting_the_newest_dataset_goes_back_to_the_state_before_it(context, two_uploads):
    first, second = two_uploads
    base = base_of(context)
    assert served(context, base) != state_after(context, base, first)
    with context.database.unit_of_work() as session:
        removal.remove_dataset(session, session.get_one(Dataset, second))
    assert served(context, base) == state_after(context, base, first)
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
    assert served(context, serving) == state_after(context, serving, second)


def test_what_an_earlier_release_scored_is_scored_anew_with_the_whole_state(
    context, upload, submit, work, runs, job_row
):
    dataset, base = upload(runs[:9]), base_of(context)
    work()
    whole = served(context, base)
    with context.database.unit_of_work() as session:
        for scored in session.scalars(select(Evaluation)):
            scored.report = {**scored.report, "per_workout": []}
        for row in session.scalars(select(PersonStateRow)):
            row.state = {**row.state, "until": None}
    job = submit(dataset, "stage1", start=base, epochs=1)
    work()
    assert (job_row(job).state, job_row(job).result["decision"]["test_workouts"]) == (JobState.SUCCEEDED, 3)
    assert served(context, base) == whole


def test_a_champion_that_was_scored_on_these_workouts_is_not_scored_again(context, upload, submit, work, runs, job_row):
    dataset, base = upload(runs[:9]), base_of(context)
    work()
    with context.database.unit_of_work() as session:
        (scored,) = session.scalars(select(Evaluation)).all()
        rows = [{**row, "P1": 0.0, "P2-180": 0.0} for row in scored.report["per_workout"]]
        scored.report = {**scored.report, "per_workout": rows}
    job = submit(dataset, "stage1", start=base, epochs=1)
    work()
    assert job_row(job).result["decision"]["champion_score"] == 0.0
