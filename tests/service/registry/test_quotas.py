"""How much one account may ask for: jobs, stored bytes and predictions a minute; correct also when all come at once."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import UUID

import pytest
from sqlalchemy import select

from service.registry import imports
from service.registry.tables import Dataset, DatasetState, JobState
from service.settings import Settings
from service.web.rate_limits import RateLimits
from tests.builders import add_workout, files_of, on_sqlite, row_counts
from tests.import_rows import a_file


@pytest.fixture
def settings(tmp_path):
    return Settings(
        state_dir=tmp_path,
        broker_url_setting="redis://127.0.0.1:1/0",
        max_upload_bytes=10_000,
        max_account_bytes=20_000,
        max_jobs=5,
        max_predictions_per_minute=12,
    )


def refused(response, code):
    assert (response.status_code, response.json()["code"]) == (429, code), response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    assert int(response.headers["Retry-After"]) >= 1
    return True


def at_once(count, act):
    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(act, range(count)))


@pytest.fixture
def unhurried(app):
    """No limit a minute: these tests are about the others."""
    app.state.services = replace(app.state.services, limits=RateLimits(1_000))


def test_of_twenty_submissions_at_once_with_a_limit_of_five_exactly_five_are_taken(
    client, sent, database, make_dataset, make_version, unhurried
):
    make_version()
    body = {"dataset_id": str(make_dataset().id)}
    answers = at_once(20, lambda _: client.post("/jobs/stage1", json=body))
    assert sorted(answer.status_code for answer in answers) == [202] * 5 + [429] * 15
    assert all(refused(answer, "too_many_jobs") for answer in answers if answer.status_code == 429)
    assert (row_counts(database)["jobs"], len(sent)) == (5, 5)


def test_twenty_uploads_and_retries_at_once_count_as_jobs_too(client, database, store, make_job, unhurried):
    failed = make_job(state=JobState.FAILED)
    answers = at_once(
        20,
        lambda n: (
            client.post(f"/jobs/{failed.id}/retry") if n % 2 else client.post("/datasets", content=f"{n}".encode())
        ),
    )
    assert sorted(answer.status_code for answer in answers) == [202] * 5 + [429] * 15
    assert row_counts(database)["jobs"] == 6
    uploads = {answer.request.content for answer in answers if answer.status_code == 202} - {b""}
    assert len(files_of(store, failed.account_id)) == len(uploads)  # a refused upload leaves no file


@on_sqlite
def test_jobs_that_ended_and_those_of_others_do_not_count(client, stranger, make_job, make_dataset, make_version):
    make_version()
    dataset = make_dataset()
    for state in (*[JobState.SUCCEEDED] * 5, *[JobState.QUEUED] * 4):
        make_job(dataset, state=state)
    body = {"dataset_id": str(dataset.id)}
    assert client.post("/jobs/stage1", json=body).status_code == 202
    assert refused(client.post("/jobs/stage1", json=body), "too_many_jobs")
    theirs = make_dataset(account="stranger")
    assert stranger.post("/jobs/stage1", json={"dataset_id": str(theirs.id)}).status_code == 202


@on_sqlite
def test_a_repeated_request_gets_its_job_also_at_the_limit(client, make_dataset, make_version, make_job):
    make_version()
    dataset, headers = make_dataset(), {"Idempotency-Key": "once"}
    first = client.post("/jobs/stage1", json={"dataset_id": str(dataset.id)}, headers=headers)
    for _ in range(4):
        make_job(dataset)
    again = client.post("/jobs/stage1", json={"dataset_id": str(dataset.id)}, headers=headers)
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])


def test_uploads_at_once_never_store_more_than_the_account_may(client, database, store, unhurried):
    answers = at_once(5, lambda n: client.post("/datasets", content=f"{n}".encode() * 8_000))
    assert sorted(answer.status_code for answer in answers) == [202, 202, 429, 429, 429]
    assert all(refused(answer, "too_many_bytes") for answer in answers if answer.status_code == 429)
    with database.reading() as session:
        account_id = session.scalars(select(Dataset.account_id)).first()
    assert sum(file.stat().st_size for file in files_of(store, account_id)) == 16_000


@on_sqlite
def test_imported_workouts_count_and_a_deleted_dataset_makes_room(client, database, store, make_dataset):
    counts = dict.fromkeys(("train_workouts", "val_workouts", "test_workouts", "dropped_workouts"), 0)
    dataset = make_dataset(upload_size=1_000_000, **counts)  # of a ready dataset the upload is gone
    add_workout(database, store, dataset, b"w" * 15_000)
    assert refused(client.post("/datasets", content=b"x" * 6_000), "too_many_bytes")
    assert client.post("/datasets", content=b"x" * 4_000).status_code == 202
    assert client.delete(f"/datasets/{dataset.id}").status_code == 204
    assert client.post("/datasets", content=b"y" * 6_000).status_code == 202


@on_sqlite
def test_rows_of_a_report_count_so_that_many_tiny_files_fill_an_account_too(client, database):
    dataset_id = UUID(client.post("/datasets", content=b"x").json()["id"])
    with database.unit_of_work() as session:
        imports.finish(session, dataset_id, [], [a_file(f"{n}.gpx") for n in range(40)], digest="d", level=None)
    assert refused(client.post("/datasets", content=b"x" * 6_000), "too_many_bytes")
    assert client.post("/datasets", content=b"x" * 3_000).status_code == 202


@on_sqlite
def test_a_repeated_upload_gets_its_dataset_also_at_the_limit(client, make_dataset):
    headers = {"Idempotency-Key": "once"}
    first = client.post("/datasets", content=b"x" * 9_000, headers=headers)
    make_dataset(state=DatasetState.QUEUED, upload_size=11_000)
    again = client.post("/datasets", content=b"x" * 9_000, headers=headers)
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])


@on_sqlite
def test_predictions_a_minute_are_counted_by_account_and_a_batch_counts_each_of_its_own(connect, make_version):
    make_version()
    one, two, other = connect("predict"), connect("predict"), connect("predict", account="b")
    assert one.post("/predict/batch", json={"requests": [{"speed": [2.5]}] * 10}).status_code == 200
    assert two.post("/predict", json={"speed": [2.5]}).status_code == 200
    assert one.post("/predict", json={"speed": [2.5]}).status_code == 200
    assert refused(two.post("/predict", json={"speed": [2.5]}), "rate_limited")
    assert other.post("/predict", json={"speed": [2.5]}).status_code == 200


@on_sqlite
def test_a_limit_is_looked_at_before_the_body_is_read(app, connect):
    client = connect("predict")
    app.state.services = replace(app.state.services, limits=RateLimits(0))
    assert refused(client.post("/predict", content=b"{" * 1000), "rate_limited")
