"""POST /jobs/{base,stage1,stage2}: what may be asked for, and when."""

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from hrmodel.training.stages import resolve
from service.operations.queue import TRAINING
from service.registry.tables import DatasetState, JobState, Stage
from tests.builders import add_population, on_sqlite, row_counts


@pytest.fixture(autouse=True)
def shipped(make_version):
    """The base that comes with the software."""
    return make_version()


def submit(client, stage, dataset, **fields):
    return client.post(f"/jobs/{stage}", json={"dataset_id": str(dataset.id), **fields})


@on_sqlite
def test_stage1_is_queued_from_the_default_base_and_a_hint_goes_out(client, sent, make_dataset, shipped):
    response = submit(client, "stage1", make_dataset())
    job = response.json()
    assert response.status_code == 202
    assert response.headers["Location"] == f"/jobs/{job['id']}"
    assert (job["state"], job["stage"], job["subject"]) == ("queued", "stage1", "me")
    assert job["start_model_version_id"] == str(shipped.id)
    assert client.get(f"/jobs/{job['id']}").json() == job
    assert sent == [TRAINING]


@on_sqlite
def test_the_resolved_configuration_is_stored_with_explicit_values_over_the_recipe(client, make_dataset):
    job = submit(client, "stage1", make_dataset(), recipe="original", hyperparameters={"epochs": 7, "seed": 3}).json()
    expected = {**resolve("stage1", "original", {"epochs": 7, "seed": 3}, workouts=20).to_dict(), "recipe": "original"}
    assert job["configuration"] == expected
    assert (job["epoch"], job["epochs"]) == (0, 7)


@on_sqlite
def test_the_recipes_old_name_seed_is_taken_and_stored_as_original(client, make_dataset):
    job = submit(client, "stage1", make_dataset(), recipe="seed").json()
    assert job["configuration"] == {**resolve("stage1", "original", {}, workouts=20).to_dict(), "recipe": "original"}


@on_sqlite
def test_stage2_starts_from_the_newest_succeeded_stage1(client, make_dataset, make_version):
    dataset = make_dataset()
    make_version(dataset, seed=1)
    newest = make_version(dataset, seed=2)
    job = submit(client, "stage2", dataset).json()
    assert (job["start_model_version_id"], job["depends_on"]) == (str(newest.id), None)


@on_sqlite
@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.RUNNING])
def test_stage2_waits_for_a_stage1_that_still_trains(client, make_dataset, make_job, state):
    dataset = make_dataset()
    first = make_job(dataset, Stage.STAGE1, state=state)
    job = submit(client, "stage2", dataset).json()
    assert (job["start_model_version_id"], job["depends_on"]) == (None, str(first.id))


@on_sqlite
@pytest.mark.parametrize("state", [None, JobState.FAILED, JobState.CANCELLED])
def test_stage2_without_a_stage1_is_a_conflict_and_nothing_is_sent(client, sent, make_dataset, make_job, state):
    dataset = make_dataset()
    if state:
        make_job(dataset, Stage.STAGE1, state=state)
    response = submit(client, "stage2", dataset)
    assert (response.status_code, response.json()["code"]) == (409, "stage1_required")
    assert sent == []


@on_sqlite
def test_stage2_takes_a_named_stage1_of_the_same_subject_only(client, make_dataset, make_version):
    dataset, other = make_dataset(), make_dataset(subject="other")
    mine, theirs = make_version(dataset), make_version(other)
    assert submit(client, "stage2", dataset, stage1_model_version_id=str(mine.id)).status_code == 202
    response = submit(client, "stage2", dataset, stage1_model_version_id=str(theirs.id))
    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"] == "/stage1_model_version_id"


@on_sqlite
def test_stage1_starts_from_a_base_only(client, make_dataset, make_version):
    dataset = make_dataset()
    personal = make_version(dataset)
    response = submit(client, "stage1", dataset, base_model_version_id=str(personal.id))
    assert (response.status_code, response.json()["code"]) == (422, "wrong_start_version")


