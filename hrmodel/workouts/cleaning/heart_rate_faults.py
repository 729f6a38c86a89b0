"""Faults of heart-rate sensors that the heart rate and the speed alone give away.

Every detector takes a Workout and returns (N,): which heart rates are implausible. All look at a recording as a whole,
backwards too: they clean stored workouts, never the heart rate that a prediction reads.
"""

import numpy as np
from numpy.typing import NDArray

from hrmodel.workouts.spells import Jump, Mask, jumps, on_measured, spells, spells_of
from hrmodel.workouts.workout import Array, Workout

HEART_RATE_BOUNDS = (25.0, 240.0)  # bpm

# 20 bpm in 5 s: after the first minutes 3 times up and 3 times down in 100 h of the 23 recorded people, mostly faults
JUMP_BPM, JUMP_SECONDS, JUMP_RATE = 20.0, 5.0, 4.0
SPIKE_SECONDS = 30.0
DROPOUT_SECONDS = 120.0
RETURN_BPM, RETURN_SHARE = 10.0, 0.5  # back within so much, or within this share of the smaller jump
MAX_JUMPS_APART = 4  # between the two that make an excursion: bounds the search in noise
KEPT_SPEED = 0.7  # a longer one is a fault only when the runner went on at this share of the speed before

# equal integers for over 60 s on end are usual in even running; for over 120 s they are in 0.4 % of the workouts of 21
# of the 23 recorded people, in 5 and 14 % of the workouts of two people whose sensors do hold
HELD_SECONDS = 120.0
HELD_UNTIL_JUMP_SECONDS = 30.0  # a hold of this length that ends in a jump was one, too
FRESH_SECONDS = 10.0  # of a hold: the value was measured when it began
VARYING_SPEED = 0.2  # m/s between slow and fast tenth: a speed equal to the digit may go with an equal heart rate

START_JUMP_BPM, START_JUMP_SECONDS = 30.0, 10.0
START_SECONDS = 240.0
RUNNING_SECONDS = 45.0  # after them heart rate has risen by itself
MAX_START_JUMPS = 50  # a sensor that finds the heart jumps once; bounds the search in noise
EVEN_SPEED = 0.9  # of the speed after the jump
STANDING_SPEED = 0.5  # m/s
STEPPING = 90.0  # steps/min: not standing, at any recorded speed

RECOVERED_SECONDS = 180.0  # the fall while standing is over: -21 bpm after 120 s, -23 after 180 s, -22 after 300 s
SEGMENT_SECONDS = 60.0  # a longer gap is no recorded time


def impossible(workout: Workout) -> Mask:
    """Impossible heart rates: 0 (no contact), 255 (no value) and the like."""
    if workout.heart_rate is None:
        return np.zeros(len(workout.t), dtype=bool)
    low, high = HEART_RATE_BOUNDS
    return (workout.heart_rate < low) | (workout.heart_rate > high)


def spikes(workout: Workout) -> Mask:
    """Jumps up that jump back within 30 s."""
    return on_measured(workout.t, workout.heart_rate, lambda t, h: _excursions(workout, t, h) > 0)


def dropouts(workout: Workout) -> Mask:
    """Jumps down that jump back within 120 s: lost contact, flanks of zeros included."""
    return on_measured(workout.t, workout.heart_rate, lambda t, h: _excursions(workout, t, h) < 0)


def held(workout: Workout) -> Mask:
    """Values that the sensor went on showing without measuring, from 10 s after it did."""
    return on_measured(workout.t, workout.heart_rate, lambda t, h: _held(workout, t, h))


def late_start(workout: Workout) -> Mask:
    """A low heart rate in the first minutes of even running that jumps up by 30 bpm and stays: a late sensor."""
    return on_measured(workout.t, workout.heart_rate, lambda t, h: _late_start(workout, t, h))


def standing(workout: Workout) -> Mask:
    """Heart rates after three minutes of standing still: recovery is over, and nothing in them is about running."""
    bad = np.zeros(len(workout.t), dtype=bool)
    if workout.heart_rate is None:
        return bad
    still = workout.speed < STANDING_SPEED
    if workout.cadence is not None:
        still &= ~(workout.cadence >= STEPPING)  # a treadmill without a speed
    for first, end in zip(*spells_of(still, workout.t, SEGMENT_SECONDS), strict=True):
        bad[first:end] = workout.t[first:end] - workout.t[first] > RECOVERED_SECONDS
    return bad & np.isfinite(workout.heart_rate)


def _speed_at(workout: Workout, t: Array) -> Array:
    """(M,) m/s at these sample times; NaN where unknown."""
    return workout.speed[np.searchsorted(workout.t, t)]


