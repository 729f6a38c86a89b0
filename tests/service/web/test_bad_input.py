"""Malformed requests: each gets a 4xx problem that points to the place, never a 5xx, and changes nothing."""

import json
import shutil
from uuid import uuid4

import pytest
from starlette.testclient import TestClient

from service.app import create_app
from service.registry.artifacts import ArtifactStore
from service.registry.session import Database
from service.registry.tables import DatasetState, JobState
from service.settings import Settings
from tests.builders import Sent, add_key, add_population, add_version, crown, row_counts


@pytest.fixture
def database_url(sqlite_url):
    return sqlite_url


SURROGATE = '"\\ud800"'
DEEP = "[" * 50
NOBODY = "00000000-0000-4000-8000-000000000000"


def raw(path, text, *, kind="application/json"):
    """A POST of exactly these bytes."""
    return (
        "POST",
        path,
        {"content": text if isinstance(text, bytes) else text.encode(), "headers": {"Content-Type": kind}},
    )


def predict(text):
    return raw("/predict", text)


def hyperparameters(text):
    return raw("/jobs/stage1", f'{{"dataset_id": "{NOBODY}", "hyperparameters": {text}}}')


def body(path, **fields):
    return ("POST", path, {"json": fields})


def speeds(**fields):
    return body("/predict", **{"speed": [2.5, 2.6, 2.7], **fields})


def route(**fields):
    return body("/predict/plan", **{"distance": [0, 500, 1000], "heart_rate_cap": 150, **fields})


def job(**fields):
    return body("/jobs/stage1", **{"dataset_id": NOBODY, **fields})


