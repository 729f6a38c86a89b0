"""Walks that were recorded as runs, runs that were partly walked, and recordings that were not stopped.

People walk at 1.2 to 1.5 m/s and change to running at 1.9 to 2.1 m/s (Bohannon 1997, Age and Ageing 26:15; Hreljac
1993, Med Sci Sports Exerc 25:1158). In between both occur, and cadence decides wherever it was recorded: running
takes 150 steps a minute and more, walking 90 to 130. Without it only a speed below every run's shows a walk.
"""

import numpy as np

from hrmodel.workouts.gait import MOVING_SPEED, Gait
from hrmodel.workouts.running import CLIMBING_SPEED, FAST_WALK, RUNNING_CADENCE, RUNNING_SPEED, WALKING_SPEED
from hrmodel.workouts.spells import Mask, durations
from hrmodel.workouts.workout import Workout

STEEP = 0.03  # metres between low and high ground per metre run: in mountains runners are that slow
PARTLY_WALKED = 1 / 3  # of the moving time

STILL_SPEED = 0.5  # m/s over a minute; positions wander by less
STILL_SECONDS = 60.0
FORGOTTEN_SECONDS = 300.0
KEPT_SECONDS = 180.0  # recovery, which is real


def looks_walked(workout: Workout, gait: Gait) -> bool:
    """True when steps and speed are a walk's. Without steps, when the speed was a walk's throughout, or most of the
    time and not in the mountains; a climb faster than people hike is a run.
    """
    if not np.isfinite(gait.median):
        return False
    if np.isfinite(gait.steps):
        return gait.median < WALKING_SPEED and gait.fast < RUNNING_SPEED and gait.steps < RUNNING_CADENCE
    throughout = gait.median < FAST_WALK[0] and gait.fast < FAST_WALK[1]
    if not throughout and gait.median >= WALKING_SPEED:
        return False
    climb, distance = _climb(workout)
    steep = climb >= STEEP * distance
    return climb < CLIMBING_SPEED * gait.seconds and (throughout or not steep)


def walked(workout: Workout) -> tuple[Mask, float]:
    """(N,): the samples at a walk, by cadence where it was recorded, else by speed; and their share of moving time."""
    moving = workout.speed > MOVING_SPEED
    cadence = _cadence(workout)
    walking = moving & np.where(np.isfinite(cadence), cadence < RUNNING_CADENCE, workout.speed < WALKING_SPEED)
    seconds = durations(workout.t, longest=60.0)
    total = float(seconds[moving].sum())
    return walking, float(seconds[walking].sum()) / total if total > 0 else 0.0


def end_of_run(workout: Workout) -> int:
    """One past the last sample of the run: people often forget to stop the recording.

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
    """(N,) steps/min; NaN where none was recorded, which watches write as 0."""
    if workout.cadence is None:
        return np.full(len(workout.t), np.nan)
    return np.where(workout.cadence > 0, workout.cadence, np.nan)


def _climb(workout: Workout) -> tuple[float, float]:
    """Metres from low to high ground (0 without altitude), and metres run."""
    distance = float(np.nansum(workout.speed * durations(workout.t, longest=60.0)))
    if workout.altitude is None or not np.isfinite(workout.altitude).any():
        return 0.0, distance
    low, high = np.nanquantile(workout.altitude, [0.05, 0.95])
    return float(high - low), distance
