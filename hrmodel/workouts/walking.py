"""Walks that were recorded as runs, runs that were partly walked, and recordings that nobody stopped.

People walk at 1.2 to 1.5 m/s and change to running at 1.9 to 2.1 m/s (Bohannon 1997, Age and Ageing 26:15; Hreljac
1993, Med Sci Sports Exerc 25:1158). In between both are found, so speed alone drops nothing there, and cadence decides
wherever it was recorded: running takes 150 steps a minute and more, walking 90 to 130.
"""

import numpy as np

from hrmodel.workouts.spells import Mask, durations
from hrmodel.workouts.workout import Workout

MOVING_SPEED = 0.5  # m/s
WALKING_SPEED = 1.6  # m/s
RUNNING_CADENCE = 140.0  # steps/min, both feet
STEEP = 0.03  # metres between low and high ground per metre run: in mountains runners are that slow
PARTLY_WALKED = 1 / 3  # of the moving time

STILL_SPEED = 0.5  # m/s over a minute; positions wander by less
STILL_SECONDS = 60.0
FORGOTTEN_SECONDS = 300.0
KEPT_SECONDS = 180.0  # recovery, which is real


def looks_walked(workout: Workout) -> bool:
    """True when the median moving speed is a walk's and neither cadence nor mountains say otherwise."""
    moving = workout.speed > MOVING_SPEED
    if not moving.any() or float(np.median(workout.speed[moving])) >= WALKING_SPEED:
        return False
    cadence = _cadence(workout)[moving]
    if np.isfinite(cadence).any():
        return bool(np.nanmedian(cadence) < RUNNING_CADENCE)
    return _steepness(workout) < STEEP


def walked(workout: Workout) -> tuple[Mask, float]:
    """(N,): the samples at a walk, by cadence where it was recorded, else by speed; and their share of moving time."""
    moving = workout.speed > MOVING_SPEED
    cadence = _cadence(workout)
    walking = moving & np.where(np.isfinite(cadence), cadence < RUNNING_CADENCE, workout.speed < WALKING_SPEED)
    seconds = durations(workout.t, longest=60.0)
    total = float(seconds[moving].sum())
    return walking, float(seconds[walking].sum()) / total if total > 0 else 0.0


def end_of_run(workout: Workout) -> int:
    """One past the last sample of the run: recordings often go on until somebody remembers to stop them.

    All samples, unless the last five minutes or more are without movement; recovery is a part of the run.
    """
    t, samples = workout.t, len(workout.t)
    moved = np.concatenate([[0.0], np.cumsum(np.nan_to_num(workout.speed) * durations(t, longest=60.0))[:-1]])
    if moved[-1] - moved[np.searchsorted(t, t[-1] - STILL_SECONDS)] >= STILL_SPEED * STILL_SECONDS:
        return samples  # it moved to its end, as nearly all do
    lately = moved - moved[np.searchsorted(t, t - STILL_SECONDS)]
    moving = np.flatnonzero(lately >= STILL_SPEED * STILL_SECONDS)
    if not len(moving) or t[-1] - t[moving[-1]] <= FORGOTTEN_SECONDS:
        return samples
    tail = slice(int(moving[-1]) + 1, samples)
    unknown = np.isnan(workout.speed[tail]).mean() > 0.5
    stepping = (_cadence(workout)[tail] >= RUNNING_CADENCE).mean() > 0.5
    return samples if unknown or stepping else int(np.searchsorted(t, t[moving[-1]] + KEPT_SECONDS, side="right"))


def _cadence(workout: Workout) -> np.ndarray:
    """(N,) steps/min; NaN where none was recorded: 0 is how watches say so."""
    if workout.cadence is None:
        return np.full(len(workout.t), np.nan)
    return np.where(workout.cadence > 0, workout.cadence, np.nan)


def _steepness(workout: Workout) -> float:
    """Metres from low to high ground per metre run; 0 without altitude."""
    if workout.altitude is None or not np.isfinite(workout.altitude).any():
        return 0.0
    distance = float(np.nansum(workout.speed * durations(workout.t, longest=60.0)))
    low, high = np.nanquantile(workout.altitude, [0.05, 0.95])
    return float(high - low) / distance if distance > 0 else 0.0