# name: request, status, pointer of the first error
CASES = {
    # what cannot be read
    "empty body": (predict(""), 422, ""),
    "not JSON": (predict("speed=2.5"), 400, ""),
    "cut short": (predict('{"speed": [2.5'), 400, ""),
    "trailing comma": (predict('{"speed": [2.5,]}'), 400, ""),
    "two documents": (predict('{"speed": [2.5]} {}'), 400, ""),
    "byte order mark": (predict(b"\xef\xbb\xbf{}"), 400, ""),
    "not UTF-8": (predict(b'{"subject": "\xff", "speed": [2.5]}'), 400, ""),
    "UTF-16": (predict('{"speed": [2.5]}'.encode("utf-16")), 400, ""),
    "nested deeply": (predict('{"speed": ' + DEEP + "]" * 50 + "}"), 400, None),
    "nested beyond any stack": (predict("[" * 100_000), 400, ""),
    "a key twice": (predict('{"speed": [2.5], "speed": [2.6]}'), 400, "/speed"),
    "a nested key twice": (
        predict('{"speed": [2.5], "units": {"speed": "m/s", "speed": "km/h"}}'),
        400,
        "/units/speed",
    ),
    "another content type": (raw("/predict", '{"speed": [2.5]}', kind="text/plain"), 415, None),
    "a form": (("POST", "/predict", {"data": {"speed": "2.5"}}), 415, None),
    "a body of 9 MB": (predict('{"speed": [' + "2.5," * 2_400_000 + "2.5]}"), 413, None),
    # numbers that are none
    "NaN": (predict('{"speed": [2.5, NaN]}'), 422, "/speed/1"),
    "Infinity": (predict('{"speed": [Infinity]}'), 422, "/speed/0"),
    "-Infinity": (predict('{"speed": [2.5], "coverage": -Infinity}'), 422, "/coverage"),
    "1e400": (predict('{"speed": [2.5, 2.5, 1e400]}'), 422, "/speed/2"),
    "10^5000": (predict('{"speed": [1' + "0" * 5000 + "]}"), 422, "/speed/0"),
    "10^400": (predict('{"speed": [2.5, 1' + "0" * 400 + "]}"), 422, "/speed/1"),
    "10^5000 as a seed": (
        hyperparameters('{"seed": 1' + "0" * 5000 + "}"),
        422,
        "/hyperparameters/seed",
    ),
    "NaN as a learning rate": (
        hyperparameters('{"learning_rate": NaN}'),
        422,
        "/hyperparameters/learning_rate",
    ),
    # texts that are none
    "a lone surrogate": (predict('{"speed": [2.5], "subject": ' + SURROGATE + "}"), 422, "/subject"),
    "a lone surrogate as a key": (predict("{" + SURROGATE + ": 1}"), 422, ""),
    "a lone surrogate among numbers": (predict('{"speed": [2.5, ' + SURROGATE + "]}"), 422, "/speed/1"),
    "a NUL": (predict('{"speed": [2.5], "subject": "a\\u0000b"}'), 422, "/subject"),
    "a control character": (speeds(subject="a\nb"), 422, "/subject"),
    # wrong types
    "a list": (predict("[]"), 422, ""),
    "null": (predict("null"), 422, ""),
    "a number": (predict("5"), 422, ""),
    "speed missing": (body("/predict", heart_rate=[100]), 422, "/speed"),
    "speed null": (speeds(speed=None), 422, "/speed"),
    "speed a number": (speeds(speed=2.5), 422, "/speed"),
    "speed a text": (speeds(speed="2.5"), 422, "/speed"),
    "speed an object": (speeds(speed={"0": 2.5}), 422, "/speed"),
    "a text among numbers": (speeds(speed=[2.5, "2.5"]), 422, "/speed/1"),
    "a boolean among numbers": (speeds(speed=[2.5, True]), 422, "/speed/1"),
    "a list among numbers": (speeds(speed=[[2.5]]), 422, "/speed/0"),
    "correct a text": (speeds(correct="yes"), 422, "/correct"),
    "coverage a text": (speeds(coverage="0.9"), 422, "/coverage"),
    "subject a number": (speeds(subject=5), 422, "/subject"),
    "an unknown field": (speeds(heartrate=[1, 2, 3]), 422, "/heartrate"),
    "a field with a pointer's characters": (speeds(**{"a/b~c": 1}), 422, "/a~1b~0c"),
    "units unknown": (speeds(units={"speed": "knots"}), 422, "/units/speed"),
    "an id that is none": (speeds(model_version_id="newest"), 422, "/model_version_id"),
    # rows that do not fit
    "no samples": (speeds(speed=[]), 422, "/speed"),
    "50,001 samples": (speeds(speed=[2.5] * 50_001), 422, "/speed"),
    "10^6 samples": (speeds(speed=[2.5] * 1_000_000), 422, "/speed"),
    "altitude shorter": (speeds(altitude=[1, 2]), 422, "/altitude"),
    "heart rate longer": (speeds(heart_rate=[100] * 4), 422, "/heart_rate"),
    "times shorter": (speeds(t=[0, 10]), 422, "/t"),
    "all speeds missing": (speeds(speed=[None, None]), 422, "/speed"),
    # values that cannot be
    "negative speed": (speeds(speed=[2.5, -0.1]), 422, "/speed/1"),
    "faster than anybody": (speeds(speed=[2.5, 2.5, 1e6]), 422, "/speed/2"),
    "km/h declared as m/s": (speeds(speed=[9.8, 10.1, 10.4]), 422, "/speed"),
    "m/s declared as km/h": (speeds(speed=[0.5, 0.6], units={"speed": "km/h"}), 422, "/speed"),
    "heart rate 0": (speeds(heart_rate=[100, 0, None]), 422, "/heart_rate/1"),
    "heart rate 300": (speeds(heart_rate=[None, None, 300]), 422, "/heart_rate/2"),
    "beyond the sky": (speeds(altitude=[0, 0, 30_000]), 422, "/altitude/2"),
    "coverage 1": (speeds(coverage=1), 422, "/coverage"),
    # times that do not work
    "a grid bomb": (speeds(speed=[2.5, 2.5], t=[0, 1e9]), 422, "/t/1"),
    "a gap over 1 h": (speeds(t=[0, 10, 3611]), 422, "/t/2"),
    "a span over 24 h": (speeds(speed=[2.5] * 30, t=[3000 * i for i in range(30)]), 422, "/t/29"),
    "times that repeat": (speeds(t=[0, 10, 10]), 422, "/t/2"),
    "times that go back": (speeds(t=[0, 20, 10]), 422, "/t/2"),
    "negative times": (speeds(t=[-10, 0, 10]), 422, "/t/0"),
    "clock times": (speeds(t=[1.7e9, 1.7e9 + 10, 1.7e9 + 20]), 422, "/t/0"),
    "a missing time": (speeds(t=[0, None, 20]), 422, "/t/1"),
    "t and step_seconds": (speeds(t=[0, 10, 20], step_seconds=10), 422, "/step_seconds"),
    "a step of 0": (speeds(step_seconds=0), 422, "/step_seconds"),
    "a step of 2 h": (speeds(step_seconds=7200), 422, "/step_seconds"),
    "50,000 samples at 10 s": (speeds(speed=[2.5] * 50_000), 422, "/speed"),
    # routes to plan
    "no route": (body("/predict/plan", heart_rate_cap=150), 422, "/distance"),
    "no cap": (body("/predict/plan", distance=[0, 500]), 422, "/heart_rate_cap"),
    "a cap of 79": (route(heart_rate_cap=79), 422, "/heart_rate_cap"),
    "a cap of 221": (route(heart_rate_cap=221), 422, "/heart_rate_cap"),
    "a cap as a text": (route(heart_rate_cap="150"), 422, "/heart_rate_cap"),
    "a NaN cap": (raw("/predict/plan", '{"distance": [0, 500], "heart_rate_cap": NaN}'), 422, "/heart_rate_cap"),
    "NaN in a route": (raw("/predict/plan", '{"distance": [0, NaN], "heart_rate_cap": 150}'), 422, "/distance/1"),
    "1e400 in a route": (raw("/predict/plan", '{"distance": [0, 1e400], "heart_rate_cap": 150}'), 422, "/distance/1"),
    "a point alone": (route(distance=[0]), 422, "/distance"),
    "2,001 points": (route(distance=list(range(2001))), 422, "/distance"),
    "a route as a text": (route(distance="10 km"), 422, "/distance"),
    "a text in a route": (route(distance=[0, "500"]), 422, "/distance/1"),
    "a route with a hole": (route(distance=[0, None, 1000]), 422, "/distance/1"),
    "a route that begins later": (route(distance=[10, 500]), 422, "/distance/0"),
    "a route that begins before": (route(distance=[-10, 500]), 422, "/distance/0"),
    "a route that stands still": (route(distance=[0, 500, 500]), 422, "/distance/2"),
    "a route that goes back": (route(distance=[0, 500, 400]), 422, "/distance/2"),
    "a route of 100 m": (route(distance=[0, 50, 100]), 422, "/distance"),
    "a route of 201 km": (route(distance=[0, 201_000]), 422, "/distance"),
    "a route beyond numbers": (route(distance=[0, 1e308], units={"distance": "km"}), 422, "/distance/1"),
    "a route in yards": (route(units={"distance": "yd"}), 422, "/units/distance"),
    "fewer altitudes": (route(altitude=[1, 2]), 422, "/altitude"),
    "an altitude missing": (route(altitude=[1, None, 2]), 422, "/altitude/1"),
    "a route beyond the sky": (route(altitude=[0, 0, 30_000]), 422, "/altitude/2"),
    "a highest heart rate of 90": (route(max_heart_rate=90), 422, "/max_heart_rate"),
    "a plan with a pace": (route(speed=[2.5]), 422, "/speed"),
    "a plan with coverage 1": (route(coverage=1), 422, "/coverage"),
    "a plan for an unknown subject": (route(subject="nobody"), 404, "/subject"),
    "a plan by an unknown version": (route(model_version_id=NOBODY), 404, "/model_version_id"),
    # ids and states
    "an unknown subject": (speeds(subject="nobody"), 404, "/subject"),
    "an unknown version": (speeds(model_version_id=NOBODY), 404, "/model_version_id"),
    "an unknown dataset": (job(), 404, "/dataset_id"),
    "a dataset that is no id": (job(dataset_id="mine"), 422, "/dataset_id"),
    "a dataset that is a number": (job(dataset_id=5), 422, "/dataset_id"),
    "an unknown recipe": (job(recipe="best"), 422, "/recipe"),
    "hyperparameters a list": (job(hyperparameters=[]), 422, "/hyperparameters"),
    "an unknown hyperparameter": (job(hyperparameters={"depth": 3}), 422, "/hyperparameters/depth"),
    "0 epochs": (job(hyperparameters={"epochs": 0}), 422, "/hyperparameters/epochs"),
    "a stage-1 field for stage 2": (
        body("/jobs/stage2", dataset_id=NOBODY, base_model_version_id=NOBODY),
        422,
        "/base_model_version_id",
    ),
    "force a text": (body(f"/models/{NOBODY}/promote", force="please"), 422, "/force"),
    "an unknown job": (("GET", f"/jobs/{NOBODY}", {}), 404, None),
    "a job that is no id": (("GET", "/jobs/stage3", {}), 422, "job_id"),
    "an unknown stage": (body("/jobs/stage3", dataset_id=NOBODY), 405, None),
    "a limit of 0": (("GET", "/jobs?limit=0", {}), 422, "?limit"),
    "a limit of 10^30": (("GET", "/jobs?limit=1" + "0" * 30, {}), 422, "?limit"),
    "a limit of nothing": (("GET", "/jobs?limit=", {}), 422, "?limit"),
    "a state that is none": (("GET", "/jobs?state=lost", {}), 422, "?state"),
    "a NUL in a query": (("GET", "/jobs?subject=a%00b", {}), 422, "?subject"),
    "bytes in a path": (("GET", "/subjects/%ff%fe%00", {}), 422, "subject"),
    "events behind 10^30": (("GET", f"/jobs/{NOBODY}/events?after=1" + "0" * 30, {}), 422, "?after"),
    "an upload for nobody": (("POST", "/datasets?subject=", {"content": b"x"}), 422, "?subject"),
    "an upload with a NaN limit": (
        ("POST", "/datasets?min_hr_per_minute=nan", {"content": b"x"}),
        422,
        "?min_hr_per_minute",
    ),
    "an upload of another kind": (("POST", "/datasets?kind=mine", {"content": b"x"}), 422, "?kind"),
    "an upload of rides": (("POST", "/datasets?sport=cycling", {"content": b"x"}), 422, "?sport"),
    "an upload in knots": (("POST", "/datasets?speed_unit=knots", {"content": b"x"}), 422, "?speed_unit"),
    "an empty upload": (("POST", "/datasets", {"content": b""}), 422, ""),
    "a multipart upload": (("POST", "/datasets", {"files": {"file": b"x"}}), 415, None),
    "an upload that is too large": (("POST", "/datasets", {"content": b"x" * 100_001}), 413, None),
    "an idempotency key with a space": (
        ("POST", "/datasets", {"content": b"x", "headers": {"Idempotency-Key": "a b"}}),
        422,
        "Idempotency-Key",
    ),
    "an idempotency key of 256 characters": (
        ("POST", "/datasets", {"content": b"x", "headers": {"Idempotency-Key": "k" * 256}}),
        422,
        "Idempotency-Key",
    ),
}


