"""The strongest easy predictor: closed-form ridge regression on lagged speed and climb."""

from collections.abc import Callable, Sequence

import numpy as np

from hrmodel.signals.grid import STEP_SECONDS, GriddedWorkout, Segment
from hrmodel.signals.response import running_mean
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
    train: Sequence[GriddedWorkout], val: Sequence[GriddedWorkout], centre: float
) -> Callable[[GriddedWorkout], Array]:
    """Fit heart rate minus `centre` (bpm) on `train`; the penalty with the lowest squared error on `val` stays.

    Gives a function workout -> (S,) bpm; the constant `centre` without a training step.
    """
    features, target = _table(train, centre)
    if not len(target):
        return lambda workout: np.full(sum(segment.steps for segment in workout.segments), centre)
    mean, deviation, base = features.mean(axis=0), features.std(axis=0), float(target.mean())
    deviation[deviation < 1e-9] = 1.0
    scaled = (features - mean) / deviation
    gram, moment = scaled.T @ scaled, scaled.T @ (target - base)
    fits = {penalty: np.linalg.solve(gram + penalty * np.eye(WIDTH), moment) for penalty in PENALTIES}
    val_features, val_target = _table(val, centre)
    best = DEFAULT_PENALTY
    if len(val_target):
        errors = (val_features - mean) / deviation @ np.stack(list(fits.values()), axis=1) + base - val_target[:, None]
        best = PENALTIES[int(np.argmin((errors**2).mean(axis=0)))]
    weights = fits[best]
    return lambda workout: centre + base + (motion_table(workout) - mean) / deviation @ weights


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


def _table(workouts: Sequence[GriddedWorkout], centre: float) -> tuple[Array, Array]:
    """Features and target of all measured steps of the workouts."""
    features, targets = [np.empty((0, WIDTH))], [np.empty(0)]
    for workout in workouts:
        truth = measured_heart_rate(workout)
        measured = np.isfinite(truth)
        features.append(motion_table(workout)[measured])
        targets.append(truth[measured] - centre)
    return np.concatenate(features), np.concatenate(targets)
