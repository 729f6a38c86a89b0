"""POST /predict: which model answers at which level, in which units, and that nothing leaks."""

import json
from dataclasses import replace

import numpy as np
import pytest

from hrmodel.prediction.predictor import Predictor
from hrmodel.workouts.workout import Workout
from service.registry.tables import Stage, Subject
from service.web.rate_limits import RateLimits
from tests.builders import add_population, crown, make_default, on_sqlite, set_offset
from tests.prediction_builders import LEVEL, make_checkpoint, make_response, predict_one

pytestmark = on_sqlite
JSON = {"Content-Type": "application/json"}
SPEED = [2.5 + 0.3 * np.sin(i / 5) for i in range(40)]


@pytest.fixture
def base(make_version):
    """The base that came with the software."""
    return make_version(seed=7)


def post(client, **body):
    response = client.post("/predict", json={"speed": SPEED, **body})
    assert response.status_code == 200, response.text
    return response.json()


def expected(seed, *, level=None, offset=0.0, own_level=False, **channels):
    predictor = Predictor(make_checkpoint(seed=seed, level=LEVEL if own_level else None))
    workout = Workout(t=np.arange(40) * 10.0, speed=np.array(SPEED), **channels)
    response = make_response(level=offset) if offset else None
    return predict_one(predictor, workout, level=level, response=response)


def test_without_a_subject_the_base_answers_at_the_populations_level(client, base):
    answer = post(client)
    assert answer["heart_rate"] == pytest.approx(expected(7).heart_rate, abs=0.01)
    assert (answer["level"], answer["protocol"], answer["observed_until"]) == ("population", "blind", None)
    assert answer["model"] == {"version_id": str(base.id), "stage": "base", "subject": None}
    assert answer["step_seconds"] == 10.0
    assert all(
        low <= value <= high
        for low, value, high in zip(answer["lower"], answer["heart_rate"], answer["upper"], strict=True)
    )


def test_a_subjects_champion_answers_at_its_own_level_plus_the_persons_offset(
    client, database, base, make_dataset, make_version
):
    dataset = make_dataset()
    version = make_version(dataset, seed=3)
    crown(database, dataset.subject_id, base, version)
    set_offset(database, dataset.subject_id, version, 4.0)
    answer = post(client, subject="me")
    assert answer["heart_rate"] == pytest.approx(expected(3, own_level=True, offset=4.0).heart_rate, abs=0.01)
    assert answer["level"] == "subject"
    assert answer["model"] == {"version_id": str(version.id), "stage": "stage1", "subject": "me"}


def test_the_base_answers_a_known_subject_at_the_subjects_level(client, database, base, make_dataset):
    dataset = make_dataset()
    with database.unit_of_work() as session:
        session.get_one(Subject, dataset.subject_id).level = LEVEL.to_dict()
    crown(database, dataset.subject_id, base)
    set_offset(database, dataset.subject_id, base, -2.0)
    for body in ({"subject": "me"}, {"subject": "me", "model_version_id": str(base.id)}):
        answer = post(client, **body)
        assert answer["heart_rate"] == pytest.approx(expected(7, level=LEVEL, offset=-2.0).heart_rate, abs=0.01)
        assert (answer["level"], answer["model"]["stage"]) == ("subject", "base")


def test_a_subject_whose_upload_is_not_ready_gets_the_default_base(client, database, base, make_version):
    own = make_version(add_population(database), Stage.BASE, seed=5)
    make_default(database, own)
    client.post("/datasets?subject=new", content=b"x")
    assert post(client, subject="new")["model"]["version_id"] == str(own.id)
    assert post(client)["model"]["version_id"] == str(own.id)