@pytest.fixture
def base(make_version):
    return make_version()


def refused(client, method, path, options):
    response = client.request(method, path, **options)
    assert 400 <= response.status_code < 500, (response.status_code, response.text[:300])
    assert response.headers["Content-Type"] == "application/problem+json"
    problem = response.json()
    assert set(problem) == {"type", "title", "status", "code", "detail", "errors", "request_id"}
    assert len(response.content) < 3000  # the input is not echoed
    return response.status_code, problem


@pytest.fixture(scope="module")
def lasting(tmp_path_factory, sqlite_template):
    """One service for all cases: what changes nothing needs no new one each time."""
    folder = tmp_path_factory.mktemp("lasting")
    database = Database(f"sqlite:///{shutil.copy(sqlite_template, folder / 'stagewise.sqlite3')}")
    store, sent = ArtifactStore(folder / "artifacts"), Sent()
    settings = Settings(state_dir=folder, broker_url_setting="redis://127.0.0.1:1/0", max_upload_bytes=100_000)
    add_version(database, store)
    with TestClient(create_app(settings, database, store, sent), raise_server_exceptions=False) as client:
        client.headers["Authorization"] = f"Bearer {add_key(database, 'admin')}"
        yield client, database, sent
    database.dispose()


@pytest.mark.parametrize("name", CASES)
def test_a_malformed_request_is_refused_with_its_place_and_changes_nothing(lasting, name):
    client, database, sent = lasting
    (method, path, options), status, pointer = CASES[name]
    before = row_counts(database)
    got, problem = refused(client, method, path, options)
    assert got == status, problem
    if pointer is not None:
        assert problem["errors"][0]["pointer"] == pointer, problem
    assert (row_counts(database), sent) == (before, [])


