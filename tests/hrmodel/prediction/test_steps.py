"""Predictions per step: forecasts from every minute at once are those with a view that ends at each minute."""

import resource
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from hrmodel.evaluation.baselines import BASELINES
from hrmodel.evaluation.forecasters import EvaluationData, NetworkForecaster, Question
from hrmodel.evaluation.protocols import PROTOCOLS, Task
from hrmodel.evaluation.report import Report
from hrmodel.personal.state import PersonState
from hrmodel.prediction.predictor import Predictor
from hrmodel.prediction.prepared import ObservedView, StepQuery
from hrmodel.signals.contract import FeatureContract
from hrmodel.signals.grid import GriddedWorkout, Segment, to_grid
from hrmodel.signals.scale import fit_scale
from hrmodel.signals.steps import elapsed_steps, measured_heart_rate
from hrmodel.workouts.sandbox.reading import read_workouts
from hrmodel.workouts.simulate import simulate_runner
from hrmodel.workouts.workout import Workout
from tests.prediction_builders import (
    answer_views,
    make_checkpoint,
    make_predictor,
    make_response,
    predict_views,
    report_of,
)
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
        (steps,) = predict_views(predictor, workout, [view], **known)
        values.append(
            [steps.heart_rate[target], steps.blind[target], steps.regimes[target], steps.lead_minutes[target]]
        )
    return np.array(values)


def in_one_pass(predictor: Predictor, workout: GriddedWorkout, task: Task, **known) -> np.ndarray:
    view = ObservedView(heart_rate=task.view, horizon=task.horizon)
    ((steps,),) = predictor.predict_steps([StepQuery(gridded=workout, views=[view], **known)])
    return np.column_stack([steps.heart_rate, steps.blind, steps.regimes, steps.lead_minutes])[task.scored]


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
        expected.append(answer_views(baseline, workout, [view], state)[0][target])
    ((answer,),) = baseline.answers([Question.of(workout, state, [task])])
    np.testing.assert_allclose(answer.heart_rate[task.scored], expected, rtol=0, atol=1e-9)


def test_a_forecast_sees_nothing_of_the_last_30_seconds():
    workout, network = RUNS[6], NetworkForecaster(predictor=make_predictor(gain=4.0), level=LEVEL)
    task, state = PROTOCOLS["P3-30"](workout), PersonState.start(network.size)
    place, following = np.flatnonzero(task.scored)[5:7]
    later = np.where(np.arange(len(task.view)) > place - 3, 240.0, task.view)
    tasks = [task, replace(task, view=later)]
    ((one, other),) = network.answers([Question.of(workout, state, tasks)])
    assert one.heart_rate[place] == other.heart_rate[place]
    assert one.heart_rate[following] != other.heart_rate[following]
    assert one.half_width["0.9"][place] == other.half_width["0.9"][place]


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


def test_what_a_workout_gets_does_not_depend_on_the_workouts_beside_it():
    predictor = Predictor(make_checkpoint(gain=1.0, hidden=64))

    def query(workout: GriddedWorkout) -> StepQuery:
        truth, task = measured_heart_rate(workout), PROTOCOLS["P3-30"](workout)
        start = np.where(np.arange(len(truth)) < 18, truth, np.nan)
        ahead = ObservedView(heart_rate=task.view, horizon=task.horizon)
        views = [ObservedView(heart_rate=np.full(len(truth), np.nan)), ObservedView(heart_rate=start), ahead]
        return StepQuery(gridded=workout, views=views, level=LEVEL, response=RESPONSE)

    workouts = [*WORKOUTS.values(), a_day(1.0)]
    together = predictor.predict_steps(map(query, workouts))
    for workout, predictions in zip(workouts, together, strict=True):
        (alone,) = predictor.predict_steps([query(workout)])
        for one, other in zip(predictions, alone, strict=True):
            np.testing.assert_allclose(one.heart_rate, other.heart_rate, rtol=0, atol=1e-6)
    outputs = predictor.blind_outputs(workouts, LEVEL)
    for workout, (_, network, hidden) in zip(workouts, outputs, strict=True):
        ((_, alone, hidden_alone),) = predictor.blind_outputs([workout], LEVEL)
        np.testing.assert_allclose(network, alone, rtol=0, atol=1e-7)
        np.testing.assert_allclose(hidden, hidden_alone, rtol=0, atol=1e-7)


def a_day(hours: float = 24.0) -> GriddedWorkout:
    t = np.arange(0.0, hours * 3600, 10.0)
    heart_rate = 135 + 15 * np.sin(t / 300) + np.random.default_rng(0).normal(0, 2, len(t))
    workout = Workout(t=t, speed=2.5 + 0.4 * np.sin(t / 300), heart_rate=heart_rate, altitude=20 * np.sin(t / 900))
    return to_grid(workout, workout.digest)


def with_pauses(workout: GriddedWorkout, steps: int) -> GriddedWorkout:
    """The same steps, with a pause of 70 s after so many of them."""
    (whole,) = workout.segments
    segments = [
        Segment(
            first_step=first + 7 * (first // steps),
            speed=whole.speed[first : first + steps],
            altitude=whole.altitude[first : first + steps],
            heart_rate=whole.heart_rate[first : first + steps],
        )
        for first in range(0, whole.steps, steps)
    ]
    bins = np.arange(whole.steps)
    return replace(workout, segments=tuple(segments), bin_of_sample=bins + 7 * (bins // steps))


def cpu_seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def evaluated(predictor: Predictor, *tests: GriddedWorkout) -> Report:
    return report_of(predictor, EvaluationData(train=RUNS[:7], val=RUNS[7:9], test=tests, level=LEVEL))


@pytest.mark.slow
def test_evaluating_a_workout_of_a_day_takes_little_memory():
    predictor = Predictor(make_checkpoint(gain=1.0, hidden=64))
    evaluated(predictor, a_day(0.5))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    report = evaluated(predictor, a_day())
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150_000  # kB
    assert report["per_workout"][0]["minutes"] == 1440.0


@pytest.mark.slow
@pytest.mark.parametrize("steps_of_a_segment", [8640, 4])
def test_evaluating_ten_times_the_steps_takes_at_most_twelve_times_the_work(steps_of_a_segment):
    """In one recording, and in one of which every minute is followed by a pause."""
    predictor = Predictor(make_checkpoint(gain=1.0, hidden=64))
    seconds = []
    for hours in (2.4, 24.0):
        workout = with_pauses(a_day(hours), steps_of_a_segment)
        seconds.append(min(cpu_seconds(partial(evaluated, predictor, workout)) for _ in range(3)))
    assert seconds[1] <= 12 * seconds[0]
