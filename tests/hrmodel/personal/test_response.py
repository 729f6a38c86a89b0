import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrmodel.personal.response import NAMES, Response, response_features, running_mean
from hrmodel.signals.contract import FeatureContract
from hrmodel.signals.grid import GriddedWorkout, to_grid
from hrmodel.workouts.workout import Array, Workout
from tests.prediction_builders import LEVEL, make_gridded, make_response

CONTRACT = FeatureContract()
WHOLE = ("mean_speed", "speed_spread", "duration", "hilliness")


def recorded(steps: int = 60, *, gap_at: int | None = None, **channels: Array) -> Workout:
    """A hilly workout of changing speed; from step `gap_at` on it is 300 s later."""
    t = np.arange(steps) * 10.0
    if gap_at is not None:
        t[gap_at:] += 300.0
    place = np.arange(steps) * 10.0
    values = {"speed": 2.9 + 0.6 * np.sin(place / 90), "altitude": 20 * np.sin(place / 150)}
    return Workout(t=t, **{**values, **channels})


def columns(workout: Workout | GriddedWorkout) -> dict[str, Array]:
    gridded = to_grid(workout) if isinstance(workout, Workout) else workout
    return dict(zip(NAMES, response_features(gridded, LEVEL, CONTRACT).T, strict=True))


def slow_mean(values: Array, memory: float) -> Array:
    """Each value's weight falls by exp(-10 s / memory) per step; what came before the segment counts as 0."""
    keep = np.exp(-10.0 / memory)
    return np.array([sum((1 - keep) * keep ** (i - j) * values[j] for j in range(i + 1)) for i in range(len(values))])


def test_every_step_has_sixteen_features_in_the_order_of_their_names():
    workout = recorded()
    features = columns(workout)
    assert response_features(to_grid(workout), LEVEL, CONTRACT).shape == (60, 16)
    speed = (workout.speed - LEVEL.speed) / 0.55  # in the population's spread: a weight means the same for everybody
    climb = np.gradient(workout.altitude, 10.0) / 0.2
    seconds = np.arange(60) * 10.0
    expected = {"level": np.ones(60), "speed": speed, "climb": climb, "drift": seconds / 1800 - 1}
    expected |= {f"speed_{memory}s": slow_mean(speed, memory) for memory in (30, 120, 600)}
    expected |= {f"climb_{memory}s": slow_mean(climb, memory) for memory in (30, 120, 600)}
    expected |= {f"rise_{rise}s": np.exp(-seconds / rise) for rise in (60, 300)}
    expected["mean_speed"] = np.full(60, speed.mean())
    expected["speed_spread"] = np.full(60, workout.speed.std() / 0.3 - 1)
    expected["duration"] = np.full(60, -1.0)
    expected["hilliness"] = np.full(60, np.abs(climb).mean() - 0.5)
    assert set(expected) == set(NAMES)
    for name, values in expected.items():
        np.testing.assert_allclose(features[name], values, atol=1e-9, err_msg=name)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), known=st.floats(0, 1))
def test_no_feature_depends_on_heart_rate(seed, known):
    rng = np.random.default_rng(seed)
    blind = recorded(gap_at=25)
    heart_rate = np.where(rng.random(60) < known, rng.normal(150, 40, 60), np.nan)
    without, having = (
        response_features(to_grid(workout), LEVEL, CONTRACT)
        for workout in (blind, replace(blind, heart_rate=heart_rate))
    )
    assert without.tobytes() == having.tobytes()


def test_unknown_speed_and_altitude_count_as_usual():
    missing = np.r_[np.full(10, np.nan), np.full(50, LEVEL.speed + 0.55)]
    features = columns(recorded(speed=missing, altitude=np.full(60, np.nan)))
    assert (features["speed"][:10] == 0).all()
    np.testing.assert_allclose(features["speed"][10:], 1.0)
    assert (features["speed_120s"][:10] == 0).all()
    assert features["mean_speed"][0] == pytest.approx(50 / 60)
    for name in NAMES:
        if name.startswith("climb"):
            assert (features[name] == 0).all(), name
    assert (features["hilliness"] == -0.5).all()