def test_the_likely_unit_is_named(client, base):
    _, problem = refused(client, *speeds(speed=[9.8, 10.1, 10.4]))
    assert "km/h" in problem["errors"][0]["message"]


def test_every_wrong_field_is_named_at_once(client, base):
    _, problem = refused(client, *job(dataset_id="x", recipe="y", hyperparameters={"epochs": 0, "seed": "z"}))
    assert {error["pointer"] for error in problem["errors"]} == {
        "/dataset_id",
        "/recipe",
        "/hyperparameters/epochs",
        "/hyperparameters/seed",
    }


def test_a_million_wrong_fields_give_a_short_answer(client, base):
    refused(client, *speeds(**{f"field{n}": n for n in range(20_000)}))
    refused(client, *predict(json.dumps({"speed": [2.5], "x": [[]] * 200_000})))


def test_a_long_key_is_not_echoed(client, base):
    refused(client, *speeds(**{"x" * 100_000: 1}))


def test_wrong_states_are_conflicts_that_change_nothing(client, database, base, make_dataset, make_job, make_version):
    waiting, small = make_dataset(state=DatasetState.QUEUED), make_dataset(train_workouts=3, val_workouts=0)
    ready, population = make_dataset(), add_population(database)
    finished, queued = make_job(ready, state=JobState.SUCCEEDED), make_job(ready)
    crown(database, ready.subject_id, base)
    before = row_counts(database)
    requests = [
        (body("/jobs/stage1", dataset_id=str(waiting.id)), "dataset_not_ready"),
        (body("/jobs/stage1", dataset_id=str(small.id)), "too_few_workouts"),
        (body("/jobs/stage1", dataset_id=str(population.id)), "wrong_dataset_kind"),
        (body("/jobs/base", dataset_id=str(ready.id)), "wrong_dataset_kind"),
        (body("/jobs/stage2", dataset_id=str(make_dataset(subject="x").id)), "stage1_required"),
        (("POST", f"/jobs/{finished.id}/cancel", {}), "job_finished"),
        (("POST", f"/jobs/{finished.id}/retry", {}), "job_not_retryable"),
        (("POST", f"/jobs/{queued.id}/retry", {}), "job_not_retryable"),
        (("GET", f"/jobs/{queued.id}/curves.png", {}), "no_epochs_yet"),
        (("GET", f"/jobs/{queued.id}/evaluation.png", {}), "no_evaluation_yet"),
        (("POST", f"/models/{base.id}/promote", {}), "not_personal"),
        (("POST", "/subjects/me/champion/rollback", {}), "nothing_to_roll_back"),
    ]
    before = row_counts(database)
    for request, code in requests:
        status, problem = refused(client, *request)
        assert (status, problem["code"]) == (409, code)
    assert row_counts(database) == {**before, "api_keys": before["api_keys"]}


