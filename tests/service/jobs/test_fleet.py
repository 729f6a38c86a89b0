"""POST /jobs/fleet: a parent with a job per person and stage; fair, cancelled as one, and ended when all have ended."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, update

from hrmodel.training.stages import resolve
from service.operations.queue import TRAINING
from service.registry import fleets, jobs, turns
from service.registry.tables import Dataset, DatasetState, Job, JobEvent, JobState, Stage, Subject
from tests.builders import add_job, add_population, on_sqlite, row_counts


@pytest.fixture(autouse=True)
def shipped(make_version):
    """The base that comes with the software."""
    return make_version()


@pytest.fixture
def people(make_dataset):
    """Three people's datasets."""
    return [make_dataset(subject=name) for name in ("a", "b", "c")]


def submit(client, **body):
    return client.post("/jobs/fleet", json={"subjects": "all", **body})


def children(client, fleet):
    return client.get(f"/jobs?parent_id={fleet['id']}&limit=200").json()["items"]


def take(database):
    """A worker's claim and its job."""
    with database.unit_of_work() as session:
        claim = jobs.claim_next(session, "w", jobs.TRAINING_STAGES, 60.0)
        return (claim, session.get_one(Job, claim.job_id)) if claim else (None, None)


def end(database, claim, *, promote=False, code=None):
    with database.unit_of_work() as session:
        if code:
            assert jobs.fail(session, claim, code, "It did not work.")
        else:
            assert jobs.succeed(session, claim, {"decision": {"promote": promote}})


def reconcile(database):
    with database.unit_of_work() as session:
        jobs.reconcile(session)
    with database.unit_of_work() as session:
        return fleets.end_finished(session)


def test_everybody_gets_a_job_per_stage_and_stage_2_waits_for_its_stage_1(client, people, sent, shipped, make_dataset):
    make_dataset(subject="too few", train_workouts=3, val_workouts=0)
    response = submit(client)
    fleet = response.json()
    assert (response.status_code, response.headers["Location"]) == (202, f"/jobs/{fleet['id']}")
    assert sent == [TRAINING]
    assert (fleet["stage"], fleet["state"], fleet["progress"]) == ("fleet", "running", 0.0)
    assert (fleet["dataset_id"], fleet["subject"]) == (None, None)
    assert fleet["fleet"] == {
        "people": 3,
        "skipped": 1,
        "unchanged": 0,
        "jobs": {"queued": 6, "running": 0, "succeeded": 0, "failed": 0, "cancelled": 0},
        "promoted": 0,
        "errors": [],
    }
    assert client.get(f"/jobs/{fleet['id']}").json() == fleet
    theirs = children(client, fleet)
    firsts = {job["id"]: job for job in theirs if job["stage"] == "stage1"}
    seconds = [job for job in theirs if job["stage"] == "stage2"]
    assert {job["dataset_id"] for job in firsts.values()} == {str(dataset.id) for dataset in people}
    assert {job["start_model_version_id"] for job in firsts.values()} == {str(shipped.id)}
    for job in seconds:
        before = firsts[job["depends_on"]]
        assert (job["subject"], job["dataset_id"]) == (before["subject"], before["dataset_id"])
        assert job["start_model_version_id"] is None
    assert all(job["parent_id"] == fleet["id"] and job["fleet"] is None for job in theirs)


@on_sqlite
def test_jobs_of_a_fleet_are_configured_as_single_ones(client, people, make_dataset):
    make_dataset(subject="d", train_workouts=40)
    hyper = {"epochs": 3}
    fleet = submit(client, recipe="original", hyperparameters=hyper, stages=["stage1"]).json()
    theirs = {job["subject"]: job["configuration"] for job in children(client, fleet)}
    assert set(theirs) == {"a", "b", "c", "d"}
    for name, configuration in theirs.items():
        expected = resolve("stage1", "original", hyper, workouts=40 if name == "d" else 10)
        assert configuration == {**expected.to_dict(), "recipe": "original"}


@on_sqlite
def test_people_can_be_named_by_subject_or_dataset(client, people):
    for body in ({"subjects": ["c", "a"]}, {"subjects": None, "dataset_ids": [str(people[2].id), str(people[0].id)]}):
        fleet = submit(client, **body, stages=["stage1"]).json()
        assert [job["subject"] for job in children(client, fleet)] == ["a", "c"]  # a list's newest comes first


@on_sqlite
def test_the_newest_ready_dataset_of_a_person_counts(client, people, make_dataset):
    newer = make_dataset(subject="a")
    make_dataset(subject="a", state=DatasetState.FAILED)
    fleet = submit(client, subjects=["a"], stages=["stage1"]).json()
    assert [job["dataset_id"] for job in children(client, fleet)] == [str(newer.id)]


