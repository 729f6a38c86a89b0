"""Cadence lock: an optical sensor that counts steps instead of beats.

A heart rate may well equal the cadence by chance: 155 bpm at 165 steps a minute is usual in running. So equality alone
is no fault; the heart rate must also leap to the cadence or away from it, or come from another level or go to one while
speed, slope and cadence stay the same. A lock over a whole workout cannot be distinguished from a real heart rate.
"""

from dataclasses import dataclass

import numpy as np

from hrmodel.workouts.cleaning.heart_rate_faults import JUMP_BPM, JUMP_RATE, JUMP_SECONDS
from hrmodel.workouts.running import RUNNING_CADENCE
from hrmodel.workouts.spells import Mask, jumps, spells_of
from hrmodel.workouts.workout import Array, Workout

RATIOS = (1.0, 0.5)  # bpm per step/min: both feet or one
NEAR_BPM = 4.0
LOCK_SECONDS = 60.0
LET_GO_SECONDS = 15.0  # longer without following is the end of a lock
FOLLOWING_SHARE = 0.8  # of a lock's samples
MEDIAN_BPM = 3.0  # the whole lock's usual distance

START_SECONDS = 180.0  # before, a leap up is rather a sensor that found the heart late

SHIFT_BPM = 20.0  # from the level outside to that inside
OUTSIDE_SECONDS = (20.0, 80.0)  # before its begin or after its end: the level outside
RISE_SECONDS = 240.0  # of even running before that: heart rate rises by itself at first
SAME_SPEED, SAME_CADENCE, SAME_SLOPE = 0.12, 6.0, 0.02  # a share, steps/min, m per m
KEPT_SPEED, DISTURBED_SECONDS = 0.7, 5.0  # even running: no longer below this share of the speed in the lock
GAP_SECONDS = 15.0
MIN_SAMPLES = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class _Recording:
    """The samples that hold a heart rate."""

    t: Array
    heart_rate: Array
    speed: Array
    cadence: Array
    altitude: Array | None


def cadence_lock(workout: Workout) -> Mask:
    """(N,): where the heart rate followed the steps. Needs cadence; looks at the recording as a whole."""
    bad = np.zeros(len(workout.t), dtype=bool)
    if workout.heart_rate is None or workout.cadence is None:
        return bad
    measured = np.flatnonzero(np.isfinite(workout.heart_rate))
    if len(measured) < MIN_SAMPLES:
        return bad
    recording = _Recording(
        t=workout.t[measured],
        heart_rate=workout.heart_rate[measured],
        speed=workout.speed[measured],
        cadence=workout.cadence[measured],
        altitude=None if workout.altitude is None else workout.altitude[measured],
    )
    for ratio in RATIOS:
        for first, end in _following(recording, ratio):
            if _leaps(recording, first, end) or _left_its_level(recording, first, end):
                bad[measured[first:end]] = True
    return bad


def _following(recording: _Recording, ratio: float) -> list[tuple[int, int]]:
    """Spells of at least a minute in which most heart rates equal the steps: first sample, one past the last."""
    t, running = recording.t, recording.cadence >= RUNNING_CADENCE
    distance = np.where(running, np.abs(recording.heart_rate - ratio * recording.cadence), np.inf)
    near = np.flatnonzero(distance <= NEAR_BPM)
    if not len(near):
        return []
    every = np.ones(len(near), dtype=bool)
    locks = []
    for a, b in zip(*spells_of(every, t[near], LET_GO_SECONDS), strict=True):
        first, end = int(near[a]), int(near[b - 1]) + 1
        if t[end - 1] - t[first] < LOCK_SECONDS:
            continue
        inside = distance[first:end][running[first:end]]
        if len(near[a:b]) >= FOLLOWING_SHARE * len(inside) and np.median(inside) <= MEDIAN_BPM:
            locks.append((first, end))
    return locks


def _leaps(recording: _Recording, first: int, end: int) -> bool:
    """Whether heart rate came to the lock or left it faster than a heart can."""
    t = recording.t
    entry = _part(t, t[first] - JUMP_SECONDS, t[first] + JUMP_SECONDS)
    leaves = _part(t, t[end - 1] - JUMP_SECONDS, t[end - 1] + JUMP_SECONDS)
    parts = [leaves] if t[first] < t[0] + START_SECONDS else [entry, leaves]
    return any(
        jumps(t[part], recording.heart_rate[part], size=JUMP_BPM, seconds=JUMP_SECONDS, rate=JUMP_RATE)
        for part in parts
    )


def _left_its_level(recording: _Recording, first: int, end: int) -> bool:
    """Whether heart rate came to the lock or left it by a change that the runner's movement does not explain."""
    t = recording.t
    near, far = OUTSIDE_SECONDS
    begun, ended = float(t[first]), float(t[end - 1])
    before = _part(t, begun - far, begun - near), _part(t, begun, begun + far)
    after = _part(t, ended + near, ended + far), _part(t, ended - far, ended)
    came = _unexplained(recording, *before) and _is_even(recording, begun - far - RISE_SECONDS, begun + near, before[1])
    return came or (_unexplained(recording, *after) and _is_even(recording, ended - far, ended + far, after[1]))


def _part(t: Array, begin: float, end: float) -> slice:
    """The samples with begin <= t <= end."""
    return slice(int(np.searchsorted(t, begin)), int(np.searchsorted(t, end, side="right")))


def _unexplained(recording: _Recording, outside: slice, inside: slice) -> bool:
    if min(outside.stop - outside.start, inside.stop - inside.start) < MIN_SAMPLES:
        return False
    shift = np.median(recording.heart_rate[outside]) - np.median(recording.heart_rate[inside])
    if abs(shift) < SHIFT_BPM or not np.isfinite(recording.cadence[outside]).any():
        return False
    speeds = recording.speed[outside].mean(), recording.speed[inside].mean()
    cadences = np.nanmedian(recording.cadence[outside]), np.nanmedian(recording.cadence[inside])
    return bool(
        abs(speeds[0] - speeds[1]) <= SAME_SPEED * speeds[1]
        and abs(cadences[0] - cadences[1]) <= SAME_CADENCE
        and abs(_slope(recording, outside) - _slope(recording, inside)) <= SAME_SLOPE
    )


def _is_even(recording: _Recording, begin: float, end: float, inside: slice) -> bool:
    """Whether the runner neither paused nor walked: heart rate takes minutes to recover from that."""
    part = _part(recording.t, begin, end)
    t, speed, cadence = recording.t[part], recording.speed[part], recording.cadence[part]
    disturbed = (speed < KEPT_SPEED * recording.speed[inside].mean()) | (cadence < RUNNING_CADENCE)
    gaps = np.diff(t, prepend=begin, append=end)
    return bool(gaps.max() <= GAP_SECONDS and gaps[1:][disturbed].sum() <= DISTURBED_SECONDS)


def _slope(recording: _Recording, part: slice) -> float:
    """Metres climbed per metre; 0 when no altitude was recorded, NaN when it is missing here."""
    if recording.altitude is None:
        return 0.0
    distance = float(recording.speed[part].mean() * (recording.t[part.stop - 1] - recording.t[part.start]))
    climbed = float(recording.altitude[part.stop - 1] - recording.altitude[part.start])
    return climbed / distance if distance > 0 else 0.0
