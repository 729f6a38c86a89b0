"""A recorded workout beside its prediction."""

import numpy as np
import pytest

from hrmodel.workouts.simulate import simulate_runner
from hrmodel.workouts.workout import MARKS, Workout
from tests.builders import add_workout, crown, on_sqlite

pytestmark = on_sqlite


@pytest.fixture
def recorded() -> Workout:
    """A simulated run with a spike that was taken as missing."""
    workout = simulate_runner(workouts=1, seed=3)[0]
    heart_rate, marks = np.array(workout.heart_rate), np.zeros(len(workout.t), dtype=np.uint16)
    heart_rate[40:50], marks[40:50] = np.nan, MARKS["heart_rate_spike"]
    return Workout(t=workout.t, speed=workout.speed, altitude=workout.altitude, heart_rate=heart_rate, marks=marks)


@pytest.fixture
def shown(client, database, store, make_dataset, make_version, recorded):
    """What the API shows of it."""
    dataset = make_dataset(subject="anna")
    make_version()
    crown(database, dataset.subject_id, make_version(dataset, seed=1))
    digest = add_workout(database, store, dataset, recorded.to_bytes()).digest
    answer = client.get(f"/subjects/anna/workouts/{digest}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_rows_are_steps_and_equally_long(shown, recorded):
    steps = len(shown["t"])
    assert steps == int(recorded.t[-1] // 10) + 1
    for name in ("speed", "altitude", "heart_rate"):
        assert len(shown[name]) == steps, name
    for prediction in shown["predictions"]:
        assert {len(prediction[name]) for name in ("heart_rate", "lower", "upper")} == {steps}


def test_the_forecast_knows_the_first_three_minutes_and_the_blind_one_nothing(client, shown, recorded):
    blind, forecast = shown["predictions"]
    assert [blind["name"], forecast["name"]] == ["blind", "forecast_180"]
    rows = {"t": recorded.t.tolist(), "speed": recorded.speed.tolist(), "altitude": recorded.altitude.tolist()}
    asked = client.post("/predict", json={"subject": "anna", **rows}).json()
    first_of_step = np.searchsorted(recorded.t // 10, np.arange(len(shown["t"])))
    assert blind["heart_rate"] == pytest.approx(np.array(asked["heart_rate"])[first_of_step].tolist(), abs=0.02)
    assert forecast["heart_rate"] != blind["heart_rate"]


def test_errors_are_of_the_steps_that_were_not_observed(shown):
    forecast = shown["predictions"][1]
    measured, predicted = np.array(shown["heart_rate"], float), np.array(forecast["heart_rate"], float)
    later = (np.array(shown["t"]) >= 180) & np.isfinite(measured)
    assert forecast["mae"] == pytest.approx(np.abs(measured - predicted)[later].mean(), abs=0.02)
    assert forecast["bias"] == pytest.approx((measured - predicted)[later].mean(), abs=0.02)


def test_sensor_faults_are_stretches_of_time(shown, recorded):
    [fault] = shown["faults"]
    assert fault == {"code": "heart_rate_spike", "begins": recorded.t[40], "ends": recorded.t[49], "samples": 10}


def test_zones_of_measured_and_predicted_are_of_the_same_steps(shown):
    measured = 10.0 * sum(value is not None for value in shown["heart_rate"])
    for zones in (shown["zones"], shown["predictions"][0]["zones"]):
        assert sum(zone["seconds"] for zone in zones) <= measured


def test_a_workout_of_another_subject_is_not_found(client, shown, make_dataset):
    make_dataset(subject="bert")
    answer = client.get(f"/subjects/bert/workouts/{shown['digest']}")
    assert (answer.status_code, answer.json()["code"]) == (404, "workout_not_found")


def test_a_workout_whose_file_is_gone_is_503_and_says_what_to_do(client, database, store, shown, make_dataset):
    dataset = make_dataset(subject="anna")
    store.delete(dataset.account_id, shown["digest"])
    answer = client.get(f"/subjects/anna/workouts/{shown['digest']}")
    assert (answer.status_code, answer.json()["code"]) == (503, "workout_unavailable")