@on_sqlite
@pytest.mark.parametrize(
    ("body", "status", "pointer"),
    [
        ({"subjects": ["a", "nobody"]}, 404, "/subjects/1"),
        ({"subjects": ["a", "too few"]}, 409, "/subjects/1"),
        ({"subjects": ["a", "waits"]}, 409, "/subjects/1"),
        ({"subjects": ["a", "b", "a"]}, 422, "/subjects/2"),
        ({"subjects": None}, 422, "/dataset_ids"),
        ({"dataset_ids": [str(uuid4())]}, 422, "/dataset_ids"),
        ({"subjects": None, "dataset_ids": [str(uuid4())]}, 404, "/dataset_ids/0"),
        ({"subjects": []}, 422, None),
        ({"stages": ["stage2"]}, 422, "/stages"),
        ({"stages": ["stage2", "stage1"]}, 422, "/stages"),
        ({"base_model_version_id": str(uuid4())}, 404, "/base_model_version_id"),
        ({"hyperparameters": {"epochs": 0}}, 422, "/hyperparameters/epochs"),
    ],
)
def test_what_cannot_be_done_is_refused_whole_and_the_place_is_named(
    client, database, people, make_dataset, body, status, pointer
):
    make_dataset(subject="too few", val_workouts=0)
    make_dataset(subject="waits", state=DatasetState.IMPORTING)
    before = row_counts(database)
    response = submit(client, **body)
    assert response.status_code == status, response.text
    places = [error["pointer"] for error in response.json()["errors"]]
    assert places[0].startswith("/subjects") if pointer is None else places == [pointer]
    assert row_counts(database) == before


@on_sqlite
def test_strangers_and_populations_cannot_be_named(client, stranger, people, database):
    population = add_population(database)
    for who, dataset in ((stranger, people[0]), (client, population)):
        response = submit(who, subjects=None, dataset_ids=[str(dataset.id)])
        assert (response.status_code, response.json()["code"]) == (404, "dataset_not_found")
    response = submit(stranger, subjects=["a"])
    assert (response.status_code, response.json()["code"]) == (404, "subject_not_found")
    response = submit(stranger)
    assert (response.status_code, response.json()["code"]) == (409, "nobody_to_train")


@on_sqlite
def test_the_same_request_makes_one_fleet(client, people):
    headers = {"Idempotency-Key": "fleet-1"}
    made = [client.post("/jobs/fleet", json={"subjects": "all"}, headers=headers).json()["id"] for _ in range(2)]
    assert len(set(made)) == 1


def test_one_failure_stops_nobody_else_and_the_fleet_ends_with_its_last_job(client, database, people):
    fleet = submit(client).json()
    claim, _ = take(database)
    end(database, claim, code="non_finite_loss")
    done = 0
    while (taken := take(database))[0] is not None:
        assert reconcile(database) == 0
        end(database, taken[0], promote=taken[1].stage == Stage.STAGE2)
        done += 1
    assert done == 4
    assert reconcile(database) == 1
    assert reconcile(database) == 0
    shown = client.get(f"/jobs/{fleet['id']}").json()
    assert (shown["state"], shown["progress"], shown["error"]) == ("succeeded", 1.0, None)
    assert shown["finished_at"]
    assert shown["fleet"]["jobs"] == {"queued": 0, "running": 0, "succeeded": 4, "failed": 2, "cancelled": 0}
    assert shown["fleet"]["promoted"] == 2
    assert shown["fleet"]["errors"] == [
        {"code": "dependency_failed", "count": 1},
        {"code": "non_finite_loss", "count": 1},
    ]
    with database.reading() as session:
        said = session.scalars(select(JobEvent.event).where(JobEvent.job_id == UUID(fleet["id"]))).all()
    assert said == ["queued", "running", "succeeded"]


@on_sqlite
def test_progress_is_the_mean_of_the_jobs(client, database, people):
    fleet = submit(client, stages=["stage1"]).json()
    claims = [take(database)[0] for _ in range(2)]
    end(database, claims[0])
    with database.unit_of_work() as session:
        jobs.heartbeat(session, claims[1], 60.0, progress=0.5)
    assert client.get(f"/jobs/{fleet['id']}").json()["progress"] == pytest.approx(0.5)
    assert client.get("/jobs?stage=fleet").json()["items"][0]["progress"] == pytest.approx(0.5)


@on_sqlite
def test_a_fleet_of_which_nothing_succeeds_fails(client, database, people):
    fleet = submit(client).json()
    while (claim := take(database)[0]) is not None:
        end(database, claim, code="too_few_workouts")
    reconcile(database)
    shown = client.get(f"/jobs/{fleet['id']}").json()
    assert (shown["state"], shown["error"]["code"]) == ("failed", "fleet_failed")


