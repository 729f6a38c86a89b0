"""The sensor faults that cleaning looks for, each with its code, its detector and its message."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hrmodel.workouts.cleaning import heart_rate_faults, speed_faults
from hrmodel.workouts.cleaning.cadence_lock import cadence_lock
from hrmodel.workouts.reasons import Reason, lasting
from hrmodel.workouts.running import MAX_CLIMB, SPEED_BOUNDS
from hrmodel.workouts.spells import Mask, durations
from hrmodel.workouts.workout import MARKS, Workout

LONGEST_SAMPLE = 10.0  # s that one sample counts for in messages


@dataclass(frozen=True, kw_only=True)
class SensorFault:
    """`find`: which values of `channel` are faulty; `why` completes "took 34 s of speed as missing:"."""

    code: str
    channel: str
    find: Callable[[Workout], Mask]
    why: str


# in this order: each detector sees the workout without the faults found before it
FAULTS: tuple[SensorFault, ...] = (
    SensorFault(
        code="speed_impossible",
        channel="speed",
        find=speed_faults.impossible_speed,
        why="it was outside {:g}..{:g} m/s".format(*SPEED_BOUNDS),
    ),
    SensorFault(
        code="speed_jump",
        channel="speed",
        find=speed_faults.speed_spikes,
        why="it leapt far beyond what you ran otherwise (positions that jumped)",
    ),
    SensorFault(
        code="altitude_impossible",
        channel="altitude",
        find=speed_faults.altitude_jumps,
        why=f"it jumped faster than {MAX_CLIMB:g} m/s",
    ),
    SensorFault(
        code="heart_rate_impossible",
        channel="heart_rate",
        find=heart_rate_faults.impossible,
        why="it was outside {:g}..{:g} bpm".format(*heart_rate_faults.HEART_RATE_BOUNDS),
    ),
    SensorFault(
        code="cadence_lock",
        channel="heart_rate",
        find=cadence_lock,
        why="it followed your steps (cadence lock)",
    ),
    SensorFault(
        code="heart_rate_spike",
        channel="heart_rate",
        find=heart_rate_faults.spikes,
        why="it leapt up and back faster than a heart can",
    ),
    SensorFault(
        code="heart_rate_dropout",
        channel="heart_rate",
        find=heart_rate_faults.dropouts,
        why="it fell and came back faster than a heart can (lost contact)",
    ),
    SensorFault(
        code="heart_rate_held",
        channel="heart_rate",
        find=heart_rate_faults.held,
        why="the sensor went on showing an old value",
    ),
    SensorFault(
        code="heart_rate_start",
        channel="heart_rate",
        find=heart_rate_faults.late_start,
        why="the sensor found it only after you had run for a while",
    ),
    SensorFault(
        code="standing_pause",
        channel="heart_rate",
        find=heart_rate_faults.standing,
        why=f"you had stood still for over {heart_rate_faults.RECOVERED_SECONDS / 60:g} min by then",
    ),
)


def take_out(workout: Workout, on_fault: Callable[[], None] = lambda: None) -> tuple[Workout, tuple[Reason, ...]]:
    """The workout with every faulty value missing and marked, and a reason for each fault.

    `on_fault` is called after the search for each kind of fault.
    """
    reasons = []
    marks = np.zeros(len(workout.t), dtype=np.uint16) if workout.marks is None else workout.marks.copy()
    for fault in FAULTS:
        bad = fault.find(workout)
        on_fault()
        if not bad.any():
            continue
        cleaned: dict[str, Any] = {fault.channel: np.where(bad, np.nan, getattr(workout, fault.channel))}
        workout = replace(workout, **cleaned)
        marks[bad] |= MARKS[fault.code]
        amount = lasting(durations(workout.t, LONGEST_SAMPLE)[bad].sum())
        message = f"took {amount} of {fault.channel.replace('_', ' ')} as missing: {fault.why}"
        reasons.append(Reason(code=fault.code, samples=int(bad.sum()), message=message))
    return (replace(workout, marks=marks) if reasons else workout), tuple(reasons)
