"""Faults of speed and altitude, from lost positions and from barometers in the wind."""

import numpy as np

from hrmodel.workouts.running import MAX_ACCELERATION, MAX_CLIMB, SPEED_BOUNDS
from hrmodel.workouts.spells import Mask, on_measured, spells_of
from hrmodel.workouts.workout import Array, Workout

OUTLYING_SPEED = 2.5  # m/s above the runner's 90 % quantile
SPIKE_SECONDS = 60.0


def impossible_speed(workout: Workout) -> Mask:
    """Speeds out of a runner's reach, and negative speeds."""
    return (workout.speed < SPEED_BOUNDS[0]) | (workout.speed > SPEED_BOUNDS[1])


def speed_spikes(workout: Workout) -> Mask:
    """Speeds beyond the runner's others that begin or end within a second: jumps of the position."""
    return on_measured(workout.t, workout.speed, _speed_spikes)


def altitude_jumps(workout: Workout) -> Mask:
    """Altitudes that cannot be reached from the last plausible altitude at `MAX_CLIMB`.

    A spike is taken out whole, however long; after a lasting shift of the sensor, altitudes are plausible again after
    shift / MAX_CLIMB seconds.
    """
    return on_measured(workout.t, workout.altitude, _unreachable)


def _speed_spikes(t: Array, speed: Array) -> Mask:
    bad = np.zeros(len(t), dtype=bool)
    steep = np.abs(np.diff(speed)) > MAX_ACCELERATION * np.maximum(np.diff(t), 1.0)
    moving = speed[speed > 0]
    if not steep.any() or not len(moving):
        return bad
    fast = speed > np.quantile(moving, 0.9) + OUTLYING_SPEED
    for first, end in zip(*spells_of(fast, t, SPIKE_SECONDS), strict=True):
        enters = first > 0 and steep[first - 1]
        leaves = end < len(t) and steep[end - 1]
        bad[first:end] = (enters or leaves) and t[end - 1] - t[first] <= SPIKE_SECONDS
    return bad


def _unreachable(t: Array, altitude: Array) -> Mask:
    bad = np.zeros(len(t), dtype=bool)
    if not (np.abs(np.diff(altitude)) > MAX_CLIMB * np.diff(t)).any():
        return bad
    reached, height = float(t[0]), float(altitude[0])
    for i, (second, value) in enumerate(zip(t.tolist(), altitude.tolist(), strict=True)):
        if abs(value - height) > MAX_CLIMB * (second - reached):
            bad[i] = True
        else:
            reached, height = second, value
    return bad