def test_another_accounts_ids_are_not_found(client, stranger, base, make_dataset, make_version):
    dataset = make_dataset()
    version = make_version(dataset)
    for request in (
        body("/jobs/stage1", dataset_id=str(dataset.id)),
        speeds(model_version_id=str(version.id)),
        speeds(subject="me"),
        ("POST", f"/models/{version.id}/promote", {"json": {"force": True}}),
    ):
        assert refused(stranger, *request)[0] == 404


def test_values_at_the_edges_are_taken(client, base):
    for request in (
        speeds(speed=[0, 0, 0]),
        speeds(heart_rate=[25, 240, None]),
        speeds(altitude=[-400, 8849, None]),
        speeds(step_seconds=3600),
        speeds(t=[0, 3600, 7200]),
        speeds(t=[1e9 - 20, 1e9 - 10, 1e9]),
        speeds(speed=[2.5] * 50_000, step_seconds=1),
        speeds(speed=[0, 0, 6.0], units={"speed": "min/km"}),
        speeds(coverage=0.5),
        speeds(coverage=0.99),
        speeds(speed=[2]),
    ):
        method, path, options = request
        response = client.request(method, path, **options)
        assert response.status_code == 200, (str(options)[:80], response.text[:300])
        assert all(25 <= value <= 240 for value in response.json()["heart_rate"])