def test_cancelling_a_fleet_cancels_what_waits_and_asks_what_runs(client, database, people):
    fleet = submit(client).json()
    claim, _ = take(database)
    shown = client.post(f"/jobs/{fleet['id']}/cancel").json()
    assert (shown["state"], shown["cancel_requested"]) == ("running", True)
    assert shown["fleet"]["jobs"]["cancelled"] == 5
    assert take(database)[0] is None
    assert reconcile(database) == 0
    with database.unit_of_work() as session:
        assert jobs.heartbeat(session, claim, 60.0).cancel_requested
        jobs.cancel_running(session, claim)
    assert reconcile(database) == 1
    assert client.get(f"/jobs/{fleet['id']}").json()["state"] == "cancelled"
    response = client.post(f"/jobs/{fleet['id']}/cancel")
    assert (response.status_code, response.json()["code"]) == (409, "job_finished")
    with database.reading() as session:
        ended = session.scalars(select(JobEvent.job_id).where(JobEvent.event == "cancelled")).all()
    assert len(ended) == len(set(ended)) == 7


@on_sqlite
def test_a_fleet_is_not_retried_but_its_jobs_are(client, database, people):
    fleet = submit(client, stages=["stage1"]).json()
    claim, job = take(database)
    end(database, claim, code="non_finite_loss")
    assert client.post(f"/jobs/{job.id}/retry").status_code == 202
    response = client.post(f"/jobs/{fleet['id']}/retry")
    assert (response.status_code, response.json()["code"]) == (409, "fleet_not_retryable")


@on_sqlite
def test_what_is_asked_of_a_fleet_as_of_a_job_has_an_answer(client, people):
    fleet = submit(client).json()
    for what, status in (("metrics", 200), ("history.json", 200), ("events", 200), ("log", 200), ("curves.png", 409)):
        assert client.get(f"/jobs/{fleet['id']}/{what}").status_code == status
    assert client.get(f"/jobs/{fleet['id']}/evaluation.png").json()["code"] == "no_evaluation_yet"


@on_sqlite
def test_a_fleet_counts_as_its_jobs_in_the_quota(database, settings, app, connect, people):
    services = app.state.services
    app.state.services = replace(services, settings=settings.model_copy(update={"max_jobs": 9}))
    client = connect("admin")
    assert submit(client).status_code == 202  # three people, two stages
    before = row_counts(database)
    response = submit(client, subjects=["a", "b"])
    assert (response.status_code, response.json()["code"]) == (429, "too_many_jobs")
    assert "6 queued and running jobs and asks for 4 more; 9 is the most" in response.json()["detail"]
    assert row_counts(database) == before
    assert submit(client, subjects=["a"]).status_code == 202
    single = {"dataset_id": str(people[0].id)}
    assert [client.post("/jobs/stage1", json=single).status_code for _ in range(2)] == [202, 429]


def test_a_persons_deletion_takes_their_jobs_and_the_fleet_still_ends(client, database, people):
    fleet = submit(client).json()
    assert client.delete("/subjects/b").status_code == 204
    assert client.get(f"/jobs/{fleet['id']}").json()["fleet"]["jobs"]["queued"] == 4
    while (claim := take(database)[0]) is not None:
        end(database, claim)
    assert reconcile(database) == 1
    assert client.get(f"/jobs/{fleet['id']}").json()["state"] == "succeeded"


@pytest.mark.parametrize("workers", [1, 3])
def test_one_job_behind_a_fleet_of_the_same_account_starts_within_two_job_lengths(
    client, database, make_dataset, workers
):
    for number in range(60):
        make_dataset(subject=f"p{number}")
    submit(client)
    running = [take(database)[0] for _ in range(workers)]
    late = add_job(database, make_dataset(subject="late"))
    started = []
    for _ in range(2 * workers):
        end(database, running.pop(0))
        claim, job = take(database)
        running.append(claim)
        started.append(job.id)
    assert late.id in started


@on_sqlite
def test_two_fleets_take_turns_and_each_finishes_one_person_after_the_other(client, database, people, make_dataset):
    first = submit(client, subjects=["a", "b"]).json()["id"]
    make_dataset(subject="d")
    second = submit(client, subjects=["c", "d"]).json()["id"]
    order = []
    while (taken := take(database))[0] is not None:
        order.append(taken[1])
        end(database, taken[0])
    assert [str(job.parent_id) for job in order] == [first, second] * 4
    own = [(job.dataset_id, job.stage) for job in order if str(job.parent_id) == first]
    assert own == [(person.id, stage) for person in people[:2] for stage in (Stage.STAGE1, Stage.STAGE2)]


def test_a_job_of_a_fleet_has_one_winner(client, database, people):
    submit(client, stages=["stage1"])
    with ThreadPoolExecutor(8) as pool:
        claims = [claim for claim, _ in pool.map(lambda _: take(database), range(8)) if claim]
    assert len({claim.job_id for claim in claims}) == len(claims) == 3


