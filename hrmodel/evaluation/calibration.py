"""A model's bands for one subject, from residuals on workouts that it was not trained on, predicted as in serving."""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import replace

from hrmodel.evaluation.forecasters import EvaluationData, NetworkForecaster
from hrmodel.evaluation.protocols import after_prefix, blind, fully_observed
from hrmodel.network.checkpoint import Checkpoint
from hrmodel.personal.band_fitting import WINDOW, Residuals, personal_intervals
from hrmodel.personal.bands import REGIMES
from hrmodel.personal.state import PersonState, no_progress, replay
from hrmodel.prediction.predictor import Predictor
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


def person_states(
    network: NetworkForecaster, data: EvaluationData, on_workout: Callable[[], None] = no_progress
) -> list[PersonState]:
    """The state before each test workout and, last, after them all, with the person's own bands.

    The response learns from all workouts. The bands start from the checkpoint's and learn only from workouts that the
    network was not trained on: for a base all of them, else validation and test. `on_workout` is called as work
    advances.
    """
    states = replay(network, data.workouts, on_workout)
    learned = set() if network.predictor.checkpoint.level is None else {id(workout) for workout in data.train}
    fresh = [i for i, workout in enumerate(data.workouts) if id(workout) not in learned]
    places = data.before_tests(range(len(data.workouts) + 1))
    earlier = [bisect_left(fresh, place) for place in places]  # the number of fresh workouts before each
    first = max(0, earlier[0] - WINDOW)
    past = []
    for i in fresh[first:]:
        past.append(residuals_of(network, data.workouts[i], states[i]))
        on_workout()
    prior = network.predictor.intervals
    bands = [personal_intervals(prior, past[: count - first]) for count in earlier]
    return [replace(states[place], intervals=own) for place, own in zip(places, bands, strict=True)]


def state_after(
    checkpoint: Checkpoint, data: EvaluationData, on_workout: Callable[[], None] = no_progress
) -> PersonState:
    """The person's state under the checkpoint after all training and validation workouts."""
    network = NetworkForecaster(predictor=Predictor(checkpoint), level=checkpoint.level)
    return person_states(network, replace(data, test=[], level=checkpoint.level), on_workout)[-1]


def residuals_of(network: NetworkForecaster, workout: GriddedWorkout, state: PersonState) -> Residuals:
    """Residuals (bpm) and lead times by information regime, over the scored steps that serving puts there."""
    tasks = {regime: task for regime in REGIMES if (task := SOURCES[regime](workout))}
    if not tasks:
        return {}
    views = [task.view for task in tasks.values()]
    predictions = network.predictor.predict_steps(workout, views, level=network.level, response=state.response)
    truth = measured_heart_rate(workout)
    residuals = {}
    for (regime, task), steps in zip(tasks.items(), predictions, strict=True):
        scored = task.scored & (steps.regimes == REGIMES.index(regime))
        residuals[regime] = (steps.lead_minutes[scored], (truth - steps.heart_rate)[scored])
    return residuals
