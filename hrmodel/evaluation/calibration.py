"""Bands of a model for one subject, from workouts that it never learned from, predicted the way that it serves them."""

from collections.abc import Callable
from dataclasses import replace

from hrmodel.evaluation.contenders import BATCH, EvaluationData, Known, Network, nothing, replay
from hrmodel.evaluation.protocols import Task, after_prefix, blind, fully_observed
from hrmodel.prediction.intervals import KINDS, WINDOW, Residuals, personal_intervals
from hrmodel.signals.grid import GriddedWorkout
from hrmodel.signals.steps import measured_heart_rate

# which residuals make which band: the nowcast's come from the fully observed workout alone, whose gaps would otherwise
# pass for forecasts of a few seconds
SOURCES = {
    "blind": blind,
    "forecast_60": after_prefix(60.0),
    "forecast_180": after_prefix(180.0),
    "forecast_600": after_prefix(600.0),
    "nowcast": fully_observed,
}


def followed(network: Network, data: EvaluationData, on_workout: Callable[[], None] = nothing) -> list[Known]:
    """What is known before each test workout and, last, after them all.

    The response is followed through all workouts; the bands only through those that the network never learned from,
    from the checkpoint's on: for a base all of them, else validation and test. `on_workout` is called as work advances.
    """
    known = [Known(tracking=tracking) for tracking in replay(network, data.workouts, on_workout)]
    fresh = len(data.val) + len(data.test)
    if network.predictor.checkpoint.level is None:
        fresh += len(data.train)
    fresh = min(fresh, WINDOW + len(data.test))
    recent = data.workouts[len(data.workouts) - fresh :]
    past = []
    for each in zip(recent, known[-1 - fresh :], strict=False):
        past.append(residuals_of(network, *each))
        on_workout()
    after = range(fresh - len(data.test), fresh + 1)
    bands = [personal_intervals(network.predictor.intervals, past[:count]) for count in after]
    return [replace(state, intervals=own) for state, own in zip(known[-len(bands) :], bands, strict=True)]


def residuals_of(network: Network, workout: GriddedWorkout, known: Known) -> Residuals:
    """Residuals in bpm by kind with their minutes, over the scored steps that serving would call that kind."""
    tasks: list[tuple[str, Task]] = [(kind, task) for kind in KINDS for task in SOURCES[kind](workout)]
    assert len(tasks) <= BATCH  # one task per kind
    views = [task.view for _, task in tasks]
    if not views:
        return {}
    predictions = network.predictor.predict_steps(workout, views, level=network.level, response=known.response)
    truth = measured_heart_rate(workout)
    residuals = {}
    for (kind, task), steps in zip(tasks, predictions, strict=True):
        scored = task.scored & (steps.kinds == KINDS.index(kind))
        residuals[kind] = (steps.minutes[scored], (truth - steps.heart_rate)[scored])
    return residuals
