"""Evaluation protocols: blind (P1), after an observed prefix (P2-k), 30 s ahead (P3-30)."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hrmodel.signals.grid import STEP_SECONDS, GriddedWorkout
from hrmodel.signals.steps import elapsed_steps, measured_heart_rate
from hrmodel.workouts.workout import Array

MIN_SCORED_STEPS = 12  # 120 s: a workout with less left to score is skipped
ORIGIN_STEPS = 6  # P3: an origin every 60 s
HORIZON_STEPS = 3  # P3: the step that ends 30 s after the origin


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """One way to predict a workout of S steps: the observed heart rate, and the steps that are scored."""

    view: Array  # (S,) bpm, NaN where not observed
    scored: NDArray[np.bool_]  # (S,) measured, and not observed by then
    horizon: int = 1  # a scored step reads the view up to so many steps before it


def blind(workout: GriddedWorkout) -> Task | None:
    """P1: no heart rate is observed."""
    return after_prefix(0.0)(workout)


def after_prefix(seconds: float) -> Callable[[GriddedWorkout], Task | None]:
    """P2: the heart rate of every step that ends within `seconds` of the start is observed, all others are scored.

    None when too few are left.
    """

    def task(workout: GriddedWorkout) -> Task | None:
        truth, observed = measured_heart_rate(workout), _ends(workout) <= seconds
        scored = np.isfinite(truth) & ~observed
        if scored.sum() < MIN_SCORED_STEPS:
            return None
        return Task(view=np.where(observed, truth, np.nan), scored=scored)

    return task


def ahead(workout: GriddedWorkout) -> Task | None:
    """P3-30: from every full minute on, the step that ends 30 s later, with heart rate observed up to the minute."""
    truth, elapsed = measured_heart_rate(workout), elapsed_steps(workout)
    is_target = (elapsed >= ORIGIN_STEPS) & ((elapsed - HORIZON_STEPS + 1) % ORIGIN_STEPS == 0) & np.isfinite(truth)
    if not after_prefix(ORIGIN_STEPS * STEP_SECONDS)(workout) or not is_target.any():
        return None
    return Task(view=truth, scored=is_target, horizon=HORIZON_STEPS)


def fully_observed(workout: GriddedWorkout) -> Task:
    """All heart rate is observed, step by step: for the nowcast's band, not a protocol of the report."""
    truth = measured_heart_rate(workout)
    return Task(view=truth, scored=np.isfinite(truth))


PROTOCOLS: dict[str, Callable[[GriddedWorkout], Task | None]] = {
    "P1": blind,
    "P2-60": after_prefix(60.0),
    "P2-180": after_prefix(180.0),
    "P2-600": after_prefix(600.0),
    "P3-30": ahead,
}


def _ends(workout: GriddedWorkout) -> Array:
    """(S,) s from the workout's start to the end of each step."""
    return (elapsed_steps(workout).astype(np.float64) + 1) * STEP_SECONDS