def test_thousands_are_posted_claimed_and_cancelled_without_a_long_wait(client, database, make_dataset):
    with database.unit_of_work() as session:
        first = make_dataset(subject="p")
        names = [Subject(account_id=first.account_id, name=f"p{number}") for number in range(1000)]
        session.add_all(names)
        session.flush()
        columns = {column.key: getattr(first, column.key) for column in Dataset.__table__.columns if column.key != "id"}
        session.add_all(Dataset(**{**columns, "subject_id": name.id}) for name in names)
    started = time.monotonic()
    fleet = submit(client).json()
    assert fleet["fleet"]["people"] == 1001
    posted = time.monotonic() - started
    for _ in range(5):
        assert take(database)[0] is not None
    claimed = time.monotonic() - started - posted
    client.post(f"/jobs/{fleet['id']}/cancel")
    cancelled = time.monotonic() - started - posted - claimed
    assert posted < 15  # 3 times what it takes on a busy machine
    assert claimed < 5
    assert cancelled < 15
    with database.reading() as session:
        assert turns.claimable(session, jobs.TRAINING_STAGES) == 0


@on_sqlite
def test_reconcilers_do_not_take_a_fleet_for_a_job_whose_worker_died(client, database, people):
    fleet = submit(client).json()
    with database.unit_of_work() as session:
        session.execute(update(Job).where(Job.stage == Stage.STAGE1).values(state=JobState.QUEUED))
    for _ in range(3):
        reconcile(database)
    assert client.get(f"/jobs/{fleet['id']}").json()["state"] == "running"


def finish_all(database):
    while (claim := take(database)[0]) is not None:
        end(database, claim)
    reconcile(database)


def test_a_second_fleet_trains_only_people_with_new_workouts(client, database, people, make_dataset):
    submit(client)
    again = submit(client).json()  # the jobs of the first still wait
    assert (again["fleet"]["people"], again["fleet"]["unchanged"], again["state"]) == (0, 3, "succeeded")
    finish_all(database)
    newer = make_dataset(subject="b")
    make_dataset(subject="too few", val_workouts=0)
    third = submit(client).json()
    assert (third["fleet"]["people"], third["fleet"]["skipped"], third["fleet"]["unchanged"]) == (1, 3, 2)
    assert {job["dataset_id"] for job in children(client, third)} == {str(newer.id)}


@on_sqlite
def test_a_fleet_of_nobody_ends_at_once_and_says_so(client, database, people):
    submit(client)
    finish_all(database)
    response = submit(client)
    shown = response.json()
    assert (response.status_code, shown["state"], shown["progress"]) == (202, "succeeded", 1.0)
    assert children(client, shown) == []
    assert client.get(f"/jobs/{shown['id']}").json() == shown
    with database.reading() as session:
        said = session.scalars(select(JobEvent.event).where(JobEvent.job_id == UUID(shown["id"]))).all()
    assert said == ["queued", "running", "succeeded"]


@on_sqlite
def test_who_failed_or_is_to_be_trained_otherwise_or_is_named_is_trained_again(client, database, people, make_version):
    submit(client, stages=["stage1"])
    claim, job = take(database)
    end(database, claim, code="internal_error")
    finish_all(database)
    again = submit(client, stages=["stage1"]).json()
    assert {each["dataset_id"] for each in children(client, again)} == {str(job.dataset_id)}
    finish_all(database)
    for other in ({"hyperparameters": {"epochs": 3}}, {"recipe": "original"}, {"subjects": ["a", "b", "c"]}):
        assert submit(client, **{"stages": ["stage1"], **other}).json()["fleet"]["people"] == 3, other
    assert submit(client).json()["fleet"]["people"] == 3  # stage 2 is new


@on_sqlite
def test_what_was_trained_under_the_recipes_old_name_is_not_trained_again(client, database, people):
    submit(client, recipe="original", stages=["stage1"])
    with database.unit_of_work() as session:
        for job in session.scalars(select(Job).where(Job.stage == Stage.STAGE1)):
            job.configuration = {**job.configuration, "recipe": "seed"}
    finish_all(database)
    assert submit(client, recipe="original", stages=["stage1"]).json()["fleet"]["unchanged"] == 3


@on_sqlite
def test_the_same_workouts_uploaded_again_are_no_new_ones(client, database, make_dataset):
    make_dataset(subject="a", digest="d" * 64)
    submit(client)
    finish_all(database)
    make_dataset(subject="a", digest="d" * 64)
    assert submit(client).json()["fleet"]["unchanged"] == 1
    make_dataset(subject="a", digest="e" * 64)
    assert submit(client).json()["fleet"]["unchanged"] == 0
