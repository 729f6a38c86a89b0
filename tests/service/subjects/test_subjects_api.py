"""Subjects over HTTP: who serves them, back one step, and gone for good."""

import time

import pytest

from service.registry.tables import JobState, Stage
from tests.builders import (
    add_epochs,
    add_evaluation,
    add_job,
    add_workout,
    crown,
    files_of,
    on_sqlite,
    row_counts,
    set_offset,
)


@on_sqlite
def test_a_subject_shows_who_serves_them(client, database, make_dataset, make_version):
    base, dataset = make_version(), make_dataset()
    make_dataset(subject="new")
    crown(database, dataset.subject_id, base)
    new, me = client.get("/subjects").json()["items"]
    assert (new["name"], new["champion"]) == ("new", None)
    assert (me["name"], me["champion"]["model_version_id"], me["champion"]["revision"]) == ("me", str(base.id), 0)
    shown = client.get("/subjects/me").json()
    assert {**me, "why": shown["why"]} == shown
    response = client.get("/subjects/new/champion")
    assert (response.status_code, response.json()["code"]) == (404, "no_champion")


@on_sqlite
def test_the_champion_stands_beside_the_base_on_the_same_workouts(client, database, make_dataset, make_version):
    base, dataset = make_version(), make_dataset()
    version = make_version(dataset, seed=1)
    crown(database, dataset.subject_id, base, version)
    add_evaluation(database, base, dataset, 8.0)
    add_evaluation(database, version, dataset, 5.0)
    set_offset(database, dataset.subject_id, version, -1.5)
    champion = client.get("/subjects/me/champion").json()
    assert (champion["subject"], champion["stage"], champion["offset"]) == ("me", "stage1", -1.5)
    assert (champion["evaluation"]["mae"], champion["base"]["mae"]) == ({"P1": 5.0}, {"P1": 8.0})
    assert champion["base"]["model_version_id"] == str(base.id)
    assert champion["evaluation"]["baselines"] == {"training_mean": {"P1": 9.0}}


def test_rolling_back_goes_one_step_back_and_is_in_the_history(client, database, make_dataset, make_version):
    base, dataset = make_version(), make_dataset()
    version = make_version(dataset, seed=1)
    crown(database, dataset.subject_id, base, version)
    champion = client.post("/subjects/me/champion/rollback").json()
    assert (champion["model_version_id"], champion["revision"]) == (str(base.id), 2)
    history = client.get("/subjects/me/champion/history").json()["items"]
    assert [(row["revision"], row["reason"]) for row in history] == [(2, "rollback"), (1, "promoted"), (0, "first")]
    response = client.post("/subjects/me/champion/rollback")
    assert (response.status_code, response.json()["code"]) == (409, "nothing_to_roll_back")


def test_the_history_comes_in_pages(client, database, make_dataset, make_version):
    base, dataset = make_version(), make_dataset()
    crown(database, dataset.subject_id, base, make_version(dataset, seed=1), make_version(dataset, seed=2))
    first = client.get("/subjects/me/champion/history?limit=2").json()
    rest = client.get("/subjects/me/champion/history", params={"cursor": first["next_cursor"]}).json()
    assert [row["revision"] for row in first["items"] + rest["items"]] == [2, 1, 0]
    assert rest["next_cursor"] is None


@on_sqlite
def test_a_version_whose_file_is_gone_is_not_rolled_back_to(client, database, store, make_dataset, make_version):
    dataset = make_dataset()
    lost, serving = make_version(dataset, seed=1), make_version(dataset, seed=2)
    crown(database, dataset.subject_id, lost, serving)
    store.delete(dataset.account_id, lost.sha256)
    response = client.post("/subjects/me/champion/rollback")
    assert (response.status_code, response.json()["code"]) == (503, "model_unavailable")
    assert client.get("/subjects/me/champion").json()["model_version_id"] == str(serving.id)


def test_a_deleted_person_leaves_no_row_and_no_file(client, database, store, make_dataset, make_version):
    base = make_version()
    before, kept = row_counts(database), make_dataset(subject="kept")
    others = add_workout(database, store, kept, b"shared")
    theirs = make_version(kept, seed=9)
    with_other = row_counts(database)
    dataset = make_dataset()
    add_workout(database, store, dataset, b"shared")
    add_workout(database, store, dataset, b"mine", 1)
    first = make_version(dataset, seed=1)
    second = make_version(dataset, Stage.STAGE2, seed=2, parent_id=first.id)
    latest = store.put(dataset.account_id, b"a checkpoint in between")
    add_epochs(database, add_job(database, dataset, state=JobState.FAILED, latest_sha256=latest), 2)
    crown(database, dataset.subject_id, base, first, second)
    for version in (base, first, second):
        add_evaluation(database, version, dataset, 5.0)
        set_offset(database, dataset.subject_id, version, 1.0)
    assert client.delete("/subjects/me").status_code == 204
    after = row_counts(database)
    assert after == {**with_other, "api_keys": after["api_keys"]}
    assert before["model_versions"] == 1
    assert {path.name for path in files_of(store, kept.account_id)} == {others.digest, theirs.sha256, theirs.pt_sha256}
    assert client.get("/subjects/me").status_code == 404
    assert client.post("/predict", json={"subject": "me", "speed": [2.5]}).status_code == 404


@on_sqlite
def test_a_deleted_persons_models_leave_memory(client, app, database, make_dataset, make_version):
    dataset = make_dataset()
    crown(database, dataset.subject_id, make_version(dataset))
    assert client.post("/predict", json={"subject": "me", "speed": [2.5]}).status_code == 200
    assert len(app.state.services.models) == 1
    client.delete("/subjects/me")
    assert (len(app.state.services.models), app.state.services.models.bytes) == (0, 0)


@on_sqlite
def test_a_person_whom_a_worker_is_busy_with_stays(client, database, make_dataset, make_job):
    make_job(make_dataset(), state=JobState.RUNNING, lease_until=time.time() + 60)
    before = row_counts(database)
    response = client.delete("/subjects/me")
    assert (response.status_code, response.json()["code"]) == (409, "subject_in_use")
    assert row_counts(database) == before


@on_sqlite
@pytest.mark.parametrize("cursor", ["x", "!!!!", "e30", "MjAyNi0wMS0wMQ", "bnVsbCBudWxs", "0" * 200, "ä"])
def test_a_cursor_that_we_did_not_make_is_refused(client, cursor):
    for path in ("/subjects", "/datasets", "/jobs", "/models"):
        response = client.get(path, params={"cursor": cursor})
        assert (response.status_code, response.json()["errors"][0]["pointer"]) == (422, "?cursor"), path