def _excursions(workout: Workout, t: Array, heart_rate: Array) -> NDArray[np.int8]:
    """(M,): 1 in a spike, -1 in a dropout. In time order, so that samples between two dropouts are no spike."""
    sign = np.zeros(len(t), dtype=np.int8)
    changes = jumps(t, heart_rate, size=JUMP_BPM, seconds=JUMP_SECONDS, rate=JUMP_RATE)
    if len(changes) < 2:
        return sign
    speed = _speed_at(workout, t)
    done = 0
    for i, first in enumerate(changes):
        for j in range(i + 1, min(i + 1 + MAX_JUMPS_APART, len(changes))) if i >= done else ():
            if _is_excursion(t, heart_rate, speed, first, changes[j]):
                sign[first.before + 1 : changes[j].after] = np.sign(first.size)
                done = j + 1
                break
    return sign


def _is_excursion(t: Array, heart_rate: Array, speed: Array, first: Jump, last: Jump) -> bool:
    seconds = t[last.after] - t[first.before]
    if not _returns(heart_rate, first, last) or seconds > (SPIKE_SECONDS if first.size > 0 else DROPOUT_SECONDS):
        return False
    if seconds <= SPIKE_SECONDS:
        return True
    began = int(np.searchsorted(t, t[first.before] - SEGMENT_SECONDS))
    before, inside = speed[began : first.before + 1].mean(), speed[first.before + 1 : last.after].mean()
    return bool(inside >= KEPT_SPEED * before)  # false where a speed is missing


def _returns(heart_rate: Array, first: Jump, last: Jump) -> bool:
    if np.sign(first.size) == np.sign(last.size):
        return False
    allowed = max(RETURN_BPM, RETURN_SHARE * min(abs(first.size), abs(last.size)))
    return bool(abs(heart_rate[last.after] - heart_rate[first.before]) <= allowed)


def _held(workout: Workout, t: Array, heart_rate: Array) -> Mask:
    bad = np.zeros(len(t), dtype=bool)
    starts, ends = spells((np.diff(heart_rate) == 0) & (np.diff(t) <= SEGMENT_SECONDS))
    seconds = t[ends - 1] - t[starts]
    changes = jumps(t, heart_rate, size=JUMP_BPM, seconds=JUMP_SECONDS, rate=JUMP_RATE)
    left_by_jump = np.isin(ends - 1, [jump.before for jump in changes]) & (seconds >= HELD_UNTIL_JUMP_SECONDS)
    suspect = np.flatnonzero(left_by_jump | (seconds > HELD_SECONDS))
    if not len(suspect):
        return bad
    speed = _speed_at(workout, t)
    for i in suspect.tolist():
        spell = slice(int(starts[i]), int(ends[i]))
        if left_by_jump[i] or _varies(speed[spell]):
            bad[spell] = t[spell] - t[spell.start] > FRESH_SECONDS
    return bad


def _varies(speed: Array) -> bool:
    measured = speed[np.isfinite(speed)]
    return len(measured) > 1 and float(np.subtract(*np.quantile(measured, [0.9, 0.1]))) > VARYING_SPEED


def _late_start(workout: Workout, t: Array, heart_rate: Array) -> Mask:
    bad = np.zeros(len(t), dtype=bool)
    begun = int(np.searchsorted(t, t[0] + START_SECONDS, side="right"))
    pauses = np.flatnonzero(np.diff(t[:begun]) > SEGMENT_SECONDS)
    begun = int(pauses[0]) + 1 if len(pauses) else begun
    rate = START_JUMP_BPM / START_JUMP_SECONDS
    changes = jumps(t[:begun], heart_rate[:begun], size=START_JUMP_BPM, seconds=START_JUMP_SECONDS, rate=rate)
    if not changes:
        return bad
    soon = slice(0, int(np.searchsorted(t, t[begun - 1] + SEGMENT_SECONDS, side="right")))
    speed = _speed_at(workout, t[soon])
    after_a_while = [jump for jump in changes if t[jump.before] - t[0] >= RUNNING_SECONDS]
    for jump in after_a_while[:MAX_START_JUMPS]:
        if _found_late(t[soon], heart_rate[soon], speed, jump):
            stood = np.flatnonzero(~(speed[: jump.before + 1] >= STANDING_SPEED))
            bad[int(stood[-1]) + 1 if len(stood) else 0 : jump.after] = True
            break
    return bad


def _found_late(t: Array, heart_rate: Array, speed: Array, jump: Jump) -> bool:
    """Whether the jump came in even running, from a heart rate that was lower all along, and for good."""
    running = (t >= t[jump.before] - RUNNING_SECONDS) & (t <= t[jump.before])
    later = (t >= t[jump.after]) & (t <= t[jump.after] + SEGMENT_SECONDS)
    if not np.isfinite(speed[running | later]).all():
        return False
    even = speed[running].min() >= STANDING_SPEED and speed[running].mean() >= EVEN_SPEED * speed[later].mean()
    level = float(np.median(heart_rate[later]))
    lower = heart_rate[: jump.before + 1].max() <= level - START_JUMP_BPM
    return bool(even and lower and level >= heart_rate[jump.after] - RETURN_BPM)
