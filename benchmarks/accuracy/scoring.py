"""Errors and bands of one forecaster on a runner's test workouts, as `evaluate` measures them."""

from collections.abc import Sequence
from typing import Any

from hrmodel.evaluation.calibration import person_states
from hrmodel.evaluation.forecasters import EvaluationData, Forecaster, NetworkForecaster, Question, score
from hrmodel.evaluation.metrics import Scored, covered, mae, mean_half_widths
from hrmodel.evaluation.protocols import PROTOCOLS
from hrmodel.evaluation.report import SCORE_PROTOCOLS
from hrmodel.personal.state import PersonState, replay
from hrmodel.signals.grid import GriddedWorkout

COVERAGES = ("0.8", "0.9")
Scores = dict[str, dict[str, float]]  # one workout: protocol -> mae, and per band covered_0.8, half_width_0.8


def score_baseline(forecaster: Forecaster, data: EvaluationData, protocols: Sequence[str]) -> list[Scores]:
    """The test workouts in time order, each predicted with the state after all before it."""
    return _score(forecaster, data.test, data.before_tests(replay(forecaster, data.workouts)), protocols)


def score_network(network: NetworkForecaster, data: EvaluationData, protocols: Sequence[str]) -> list[Scores]:
    """The same for a network, with its bands."""
    return _score(network, data.test, person_states(network, data), protocols)


def score_stranger(
    network: NetworkForecaster, workouts: Sequence[GriddedWorkout], protocols: Sequence[str]
) -> list[Scores]:
    """Each workout as if it were the first that is known of the person."""
    return _score(network, workouts, [PersonState.start(network.size)] * len(workouts), protocols)


def decision_report(network: NetworkForecaster, data: EvaluationData) -> dict[str, Any]:
    """What `compare` reads of `evaluate`'s report, without the time that the rest of it takes."""
    scores = score_baseline(network, data, SCORE_PROTOCOLS)
    rows = [
        {"digest": workout.digest, **{name: own.get(name, {}).get("mae") for name in SCORE_PROTOCOLS}}
        for workout, own in zip(data.test, scores, strict=True)
    ]
    return {"per_workout": rows}


def _score(
    forecaster: Forecaster,
    workouts: Sequence[GriddedWorkout],
    states: Sequence[PersonState],
    protocols: Sequence[str],
) -> list[Scores]:
    """Of each workout with the state before it, by protocol; those that it is too short for are left out."""
    tasks = [{name: made for name in protocols if (made := PROTOCOLS[name](workout))} for workout in workouts]
    questions = [
        Question.of(workout, state, list(own.values()))
        for workout, state, own in zip(workouts, states, tasks, strict=False)
    ]
    scored = score(forecaster, questions, float("nan"))
    return [
        {name: _scores(result) for name, result in zip(own, results, strict=True)}
        for own, results in zip(tasks, scored, strict=True)
    ]


def _scores(scored: Scored) -> dict[str, float]:
    inside, widths = covered(scored), mean_half_widths(scored)
    scores = {"mae": mae(scored)}
    for level in COVERAGES if inside else ():
        scores |= {f"covered_{level}": inside[level], f"half_width_{level}": widths[level]}
    return scores
