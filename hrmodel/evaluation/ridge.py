"""The strongest easy predictor: closed-form ridge regression on lagged speed and climb."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from hrmodel.personal.response import running_mean
from hrmodel.signals.grid import STEP_SECONDS, GriddedWorkout, Segment
from hrmodel.signals.steps import measured_heart_rate
from hrmodel.workouts.workout import Array

SPEED_LAGS = tuple(range(13))  # steps
CLIMB_LAGS = (0, 1, 2, 3, 6, 9, 12)
MEMORIES = (30.0, 60.0, 120.0, 300.0, 600.0)  # s, of the running means
PENALTIES = (1.0, 10.0, 100.0, 1e3, 1e4, 1e5)  # tried on validation, in units of one standardised step
WIDTH = len(SPEED_LAGS) + len(CLIMB_LAGS) + 2 * len(MEMORIES) + 3  # F
DEFAULT_PENALTY = 1e3  # without validation workouts
MAX_CLIMB = 2.0  # m/s


def fit_ridge(
    train: Sequence[GriddedWorkout],
    val: Sequence[GriddedWorkout],
    centre: float,
    on_workout: Callable[[], None] = lambda: None,
) -> Callable[[GriddedWorkout], Array]:
    """Fit heart rate minus `centre` (bpm) on `train`; the penalty with the lowest squared error on `val` stays.

    Gives a function workout -> (S,) bpm; the constant `centre` without a training step. One workout's features at a
    time are in memory; `on_workout` is called after each.
    """
    count, total, target_total = 0, np.zeros(WIDTH), 0.0
    for features, target in _tables(train, centre, on_workout):
        count, total, target_total = count + len(target), total + features.sum(axis=0), target_total + target.sum()
    if not count:
        return lambda workout: np.full(sum(segment.steps for segment in workout.segments), centre)
    mean, base = total / count, float(target_total / count)
    gram, moment, square = np.zeros((WIDTH, WIDTH)), np.zeros(WIDTH), np.zeros(WIDTH)
    for features, target in _tables(train, centre, on_workout):
        moved = features - mean
        gram, moment = gram + moved.T @ moved, moment + moved.T @ (target - base)
        square += (moved**2).sum(axis=0)
    deviation = np.sqrt(square / count)
    deviation[deviation < 1e-9] = 1.0
    gram, moment = gram / np.outer(deviation, deviation), moment / deviation
    fits = {penalty: np.linalg.solve(gram + penalty * np.eye(WIDTH), moment) for penalty in PENALTIES}
    weights = fits[_best_penalty(fits, mean, deviation, base, _tables(val, centre, on_workout))]
    return lambda workout: centre + base + (motion_table(workout) - mean) / deviation @ weights


def _best_penalty(
    fits: Mapping[float, Array], mean: Array, deviation: Array, base: float, tables: Iterable[tuple[Array, Array]]
) -> float:
    """The penalty with the lowest squared error over all steps; the default without any."""
    columns, errors, steps = np.stack(list(fits.values()), axis=1), np.zeros(len(fits)), 0
    for features, target in tables:
        error = (features - mean) / deviation @ columns + base - target[:, None]
        errors, steps = errors + (error**2).sum(axis=0), steps + len(target)
    return list(fits)[int(np.argmin(errors))] if steps else DEFAULT_PENALTY


def motion_table(workout: GriddedWorkout) -> Array:
    """(S, F) features of all steps; before a segment's start the person stood still."""
    start = workout.segments[0].first_step
    return np.concatenate([_segment_features(segment, segment.first_step - start) for segment in workout.segments])


def _segment_features(segment: Segment, first: int) -> Array:
    speed = np.nan_to_num(segment.speed, nan=_mean(segment.speed))
    climb = np.gradient(segment.altitude, STEP_SECONDS) if segment.steps > 1 else np.zeros(segment.steps)
    climb = np.clip(np.nan_to_num(climb, nan=0.0), -MAX_CLIMB, MAX_CLIMB)
    elapsed = (first + np.arange(segment.steps)) * STEP_SECONDS
    return np.column_stack(
        [
            *(_lagged(speed, lag) for lag in SPEED_LAGS),
            *(_lagged(climb, lag) for lag in CLIMB_LAGS),
            *(running_mean(values, memory) for values in (speed, climb) for memory in MEMORIES),
            np.log1p(elapsed / 60.0),
            elapsed,
            np.cumsum(speed) * STEP_SECONDS,
        ]
    )


def _lagged(values: Array, lag: int) -> Array:
    return np.concatenate([np.zeros(lag), values])[: len(values)]


def _mean(values: Array) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else 0.0


def _tables(
    workouts: Sequence[GriddedWorkout], centre: float, on_workout: Callable[[], None]
) -> Iterator[tuple[Array, Array]]:
    """Features and target of the measured steps of each workout."""
    for workout in workouts:
        truth = measured_heart_rate(workout)
        measured = np.isfinite(truth)
        yield motion_table(workout)[measured], truth[measured] - centre
        on_workout()
