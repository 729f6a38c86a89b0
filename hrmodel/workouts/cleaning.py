"""Which workouts are fit to learn from, and what in them is a sensor fault. Each decision has its reason."""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hrmodel.workouts.units import ImplausibleSpeed, Units, check_running_speed
from hrmodel.workouts.workout import Array, Workout

Mask = NDArray[np.bool_]

MIN_SECONDS = 600.0
PAUSE_SECONDS = 60.0  # a longer gap is no recorded time
HEART_RATE_BOUNDS = (25.0, 240.0)  # bpm
SPEED_BOUNDS = (0.0, 12.0)  # m/s
MAX_CLIMB = 8.0  # m/s, up or down
RUNNING_WORDS = ("run", "jog", "treadmill")


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Why a workout was repaired or dropped: a code for programs, how many samples it concerns, a sentence."""

    code: str
    samples: int
    message: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Cleaned:
    """The verdict on one workout; `workout` is None when it was dropped."""

    workout: Workout | None
    verdict: Literal["kept", "repaired", "dropped"]
    reasons: tuple[Reason, ...]


def clean(workout: Workout, *, min_hr_per_minute: float = 6.0) -> Cleaned:
    """Mark faulty values as missing, then drop what is no run, too short, or has too little heart rate to learn from.

    `min_hr_per_minute`: measured heart-rate samples per minute of recorded time (pauses over 60 s do not count).
    """
    repaired, repairs = _repair(workout)
    # the speeds as recorded: in the wrong unit most of them would be "repaired" away first
    drops = _not_a_run(workout) or _too_little(repaired, min_hr_per_minute)
    if drops:
        return Cleaned(workout=None, verdict="dropped", reasons=(*drops, *repairs))
    return Cleaned(workout=repaired, verdict="repaired" if repairs else "kept", reasons=repairs)


def is_running(sport: str) -> bool:
    """True for every name of running that devices write: running, trail_run, Treadmill, jogging ..."""
    return any(word in sport.lower() for word in RUNNING_WORDS)


def _repair(workout: Workout) -> tuple[Workout, tuple[Reason, ...]]:
    reasons = []
    if workout.removed_samples:
        message = "removed samples without a time, or whose time did not advance"
        reasons.append(Reason(code="bad_time", samples=workout.removed_samples, message=message))
    faults = (
        ("heart_rate", "heart rate outside {:g}..{:g} bpm".format(*HEART_RATE_BOUNDS), _outside_heart_rate),
        ("speed", "speed outside {:g}..{:g} m/s".format(*SPEED_BOUNDS), _outside_speed),
        ("altitude", f"altitude that jumps faster than {MAX_CLIMB:g} m/s", _jumps),
    )
    repaired: dict[str, Any] = {}
    for channel, what, find in faults:
        values: Array | None = getattr(workout, channel)
        if values is not None and (bad := find(workout.t, values)).any():
            repaired[channel] = np.where(bad, np.nan, values)
            message = f"took as missing: {what}"
            reasons.append(Reason(code=f"{channel}_impossible", samples=int(bad.sum()), message=message))
    return (replace(workout, **repaired) if repaired else workout), tuple(reasons)


def _not_a_run(workout: Workout) -> tuple[Reason, ...]:
    samples = len(workout.t)
    if not is_running(workout.sport):
        return (Reason(code="not_running", samples=samples, message=f"recorded as {workout.sport[:50]}, not running"),)
    if not (workout.speed > 0).any():
        return (Reason(code="no_speed", samples=samples, message="no moving speed was recorded"),)
    try:
        check_running_speed(workout.speed, Units())
    except ImplausibleSpeed as error:
        return (Reason(code="implausible_speed", samples=samples, message=str(error)),)
    return ()


def _too_little(workout: Workout, min_hr_per_minute: float) -> tuple[Reason, ...]:
    gaps = np.diff(workout.t)
    minutes = float(gaps[gaps <= PAUSE_SECONDS].sum()) / 60.0
    if minutes * 60.0 < MIN_SECONDS:
        message = f"{minutes:.1f} min of recorded time; {MIN_SECONDS / 60:g} are needed"
        return (Reason(code="too_short", samples=len(workout.t), message=message),)
    readings = 0 if workout.heart_rate is None else int(np.isfinite(workout.heart_rate).sum())
    if readings == 0:
        return (Reason(code="no_heart_rate", samples=len(workout.t), message="no heart rate was recorded"),)
    if readings / minutes < min_hr_per_minute:
        message = f"{readings / minutes:.1f} heart-rate samples a minute; {min_hr_per_minute:g} are needed"
        return (Reason(code="sparse_heart_rate", samples=readings, message=message),)
    return ()


def _outside_heart_rate(_t: Array, heart_rate: Array) -> Mask:
    return (heart_rate < HEART_RATE_BOUNDS[0]) | (heart_rate > HEART_RATE_BOUNDS[1])


def _outside_speed(_t: Array, speed: Array) -> Mask:
    return (speed < SPEED_BOUNDS[0]) | (speed > SPEED_BOUNDS[1])


def _jumps(t: Array, altitude: Array) -> Mask:
    """(N,): the samples that cannot be reached from the last believed one at `MAX_CLIMB`.

    A spike goes whole, however long; after a lasting shift of the sensor belief returns in shift / MAX_CLIMB seconds.
    """
    bad = np.zeros(len(t), dtype=bool)
    known = np.flatnonzero(np.isfinite(altitude))
    if not (np.abs(np.diff(altitude[known])) > MAX_CLIMB * np.diff(t[known])).any():
        return bad
    last = int(known[0])
    for i in known[1:].tolist():
        if abs(altitude[i] - altitude[last]) > MAX_CLIMB * (t[i] - t[last]):
            bad[i] = True
        else:
            last = i
    return bad