def test_a_version_can_be_named_and_brings_its_own_subjects_level(client, database, base, make_dataset, make_version):
    dataset = make_dataset()
    version = make_version(dataset, seed=3)
    crown(database, dataset.subject_id, base)
    set_offset(database, dataset.subject_id, version, 4.0)
    for body in ({}, {"subject": "me"}):
        answer = post(client, model_version_id=str(version.id), **body)
        assert answer["heart_rate"] == pytest.approx(expected(3, own_level=True, offset=4.0).heart_rate, abs=0.01)
    make_dataset(subject="other")
    response = client.post("/predict", json={"speed": SPEED, "subject": "other", "model_version_id": str(version.id)})
    assert (response.status_code, response.json()["code"]) == (409, "wrong_subject")
    assert response.json()["errors"][0]["pointer"] == "/model_version_id"


def test_units_are_converted(client, base):
    altitude = [100.0 + i for i in range(40)]
    metric = post(client, altitude=altitude)
    for unit, speed in (
        ("km/h", [value * 3.6 for value in SPEED]),
        ("mi/h", [value / 0.44704 for value in SPEED]),
        ("min/km", [1000 / 60 / value for value in SPEED]),
    ):
        feet = [value / 0.3048 for value in altitude]
        answer = post(client, speed=speed, altitude=feet, units={"speed": unit, "altitude": "ft"})
        assert answer["heart_rate"] == pytest.approx(metric["heart_rate"], abs=0.02), unit


def test_times_and_a_step_say_the_same(client, base):
    assert post(client, step_seconds=5)["step_seconds"] == 5
    by_step, by_time = post(client, step_seconds=5), post(client, t=[5.0 * i for i in range(40)])
    assert by_step["heart_rate"] == by_time["heart_rate"]
    assert by_time["step_seconds"] is None


def test_a_prefix_makes_a_forecast_and_everything_a_nowcast(client, base):
    observed = [120] * 18 + [None] * 22
    forecast = post(client, heart_rate=observed)
    assert (forecast["protocol"], forecast["observed_until"]) == ("forecast", 180.0)
    assert post(client, heart_rate=[120] * 40)["protocol"] == "nowcast"
    assert post(client, heart_rate=[None] * 40)["protocol"] == "blind"
    assert post(client, heart_rate=observed, correct=False)["heart_rate"] != forecast["heart_rate"]


def test_a_wider_band_for_more_coverage(client, base):
    narrow, wide = post(client, coverage=0.5), post(client, coverage=0.99)
    assert all(a > b for a, b in zip(narrow["lower"], wide["lower"], strict=True))


def test_missing_values_are_taken_and_answered(client, base):
    speed = [None if 10 <= i < 20 else value for i, value in enumerate(SPEED)]
    answer = post(client, speed=speed, altitude=[None] * 40)
    assert len(answer["heart_rate"]) == 40
    assert np.isfinite(answer["heart_rate"]).all()


def test_a_speed_that_nobody_runs_counts_as_missing(client, base):
    speed = [2.8] * 120
    answers = [post(client, speed=[*speed[:50], one, *speed[51:]]) for one in (None, 12.1, 90.0)]
    assert answers[0]["heart_rate"] == answers[1]["heart_rate"] == answers[2]["heart_rate"]
    assert answers[0]["heart_rate"] != post(client, speed=[*speed[:50], 6.0, *speed[51:]])["heart_rate"]


def test_one_sample_is_a_workout(client, base):
    assert len(client.post("/predict", json={"speed": [2.5]}).json()["heart_rate"]) == 1


def test_a_batch_answers_as_the_single_requests_do(client, database, base, make_dataset, make_version):
    dataset = make_dataset()
    crown(database, dataset.subject_id, make_version(dataset, seed=3))
    bodies = [{"speed": SPEED}, {"speed": SPEED[:10], "subject": "me", "heart_rate": [130] * 5 + [None] * 5}]
    answers = client.post("/predict/batch", json={"requests": bodies}).json()["predictions"]
    assert answers == [client.post("/predict", json=body).json() for body in bodies]


