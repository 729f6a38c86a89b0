"""A test workout as rounded series, so that a stored report alone can be drawn."""

from collections.abc import Sequence

import numpy as np

from hrmodel.evaluation.forecasters import Forecaster, Question
from hrmodel.evaluation.protocols import Task, after_prefix
from hrmodel.personal.bands import Intervals
from hrmodel.personal.response import Response
from hrmodel.signals.grid import STEP_SECONDS, GriddedWorkout
from hrmodel.signals.steps import elapsed_steps, measured_heart_rate
from hrmodel.workouts.workout import Array

BAND = "0.9"  # the coverage that is shown
PREFIX_SECONDS = 180.0
MAX_POINTS = 450  # 75 minutes; of more every second, third, ... step is kept: three workouts stay below 60 kB of JSON

Series = dict[str, list[float | None]]


def best_median_worst(errors: Sequence[float | None]) -> dict[str, int]:
    """Which of the workouts has the lowest, the median (of two, the lower) and the highest error; None is passed over.

    Two give no median, one is the best, none gives nothing.
    """
    order = sorted((error, i) for i, error in enumerate(errors) if error is not None)
    places = [i for _, i in order]
    if len(places) < 3:
        return dict(zip(("best", "worst"), places, strict=False))
    return {"best": places[0], "median": places[(len(places) - 1) // 2], "worst": places[-1]}


def series(
    forecaster: Forecaster, workout: GriddedWorkout, response: Response, intervals: Intervals | None = None
) -> Series:
    """Equally long lists: `minutes`; in bpm `measured`, blind `predicted`, `lower` and `upper` at 90 %, `after_180_s`.

    None where nothing was measured, in the 180 s that are given, and all of `after_180_s` when too little follows.
    `response` and `intervals`: as known right before it; None: the forecaster's bands.
    """
    truth = measured_heart_rate(workout)
    elapsed = elapsed_steps(workout) * STEP_SECONDS
    nothing = Task(view=np.full(len(truth), np.nan), scored=np.isfinite(truth))
    tasks = [task for task in (nothing, after_prefix(PREFIX_SECONDS)(workout)) if task]
    ((blind, *later),) = forecaster.answers(
        [Question(workout=workout, response=response, intervals=intervals, tasks=tasks)]
    )
    forecast = later[0].heart_rate if later else np.full(len(truth), np.nan)
    half_width = blind.half_width[BAND]
    keep = slice(None, None, -(-len(truth) // MAX_POINTS))
    columns: dict[str, Array] = {
        "measured": truth,
        "predicted": blind.heart_rate,
        "lower": blind.heart_rate - half_width,
        "upper": blind.heart_rate + half_width,
        "after_180_s": np.where(elapsed >= PREFIX_SECONDS, forecast, np.nan),
    }
    return {
        "minutes": [round(second / 60.0, 2) for second in elapsed[keep].tolist()],
        **{name: [_rounded(value) for value in column[keep].tolist()] for name, column in columns.items()},
    }


def _rounded(value: float) -> float | None:
    return round(value, 1) if np.isfinite(value) else None
