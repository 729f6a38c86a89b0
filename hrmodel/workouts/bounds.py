"""Bounds on a workout's length: the cost of all processing grows with its steps."""

from dataclasses import replace
from typing import Any

import numpy as np

from hrmodel.workouts.reasons import Reason, lasting
from hrmodel.workouts.workout import CHANNELS, Workout

STEP_SECONDS = 10.0
GAP_SECONDS = 60.0  # a longer gap is no recorded time, and has no steps
MAX_RECORDED_SECONDS = 86_400.0
MAX_STEPS = 8_640
MAX_SAMPLES = 250_000  # of one workout: 2.9 a second for a day


def within_bounds(workout: Workout) -> tuple[Workout, tuple[Reason, ...]]:
    """The workout up to 24 h of recorded time, 8,640 steps of 10 s and 250,000 samples; why it was cut, if it was."""
    end = min(_allowed(workout), MAX_SAMPLES)
    samples = len(workout.t)
    if end == samples:
        return workout, ()
    shorter = first_samples(workout, end)
    most = (
        f"{MAX_RECORDED_SECONDS / 3600:g} h of recorded time, {MAX_STEPS:,} steps of 10 s and {MAX_SAMPLES:,} samples"
    )
    message = f"left out the last {lasting(workout.t[-1] - shorter.t[-1])}: a workout has at most {most}"
    return shorter, (Reason(code="too_long", samples=samples - end, message=message),)


def first_samples(workout: Workout, end: int) -> Workout:
    """The workout's first `end` samples."""
    parts = {name: getattr(workout, name) for name in ("t", *CHANNELS, "marks")}
    shorter: dict[str, Any] = {name: None if values is None else values[:end] for name, values in parts.items()}
    return replace(workout, **shorter)


def _allowed(workout: Workout) -> int:
    """How many samples lie within the bounds of time and steps."""
    gaps = np.diff(workout.t)
    inside = gaps <= GAP_SECONDS
    recorded = np.cumsum(np.where(inside, gaps, 0.0))
    # a sample's new steps: since the sample before, or 1 where a segment begins
    steps = 1 + np.cumsum(np.where(inside, np.diff(np.floor_divide(workout.t, STEP_SECONDS)), 1.0))
    over = np.flatnonzero((recorded > MAX_RECORDED_SECONDS) | (steps > MAX_STEPS))
    return int(over[0]) + 1 if len(over) else len(workout.t)