def test_routes_at_the_edges_are_planned(client, base):
    for request in (
        route(distance=[0, 200]),
        route(distance=[0, 0.001, 400]),
        route(heart_rate_cap=80),
        route(heart_rate_cap=220),
        route(altitude=[0, 8849, -400]),
        route(distance=[0, 0.2], units={"distance": "km"}),
        route(distance=[0, 0.5], altitude=[0, 100], units={"distance": "mi", "altitude": "ft"}, max_heart_rate=240),
    ):
        method, path, options = request
        response = client.request(method, path, **options)
        assert response.status_code == 200, (str(options)[:80], response.text[:300])
        assert all(25 <= value <= 240 for value in response.json()["heart_rate"])


def test_an_unknown_id_is_different_each_time(client, base):
    assert refused(client, "GET", f"/models/{uuid4()}", {})[0] == 404


def test_what_is_too_much_for_one_request_is_refused_and_its_bound_said(client, base):
    long, dense = {"speed": [2.5] * 1300, "step_seconds": 60}, {"speed": [2.5] * 40_000, "step_seconds": 1}
    for request, words in (
        (body("/predict/batch", requests=[long] * 5), "100 h"),
        (body("/predict/batch", requests=[dense] * 3), "100000 samples in all"),
        (predict("[" + '{"":0},' * 30_000 + "0]"), "4000 keys"),
        (raw("/jobs/stage1", f'{{"dataset_id": "{NOBODY}", "x": "{"x" * 70_000}"}}'), "65536 bytes"),
        (raw("/jobs/fleet", f'{{"subjects": "all", "x": "{"x" * 1_100_000}"}}'), "1048576 bytes"),
        (raw("/predict/plan", f'{{"distance": [{"1," * 30_000}1]}}'), "10000 values"),
    ):
        status, problem = refused(client, *request)
        assert status in (413, 422)
        assert words in problem["detail"], problem


def test_a_scope_is_looked_at_before_the_body_is_read(client, connect, base):
    reader = connect("read")
    for path in ("/predict", "/predict/batch", "/predict/plan", "/jobs/stage1", "/jobs/fleet"):
        assert refused(reader, *raw(path, "{" * 1000))[0] == 403
