"""Errors and bands of one forecaster on a runner's test workouts, as `evaluate` measures them."""

from collections.abc import Sequence
from typing import Any

from hrmodel.evaluation.calibration import person_states
from hrmodel.evaluation.forecasters import EvaluationData, Forecaster, NetworkForecaster, score
from hrmodel.evaluation.metrics import covered, mae, mean_half_widths
from hrmodel.evaluation.protocols import PROTOCOLS
from hrmodel.evaluation.report import SCORE_PROTOCOLS
from hrmodel.personal.state import PersonState, replay
from hrmodel.signals.grid import GriddedWorkout

COVERAGES = ("0.8", "0.9")
Scores = dict[str, dict[str, float]]  # one workout: protocol -> mae, and per band covered_0.8, half_width_0.8


def score_baseline(forecaster: Forecaster, data: EvaluationData, protocols: Sequence[str]) -> list[Scores]:
    """The test workouts in time order, each predicted with the state after all before it."""
    states = data.before_tests(replay(forecaster, data.workouts))
    return [_score(forecaster, *pair, protocols) for pair in zip(data.test, states, strict=False)]


def score_network(network: NetworkForecaster, data: EvaluationData, protocols: Sequence[str]) -> list[Scores]:
    """The same for a network, with its bands."""
    return [_score(network, *pair, protocols) for pair in zip(data.test, person_states(network, data), strict=False)]


def score_stranger(
    network: NetworkForecaster, workouts: Sequence[GriddedWorkout], protocols: Sequence[str]
) -> list[Scores]:
    """Each workout as if it were the first that is known of the person."""
    start = PersonState.start(network.size)
    return [_score(network, workout, start, protocols) for workout in workouts]


def decision_report(network: NetworkForecaster, data: EvaluationData) -> dict[str, Any]:
    """What `compare` reads of `evaluate`'s report, without the time that the rest of it takes."""
    scores = score_baseline(network, data, SCORE_PROTOCOLS)
    rows = [
        {"digest": workout.digest, **{name: own.get(name, {}).get("mae") for name in SCORE_PROTOCOLS}}
        for workout, own in zip(data.test, scores, strict=True)
    ]
    return {"per_workout": rows}


def _score(forecaster: Forecaster, workout: GriddedWorkout, state: PersonState, protocols: Sequence[str]) -> Scores:
    """By protocol; those that the workout is too short for are left out."""
    tasks = {name: made for name in protocols if (made := PROTOCOLS[name](workout))}
    parts = score(forecaster, workout, list(tasks.values()), state=state, max_heart_rate=float("nan"))
    scores = {}
    for name, scored in zip(tasks, parts, strict=True):
        inside, widths = covered(scored), mean_half_widths(scored)
        scores[name] = {"mae": mae(scored)}
        for level in COVERAGES if inside else ():
            scores[name] |= {f"covered_{level}": inside[level], f"half_width_{level}": widths[level]}
    return scores