@on_sqlite
@pytest.mark.parametrize("state", [DatasetState.QUEUED, DatasetState.IMPORTING])
def test_a_dataset_that_is_not_ready_cannot_train(client, sent, make_dataset, state):
    response = submit(client, "stage1", make_dataset(state=state))
    assert (response.status_code, response.json()["code"]) == (409, "dataset_not_ready")
    assert sent == []


@on_sqlite
def test_a_failed_dataset_cannot_train(client, make_dataset):
    response = submit(client, "stage1", make_dataset(state=DatasetState.FAILED))
    assert (response.status_code, response.json()["code"]) == (409, "dataset_failed")


@on_sqlite
def test_fewer_than_eight_workouts_cannot_train(client, make_dataset):
    response = submit(client, "stage1", make_dataset(train_workouts=7, val_workouts=0, test_workouts=0))
    assert (response.status_code, response.json()["code"]) == (409, "too_few_workouts")


@on_sqlite
def test_base_wants_a_population_and_the_stages_a_person(client, database, make_dataset):
    population = add_population(database)
    assert submit(client, "base", population).status_code == 202
    for stage, dataset in (("base", make_dataset()), ("stage1", population), ("stage2", population)):
        response = submit(client, stage, dataset)
        assert (response.status_code, response.json()["code"]) == (409, "wrong_dataset_kind"), stage


@on_sqlite
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("learning_rate", 1.0),
        ("learning_rate", "0.001"),
        ("batch_size", 0),
        ("batch_size", 8.5),
        ("epochs", 501),
        ("patience", 0),
        ("dropout", 0.9),
        ("weight_decay", -1),
        ("seed", -1),
        ("seed", True),
        ("momentum", 0.9),
    ],
)
def test_a_hyperparameter_out_of_its_bounds_is_named(client, make_dataset, name, value):
    response = submit(client, "stage1", make_dataset(), hyperparameters={name: value})
    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == [f"/hyperparameters/{name}"]


@on_sqlite
def test_a_layer_that_does_not_exist_is_named(client, make_dataset):
    response = submit(client, "stage1", make_dataset(), hyperparameters={"freeze_layers": [0, 2]})
    assert response.json()["errors"][0]["pointer"] == "/hyperparameters/freeze_layers/1"


def test_the_same_request_with_an_idempotency_key_is_done_once(client, sent, make_dataset):
    dataset = make_dataset()
    headers = {"Idempotency-Key": "once"}
    bodies = [{"dataset_id": str(dataset.id)}, {"dataset_id": str(dataset.id)}]
    first, second = (client.post("/jobs/stage1", json=body, headers=headers) for body in bodies)
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json() == second.json()
    assert sent == [TRAINING]
    other = {"dataset_id": str(dataset.id), "recipe": "original"}
    response = client.post("/jobs/stage1", json=other, headers=headers)
    assert (response.status_code, response.json()["code"]) == (409, "idempotency_key_reused")


def test_of_a_hundred_equal_submissions_at_once_one_becomes_a_job(client, sent, database, make_dataset):
    body = {"dataset_id": str(make_dataset().id)}
    client.get("/jobs")  # the key is known from here on
    before = row_counts(database)["jobs"]
    with ThreadPoolExecutor(100) as pool:
        posts = [
            pool.submit(client.post, "/jobs/stage1", json=body, headers={"Idempotency-Key": "k"}) for _ in range(100)
        ]
    answers = [post.result() for post in posts]
    assert {answer.status_code for answer in answers} == {202}, [answer.text for answer in answers]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert row_counts(database)["jobs"] == before + 1
    assert sent == [TRAINING]


@on_sqlite
def test_an_idempotency_key_of_a_refused_request_is_free_again(client, make_dataset, database):
    headers = {"Idempotency-Key": "k"}
    body = {"dataset_id": str(uuid4())}
    assert client.post("/jobs/stage1", json=body, headers=headers).status_code == 404
    assert row_counts(database)["idempotency_keys"] == 0
    assert client.post("/jobs/stage1", json={"dataset_id": str(make_dataset().id)}, headers=headers).status_code == 202
