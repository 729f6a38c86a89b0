"""The errors of a model on a subject's test workouts, beside the baselines'. JSON-ready: None instead of NaN."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import isfinite
from typing import Any

import numpy as np

from hrmodel.evaluation.baselines import BASELINES
from hrmodel.evaluation.examples import BAND, best_median_worst, series
from hrmodel.evaluation.forecasters import EvaluationData, Forecaster, NetworkForecaster, Question, score
from hrmodel.evaluation.metrics import Scored, bias, covered, mae, measure, over_workouts, reliability
from hrmodel.evaluation.protocols import PROTOCOLS
from hrmodel.personal.state import PersonState, replay
from hrmodel.signals.grid import STEP_SECONDS, GriddedWorkout
from hrmodel.signals.steps import elapsed_steps

SCORE_PROTOCOLS = ("P1", "P2-180")
Report = dict[str, Any]
ByProtocol = dict[str, Scored]  # one workout; protocols that it is too short for are missing


def ignore(_: float) -> None:
    """Take a progress and do nothing."""


def evaluate(
    network: NetworkForecaster,
    data: EvaluationData,
    states: Sequence[PersonState],
    *,
    on_progress: Callable[[float], None] = ignore,
) -> Report:
    """Score a model and the baselines on the test workouts.

    `states` are those of `person_states`: before each test workout, and after them all. `on_progress` gets the share
    done, 0..1, several times in every workout, so that a job's lease can be renewed there. Without test workouts: score
    None, empty tables.
    """
    report: Report = {
        "score": None,
        "selected_on": "test",
        "test_workouts": len(data.test),
        "protocols": {},
        "baselines": {},
        "per_workout": [],
        "examples": [],
    }
    if not data.test:
        return report
    parts = len(BASELINES) + 1
    results = _results(network, data, states, partial(_part_of, on_progress, 0, parts))
    baseline_results: dict[str, list[ByProtocol]] = {}
    for done, (name, fit) in enumerate(BASELINES.items(), start=2):
        tick = partial(on_progress, (done - 1) / parts)
        baseline = fit(data, tick)
        own_states = data.before_tests(replay(baseline, data.workouts, tick))
        baseline_results[name] = _results(baseline, data, own_states, partial(_part_of, on_progress, done - 1, parts))
        on_progress(done / parts)
    report["protocols"] = {name: _table(results, name) for name in PROTOCOLS}
    report["baselines"] = {name: {p: _means(scored, p) for p in PROTOCOLS} for name, scored in baseline_results.items()}
    report["score"] = _score(report["protocols"])
    report["per_workout"] = [_row(workout, result) for workout, result in zip(data.test, results, strict=True)]
    for which, i in best_median_worst([_error(result, "P1") for result in results]).items():
        errors = {name: {p: _error(scored[i], p) for p in SCORE_PROTOCOLS} for name, scored in baseline_results.items()}
        shown = series(network, data.test[i], states[i])
        own = {name: report["per_workout"][i][name] for name in ("digest", *SCORE_PROTOCOLS)}
        report["examples"].append({"which": which, **own, "baselines": errors, **shown})
    return report


def _part_of(on_progress: Callable[[float], None], done: int, parts: int, share: float) -> None:
    """Report the share of the whole when so many parts are done, and this share of the next."""
    on_progress((done + share) / parts)


def _results(
    forecaster: Forecaster, data: EvaluationData, states: Sequence[PersonState], on_progress: Callable[[float], None]
) -> list[ByProtocol]:
    """The scored steps of every test workout by protocol. Protocols that a workout is too short for are left out."""
    tasks = [{name: task for name, make in PROTOCOLS.items() if (task := make(workout))} for workout in data.test]
    questions = [
        Question(workout=workout, state=state, tasks=list(own.values()))
        for workout, state, own in zip(data.test, states[:-1], tasks, strict=True)
    ]
    results = []
    for own, scored in zip(tasks, score(forecaster, questions, data.max_heart_rate), strict=True):
        results.append(dict(zip(own, scored, strict=True)))
        on_progress(len(results) / len(data.test))
    return results


def _table(results: Sequence[ByProtocol], protocol: str) -> Report:
    scored = [result[protocol] for result in results if protocol in result]
    rows = [measure(workout) for workout in scored]
    return {
        "workouts": len(rows),
        "mean": over_workouts(rows, np.mean),
        "median": over_workouts(rows, np.median),
        "reliability": reliability(scored),
    }


def _means(results: Sequence[ByProtocol], protocol: str) -> dict[str, float | None]:
    return over_workouts([measure(result[protocol]) for result in results if protocol in result], np.mean)


def _score(protocols: Mapping[str, Report]) -> float | None:
    """Mean of the P1 and P2-180 mean absolute errors in bpm; None unless both exist."""
    errors = [protocols[name]["mean"].get("mae") for name in SCORE_PROTOCOLS]
    return None if None in errors else float(np.mean(errors))


def _row(workout: GriddedWorkout, result: ByProtocol) -> Report:
    """One test workout: its mean absolute error in bpm by protocol; bias (bpm) and coverage of the 90 % band blind.

    None where it is too short.
    """
    blind = result.get("P1")
    return {
        "digest": workout.digest,
        "minutes": round(float(elapsed_steps(workout)[-1] + 1) * STEP_SECONDS / 60.0, 1),
        "heart_rate": _known(workout.mean_heart_rate),
        **{name: _error(result, name) for name in PROTOCOLS},
        "bias": _known(bias(blind)) if blind else None,
        "coverage": _known(covered(blind)[BAND]) if blind else None,
    }


def _error(result: ByProtocol, protocol: str) -> float | None:
    return _known(mae(result[protocol])) if protocol in result else None


def _known(value: float) -> float | None:
    return value if isfinite(value) else None
