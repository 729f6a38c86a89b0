"""Forecasts from every minute in one pass are those of one pass per minute, each with a view of its own."""

import resource
from dataclasses import replace

import numpy as np
import pytest

from hrmodel.evaluation.baselines import BASELINES
from hrmodel.evaluation.forecasters import EvaluationData, NetworkForecaster
from hrmodel.evaluation.protocols import PROTOCOLS, Task
from hrmodel.personal.state import PersonState
from hrmodel.prediction.predictor import Predictor
from hrmodel.signals.contract import FeatureContract
from hrmodel.signals.grid import GriddedWorkout, Segment, to_grid
from hrmodel.signals.scale import fit_scale
from hrmodel.signals.steps import elapsed_steps, measured_heart_rate
from hrmodel.workouts.sandbox.reading import read_workouts
from hrmodel.workouts.simulate import simulate_runner
from hrmodel.workouts.workout import Workout
from tests.prediction_builders import make_checkpoint, make_predictor, make_response, report_of
from tests.shared_data import personal_parquet

RUNS = [to_grid(workout, workout.digest) for workout in simulate_runner(workouts=10, seed=5)]
LEVEL = fit_scale(RUNS, FeatureContract())
RESPONSE = make_response(level=3.0, speed=2.0, drift=-1.5)


def changed(workout: GriddedWorkout, *, lost=(), gap_at: int | None = None) -> GriddedWorkout:
    """The workout without the heart rate of these steps, and with a recording gap before a step."""
    (segment,) = workout.segments
    heart_rate = segment.heart_rate.copy()
    heart_rate[list(lost)] = np.nan
    if gap_at is None:
        return replace(workout, segments=(replace(segment, heart_rate=heart_rate),))
    parts = [(slice(0, gap_at), segment.first_step), (slice(gap_at, None), segment.first_step + gap_at + 14)]
    segments = tuple(
        Segment(first_step=first, speed=segment.speed[p], altitude=segment.altitude[p], heart_rate=heart_rate[p])
        for p, first in parts
    )
    return replace(workout, segments=segments)


WORKOUTS = {
    "whole": RUNS[0],
    "dropouts": changed(RUNS[1], lost=[*range(40, 43), *range(50, 130), 140, 142, 144]),
    "late_sensor": changed(RUNS[2], lost=range(31)),
    "gap": changed(RUNS[3], gap_at=61),
    "gap_and_late_sensor": changed(RUNS[4], lost=[*range(12, 70)], gap_at=43),
}


def one_pass_each(predictor: Predictor, workout: GriddedWorkout, task: Task, **known) -> np.ndarray:
    """The plain way: for each scored step a view that ends where the forecast begins."""
    elapsed, values = elapsed_steps(workout), []
    for target in np.flatnonzero(task.scored):
        view = np.where(elapsed <= elapsed[target] - task.horizon, task.view, np.nan)
        steps = predictor.predict_steps(workout, [view], **known)[0]
        values.append([steps.heart_rate[target], steps.blind[target], steps.kinds[target], steps.minutes[target]])
    return np.array(values)


def in_one_pass(predictor: Predictor, workout: GriddedWorkout, task: Task, **known) -> np.ndarray:
    steps = predictor.predict_ahead(workout, task.view, np.flatnonzero(task.scored), task.horizon, **known)
    return np.column_stack([steps.heart_rate, steps.blind, steps.kinds, steps.minutes])


@pytest.mark.parametrize("known", [{"level": LEVEL, "response": RESPONSE}, {"level": LEVEL}, {}])
@pytest.mark.parametrize("name", WORKOUTS)
def test_one_pass_for_all_origins_gives_what_a_pass_for_each_gives(name, known):
    workout, predictor = WORKOUTS[name], make_predictor(gain=2.0)
    task = PROTOCOLS["P3-30"](workout)
    expected = one_pass_each(predictor, workout, task, **known)
    np.testing.assert_allclose(in_one_pass(predictor, workout, task, **known), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("horizon", [1, 2, 3, 6, 9])
def test_it_does_so_at_every_step_and_any_number_of_steps_ahead(horizon):
    workout, predictor = WORKOUTS["gap"], make_predictor(gain=2.0)
    truth = measured_heart_rate(workout)
    task = Task(view=truth, scored=np.isfinite(truth) & (np.arange(len(truth)) < 90), horizon=horizon)
    known = {"level": LEVEL, "response": RESPONSE}
    expected = one_pass_each(predictor, workout, task, **known)
    np.testing.assert_allclose(in_one_pass(predictor, workout, task, **known), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", BASELINES)
def test_the_baselines_do_so_too(name):
    workout = WORKOUTS["gap_and_late_sensor"]
    data = EvaluationData(train=RUNS[5:8], val=RUNS[8:], test=[], level=LEVEL)
    baseline = BASELINES[name](data, lambda: None)
    state, task = PersonState.start(baseline.size), PROTOCOLS["P3-30"](workout)
    elapsed, expected = elapsed_steps(workout), []
    for target in np.flatnonzero(task.scored):
        view = np.where(elapsed <= elapsed[target] - 3, task.view, np.nan)
        expected.append(baseline.answers(workout, [view], state)[0].heart_rate[target])
    np.testing.assert_allclose(baseline.ahead(workout, task, state).heart_rate, expected, rtol=0, atol=1e-9)


def test_a_forecast_sees_nothing_of_the_last_30_seconds():
    workout, network = RUNS[6], NetworkForecaster(predictor=make_predictor(gain=4.0), level=LEVEL)
    task, state = PROTOCOLS["P3-30"](workout), PersonState.start(network.size)
    (place,) = np.flatnonzero(task.scored)[[5]]
    later = np.where(np.arange(len(task.view)) > place - 3, 240.0, task.view)
    one, other = (network.ahead(workout, replace(task, view=view), state) for view in (task.view, later))
    assert one.heart_rate[5] == other.heart_rate[5]
    assert one.heart_rate[6] != other.heart_rate[6]
    assert one.half_width["0.9"][5] == other.half_width["0.9"][5]


def test_it_does_so_on_recorded_runs_with_the_shipped_networks_size():
    workouts = []
    for workout in read_workouts(personal_parquet()):
        workouts.append(to_grid(workout, workout.digest))
        if len(workouts) == 3:
            break
    predictor = Predictor(make_checkpoint(gain=1.0, hidden=64))
    for workout in workouts:
        task = PROTOCOLS["P3-30"](workout)
        expected = one_pass_each(predictor, workout, task, level=LEVEL, response=RESPONSE)
        found = in_one_pass(predictor, workout, task, level=LEVEL, response=RESPONSE)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def a_day(hours: float = 24.0) -> GriddedWorkout:
    t = np.arange(0.0, hours * 3600, 10.0)
    heart_rate = 135 + 15 * np.sin(t / 300) + np.random.default_rng(0).normal(0, 2, len(t))
    workout = Workout(t=t, speed=2.5 + 0.4 * np.sin(t / 300), heart_rate=heart_rate, altitude=20 * np.sin(t / 900))
    return to_grid(workout, workout.digest)


def test_evaluating_a_workout_of_a_day_takes_little_memory():
    data = EvaluationData(train=RUNS[:7], val=RUNS[7:9], test=[a_day()], level=LEVEL)
    predictor = Predictor(make_checkpoint(gain=1.0, hidden=64))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    report = report_of(predictor, data)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150_000  # kB
    assert report["per_workout"][0]["minutes"] == 1440.0
