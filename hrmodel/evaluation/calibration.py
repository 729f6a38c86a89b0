"""Bands of a model for one subject, from validation workouts predicted the way that it will serve them."""

from collections import defaultdict
from collections.abc import Sequence

from hrmodel.evaluation.contenders import BATCH, Network, replay
from hrmodel.evaluation.protocols import Task, after_prefix, blind, fully_observed
from hrmodel.prediction.intervals import KINDS, Intervals, conformal
from hrmodel.prediction.predictor import Predictor
from hrmodel.prediction.steps import measured_heart_rate
from hrmodel.signals.grid import GriddedWorkout
from hrmodel.signals.level import Level
from hrmodel.workouts.workout import Array

MIN_WORKOUTS = 5
# which residuals make which band: the nowcast's come from the fully observed workout alone, whose gaps would otherwise
# pass for forecasts of a few seconds
SOURCES = {
    "blind": blind,
    "forecast_60": after_prefix(60.0),
    "forecast_180": after_prefix(180.0),
    "forecast_600": after_prefix(600.0),
    "nowcast": fully_observed,
}


def calibrate(
    predictor: Predictor,
    workouts: Sequence[GriddedWorkout],
    *,
    level: Level | None = None,
    fallback: Intervals | None = None,
    gain: float = 0.3,
) -> Intervals:
    """Bands from the absolute residuals on validation `workouts` (time order), each under its tracked level.

    `level` None: the checkpoint's, else the population's without tracking. Fewer than 5 workouts: `fallback` (the
    base's population bands), else the predictor's own. A kind without residuals takes that row too. Never None.
    """
    reserve = fallback or predictor.intervals
    if len(workouts) < MIN_WORKOUTS:
        return reserve
    return conformal(residuals_of(predictor, workouts, level=level, gain=gain), reserve)


def residuals_of(
    predictor: Predictor, workouts: Sequence[GriddedWorkout], *, level: Level | None = None, gain: float = 0.3
) -> dict[str, list[Array]]:
    """Heart rate minus prediction in bpm by kind, one array per workout, each under the level tracked up to it."""
    network = Network(predictor=predictor, level=level)
    residuals: dict[str, list[Array]] = defaultdict(list)
    for workout, offset in zip(workouts, replay(network, workouts, gain), strict=False):  # one offset is left over
        for kind, values in _residuals(network, workout, offset).items():
            residuals[kind].append(values)
    return dict(residuals)


def _residuals(network: Network, workout: GriddedWorkout, offset: float) -> dict[str, Array]:
    """Heart rate minus prediction in bpm by kind, over the scored steps that serving would call that kind."""
    tasks: list[tuple[str, Task]] = [(kind, task) for kind in KINDS for task in SOURCES[kind](workout)]
    assert len(tasks) <= BATCH  # one task per kind
    views = [task.view for _, task in tasks]
    predictions = network.predictor.predict_steps(workout, views, level=network.level, offset=offset)
    truth = measured_heart_rate(workout)
    return {
        kind: (truth - steps.heart_rate)[task.scored & (steps.kinds == KINDS.index(kind))]
        for (kind, task), steps in zip(tasks, predictions, strict=True)
    }