@pytest.mark.parametrize(
    ("requests", "pointer"),
    [
        ([], "/requests"),
        ([{"speed": [2.5]}] * 65, "/requests"),
        ([{"speed": [2.5]}, {"speed": [2.5, "x"]}], "/requests/1/speed/1"),
        ([{"speed": [2.5]}, {"speed": [2.5, -1]}], "/requests/1/speed/1"),
        ([{"speed": [2.5]}, {"speed": [2.5], "subject": "nobody"}], "/requests/1/subject"),
    ],
)
def test_one_wrong_request_refuses_the_batch_and_is_named(client, base, requests, pointer):
    response = client.post("/predict/batch", json={"requests": requests})
    assert response.status_code in (404, 422)
    assert response.json()["errors"][0]["pointer"] == pointer


def test_a_version_without_its_file_is_a_503(client, store, base):
    store.delete(None, base.sha256)
    response = client.post("/predict", json={"speed": SPEED})
    assert (response.status_code, response.json()["code"]) == (503, "model_unavailable")
    assert int(response.headers["Retry-After"]) > 0


def test_without_any_base_the_answer_is_503(client):
    response = client.post("/predict", json={"speed": SPEED})
    assert (response.status_code, response.json()["code"]) == (503, "no_base_model")


@pytest.mark.parametrize("prefix", [0, 60, 180, 420])
@pytest.mark.parametrize("subject", [None, "me"])
def test_no_output_sees_its_own_or_a_later_heart_rate_at_1_hz(
    client, database, base, make_dataset, make_version, prefix, subject
):
    """Change any heart rate at or after t, and no output at or before t moves."""
    dataset = make_dataset()
    crown(database, dataset.subject_id, make_version(dataset, seed=3))
    seconds = 480
    speed = [2.6 + 0.5 * np.sin(i / 40) for i in range(seconds)]
    observed = [110.0 + i / 20 if i < prefix or i % 7 == 0 else None for i in range(seconds)]
    body = {"speed": speed, "step_seconds": 1, **({"subject": subject} if subject else {})}
    before = client.post("/predict", json={**body, "heart_rate": observed}).json()["heart_rate"]
    for at in (0, 5, 10, 59, 60, 63, 175, 185, 301, 420, 479):
        changed = [value if i < at or value is None else 200.0 for i, value in enumerate(observed)]
        after = client.post("/predict", json={**body, "heart_rate": changed}).json()["heart_rate"]
        assert after[: at + 1] == before[: at + 1], at


def test_a_later_output_does_move(client, base):
    speed, observed = SPEED, [120.0] * 20 + [None] * 20
    before = post(client, speed=speed, heart_rate=observed)["heart_rate"]
    after = post(client, speed=speed, heart_rate=[150.0, *observed[1:]])["heart_rate"]
    assert before != after


def test_a_body_that_takes_the_ordinary_way_gets_the_same_answer_and_counts_once(app, client, base):
    app.state.services = replace(app.state.services, limits=RateLimits(2))
    usual, escaped = json.dumps({"speed": SPEED}), json.dumps({"speed": SPEED}).replace("speed", "\\u0073peed")
    answers = [client.post("/predict", content=body, headers=JSON) for body in (usual, escaped, usual)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[0].json() == answers[1].json()


def test_errors_are_alike_on_both_ways(client, connect, base):
    for body in ({"speed": SPEED, "subject": "nobody"}, {"speed": [-1.0]}):
        usual = json.dumps(body)
        answers = [
            client.post("/predict", content=text, headers=JSON) for text in (usual, usual.replace("p", "\\u0070"))
        ]
        problems = [{**answer.json(), "request_id": None} for answer in answers]
        assert problems[0] == problems[1]
        assert [answer.status_code for answer in answers] == [problems[0]["status"]] * 2
        assert {answer.headers["content-type"] for answer in answers} == {"application/problem+json"}
    assert connect().post("/predict", json={"speed": SPEED}).status_code == 401
    assert connect("read").post("/predict", json={"speed": SPEED}).status_code == 403
    assert client.post("/predict", content=usual, headers={"Content-Type": "text/plain"}).status_code == 415