def test_a_workout_at_the_usual_speed_without_altitude_differs_from_the_usual_by_time_alone():
    features = columns(recorded(300, speed=np.full(300, LEVEL.speed), altitude=np.full(300, np.nan)))
    of_effort = [name for name in NAMES if name.startswith(("speed", "climb")) and name != "speed_spread"]
    for name in (*of_effort, "mean_speed", "duration"):
        assert np.allclose(features[name], 0), name


def test_running_means_equal_a_slow_reference():
    values = np.random.default_rng(0).normal(1, 2, 80)
    for memory in (30.0, 600.0):
        np.testing.assert_allclose(running_mean(values, memory), slow_mean(values, memory), atol=1e-12)
    assert running_mean(np.empty(0), 30.0).shape == (0,)


def test_running_means_start_anew_after_a_recording_gap_and_time_goes_on():
    gapped = recorded(60, gap_at=25)
    second = replace(gapped, t=gapped.t[25:] - gapped.t[25], speed=gapped.speed[25:], altitude=gapped.altitude[25:])
    whole, alone = columns(gapped), columns(second)
    for name in NAMES:
        if name.startswith(("speed", "climb")) and name != "speed_spread":
            assert np.array_equal(whole[name][25:], alone[name]), name
    assert whole["rise_300s"][25] == pytest.approx(np.exp(-550 / 300))
    assert whole["drift"][25] == pytest.approx(550 / 1800 - 1)
    assert all((whole[name] == whole[name][0]).all() for name in WHOLE)  # over both segments


def test_a_workout_that_starts_late_on_its_grid_has_the_features_of_one_that_starts_at_once():
    late = replace(recorded(), t=recorded().t + 1000.0)
    assert np.array_equal(columns(late)["drift"], columns(recorded())["drift"])
    assert columns(late)["rise_60s"][0] == 1.0


@pytest.mark.parametrize(("steps", "duration"), [(1, -1.0), (181, -1.0), (300, 0.0), (495, 1.0), (6000, 1.0)])
def test_very_short_and_very_long_workouts_are_not_drawn_on_beyond_what_is_usual(steps, duration):
    features = columns(make_gridded(np.full(steps, 150.0)))
    assert features["duration"][0] == pytest.approx(duration, abs=0.011)
    assert np.abs(features["duration"]).max() <= 1.0
    assert features["drift"].max() <= 7200 / 1800 - 1
    assert all(np.isfinite(values).all() for values in features.values())


def test_drift_stops_after_two_hours():
    drift = columns(make_gridded(np.full(1000, 150.0)))["drift"]
    assert drift[720] == 3.0
    assert (drift[720:] == 3.0).all()
    assert (np.diff(drift[:721]) > 0).all()


def test_a_response_survives_json():
    response = make_response(level=-3.25, climb_600s=0.1, variance=7.5)
    again = Response.from_dict(json.loads(json.dumps(response.to_dict())))
    assert np.array_equal(again.weights, response.weights)
    assert (again.variance, again.offset) == (7.5, -3.25)


@pytest.mark.parametrize("change", [{"level": None}, {"cadence": 1.0}])
def test_a_response_with_other_weights_is_refused(change):
    values = make_response().to_dict()
    weights = {name: weight for name, weight in (values["weights"] | change).items() if weight is not None}
    with pytest.raises(ValueError, match="a response has weights for level, speed"):
        Response.from_dict(values | {"weights": weights})


def test_a_wrong_speed_moves_no_feature_far():
    wrong = np.full(300, LEVEL.speed)
    usual = columns(recorded(300, speed=wrong.copy()))
    wrong[100] = 1000.0
    moved = {name: np.abs(values - usual[name]).max() for name, values in columns(recorded(300, speed=wrong)).items()}
    assert moved.pop("speed") == 6.0
    assert max(moved.values()) < 2.0
