"""Two accounts: every endpoint that names something answers 404 for somebody else's, and changes nothing."""

import re

import pytest

from service.registry.tables import Job, Stage
from tests.builders import (
    add_epochs,
    add_evaluation,
    add_population,
    add_recorded,
    crown,
    on_sqlite,
    row_counts,
)

pytestmark = on_sqlite
SPEED = [2.5] * 5
NO_ID = {
    "/datasets": {"post", "get"},
    "/jobs": {"get"},
    "/models": {"get"},
    "/subjects": {"get"},
    "/healthz": {"get"},
    "/readyz": {"get"},
    "/metrics": {"get"},
}


@pytest.fixture
def theirs(database, store, make_dataset, make_version):
    """Everything that the account `default` has, by the name of its path parameter or field."""
    base, dataset = make_version(), make_dataset(subject="anna")
    own_base = make_version(add_population(database), Stage.BASE, seed=5)
    version = make_version(dataset, seed=1)
    crown(database, dataset.subject_id, base, version)
    add_evaluation(database, version, dataset, 5.0)
    add_evaluation(database, base, dataset, 8.0)
    with database.reading() as session:
        job = session.get_one(Job, version.job_id)
    add_epochs(database, job, 2)
    return {
        "dataset_id": dataset.id,
        "job_id": job.id,
        "version_id": version.id,
        "subject": "anna",
        "own_base": own_base.id,
        "base": base.id,
        "workout_id": add_recorded(database, store, dataset).digest,
    }


def requests_with_ids(theirs):
    paths = [
        ("GET", "/datasets/{dataset_id}"),
        ("GET", "/datasets/{dataset_id}/report"),
        ("GET", "/datasets/{dataset_id}/report.png"),
        ("DELETE", "/datasets/{dataset_id}"),
        ("GET", "/jobs/{job_id}"),
        ("GET", "/jobs/{job_id}/metrics"),
        ("GET", "/jobs/{job_id}/history.json"),
        ("GET", "/jobs/{job_id}/curves.png"),
        ("GET", "/jobs/{job_id}/evaluation.png"),
        ("GET", "/jobs/{job_id}/events"),
        ("GET", "/jobs/{job_id}/log"),
        ("POST", "/jobs/{job_id}/cancel"),
        ("POST", "/jobs/{job_id}/retry"),
        ("GET", "/models/{version_id}"),
        ("GET", "/models/{version_id}/evaluation"),
        ("GET", "/models/{version_id}/download"),
        ("POST", "/models/{version_id}/promote"),
        ("GET", "/subjects/{subject}"),
        ("DELETE", "/subjects/{subject}"),
        ("GET", "/subjects/{subject}/workouts/{workout_id}"),
        ("GET", "/subjects/{subject}/champion"),
        ("GET", "/subjects/{subject}/champion/history"),
        ("POST", "/subjects/{subject}/champion/rollback"),
    ]
    dataset = {"dataset_id": str(theirs["dataset_id"])}
    bodies = [
        ("/jobs/base", dataset),
        ("/jobs/fleet", {"dataset_ids": [dataset["dataset_id"]]}),
        ("/jobs/stage1", dataset),
        ("/jobs/stage2", dataset),
        ("/predict", {"speed": SPEED, "subject": "anna"}),
        ("/predict", {"speed": SPEED, "model_version_id": str(theirs["version_id"])}),
        ("/predict", {"speed": SPEED, "model_version_id": str(theirs["own_base"])}),
        ("/predict/plan", {"distance": [0, 500], "heart_rate_cap": 150, "subject": "anna"}),
        ("/predict/batch", {"requests": [{"speed": SPEED, "subject": "anna"}]}),
    ]
    return [(*path, None) for path in paths] + [("POST", path, body) for path, body in bodies]


def test_the_list_of_requests_below_covers_every_operation(client, theirs):
    tried = {(path, method.lower()) for method, path, _ in requests_with_ids(theirs)}
    operations = {
        (path, method) for path, methods in client.get("/openapi.json").json()["paths"].items() for method in methods
    }
    assert operations - tried == {(path, method) for path, methods in NO_ID.items() for method in methods}


def test_somebody_elses_things_are_not_found(client, stranger, database, theirs):
    stranger.get("/jobs")
    before = row_counts(database)
    for method, pattern, body in requests_with_ids(theirs):
        path = pattern.format(**theirs)
        response = stranger.request(method, path, **({"json": body} if body else {}))
        assert response.status_code == 404, (method, path, response.text)
        assert response.json()["code"].endswith("_not_found"), response.text
        assert re.search(r"anna", response.text) is None
    assert row_counts(database) == before


def test_the_owner_finds_them(client, theirs):
    for method, pattern, _ in requests_with_ids(theirs):
        if method == "GET":
            assert client.get(pattern.format(**theirs)).status_code == 200, pattern


def test_lists_show_ones_own_only(stranger, theirs):
    for path in ("/datasets", "/jobs", "/subjects"):
        assert stranger.get(path).json()["items"] == [], path
    assert [item["id"] for item in stranger.get("/models").json()["items"]] == [str(theirs["base"])]
    for query in ("subject=anna", f"dataset_id={theirs['dataset_id']}"):
        assert stranger.get(f"/jobs?{query}").json()["items"] == []
        assert stranger.get(f"/models?{query}").json()["items"] == []


def test_a_start_version_of_somebody_else_is_not_found(stranger, database, make_dataset, theirs):
    mine = make_dataset(account="stranger")
    for stage, field, version in (
        ("stage1", "base_model_version_id", theirs["own_base"]),
        ("stage2", "stage1_model_version_id", theirs["version_id"]),
    ):
        response = stranger.post(f"/jobs/{stage}", json={"dataset_id": str(mine.id), field: str(version)})
        assert (response.status_code, response.json()["errors"][0]["pointer"]) == (404, f"/{field}")


def test_the_shipped_bases_scores_on_other_peoples_data_stay_theirs(client, stranger, database, make_dataset, theirs):
    assert client.get(f"/models/{theirs['base']}/evaluation").json()["score"] == 8.0
    assert stranger.get(f"/models/{theirs['base']}/evaluation").status_code == 404
    query = f"dataset_id={theirs['dataset_id']}"
    assert stranger.get(f"/models/{theirs['base']}/evaluation?{query}").json()["code"] == "dataset_not_found"


def test_the_same_names_and_keys_in_two_accounts_do_not_meet(client, stranger):
    headers = {"Idempotency-Key": "same"}
    mine = client.post("/datasets?subject=anna", content=b"x", headers=headers).json()
    yours = stranger.post("/datasets?subject=anna", content=b"y", headers=headers).json()
    assert mine["id"] != yours["id"]
    assert [item["id"] for item in stranger.get("/datasets?subject=anna").json()["items"]] == [yours["id"]]
