"""The errors of a model on a subject's test workouts, beside the baselines'. JSON-ready: None instead of NaN."""

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Any

import numpy as np

from hrmodel.evaluation.baselines import BASELINES
from hrmodel.evaluation.examples import BAND, best_median_worst, series
from hrmodel.evaluation.forecasters import EvaluationData, NetworkForecaster
from hrmodel.evaluation.metrics import Measured, over_workouts, reliability
from hrmodel.evaluation.protocols import PROTOCOLS
from hrmodel.evaluation.scores import Measures, TestedWorkout, fit_baselines, ignore, score_tests
from hrmodel.personal.state import PersonState
from hrmodel.signals.grid import GriddedWorkout

SCORE_PROTOCOLS = ("P1", "P2-180")
FITTING = 0.2  # of an evaluation's progress
Report = dict[str, Any]


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
    if not data.test:
        return report_of(network, [], no_workout)
    baselines = fit_baselines(data, lambda share: on_progress(FITTING * share))
    tested, _ = score_tests(
        network, baselines, data, states, lambda share: on_progress(FITTING + (1 - FITTING) * share)
    )
    return report_of(network, tested, {workout.digest: workout for workout in data.test}.__getitem__)


def no_workout(digest: str) -> GriddedWorkout:
    """Find none: for a report without test workouts. Raises KeyError."""
    raise KeyError(digest)


def report_of(
    network: NetworkForecaster,
    tested: Sequence[TestedWorkout],
    find: Callable[[str], GriddedWorkout],
) -> Report:
    """The report on test workouts in time order; `find` gives one by its digest, and is called for the examples."""
    protocols = {name: _table([test.network for test in tested], name) for name in PROTOCOLS} if tested else {}
    return {
        "score": _score(protocols) if tested else None,
        "selected_on": "test",
        "test_workouts": len(tested),
        "protocols": protocols,
        "baselines": {name: _means(tested, name) for name in BASELINES} if tested else {},
        "per_workout": [_row(test) for test in tested],
        "examples": _examples(network, tested, find),
    }


def _examples(
    network: NetworkForecaster, tested: Sequence[TestedWorkout], find: Callable[[str], GriddedWorkout]
) -> list[Report]:
    """The best, the median and the worst workout blind, as series."""
    examples = []
    for which, i in best_median_worst([_error(test.network, "P1") for test in tested]).items():
        test = tested[i]
        own: Report = {"digest": test.digest, **{p: _error(test.network, p) for p in SCORE_PROTOCOLS}}
        errors = {name: {p: _error(scored, p) for p in SCORE_PROTOCOLS} for name, scored in test.baselines.items()}
        shown = series(network, find(test.digest), test.response, test.intervals)
        examples.append({"which": which, **own, "baselines": errors, **shown})
    return examples


def _table(results: Sequence[Measures], protocol: str) -> Report:
    own = [result[protocol] for result in results if protocol in result]
    rows = [workout.metrics for workout in own]
    return {
        "workouts": len(rows),
        "mean": over_workouts(rows, np.mean),
        "median": over_workouts(rows, np.median),
        "reliability": reliability(own),
    }


def _means(tested: Sequence[TestedWorkout], baseline: str) -> dict[str, dict[str, float | None]]:
    results = [test.baselines[baseline] for test in tested]
    rows = {name: [result[name].metrics for result in results if name in result] for name in PROTOCOLS}
    return {name: over_workouts(own, np.mean) for name, own in rows.items()}


def _score(protocols: Mapping[str, Report]) -> float | None:
    """Mean of the P1 and P2-180 mean absolute errors in bpm; None unless both exist."""
    errors = [protocols[name]["mean"].get("mae") for name in SCORE_PROTOCOLS]
    return None if None in errors else float(np.mean(errors))


def _row(test: TestedWorkout) -> Report:
    """One test workout: its mean absolute error in bpm by protocol; bias (bpm) and coverage of the 90 % band blind.

    None where it is too short.
    """
    blind: Measured | None = test.network.get("P1")
    return {
        "digest": test.digest,
        "minutes": test.minutes,
        "heart_rate": _known(test.heart_rate),
        **{name: _error(test.network, name) for name in PROTOCOLS},
        "bias": _known(blind.metrics["bias"]) if blind else None,
        "coverage": _known(blind.covered[BAND]) if blind else None,
    }


def _error(result: Measures, protocol: str) -> float | None:
    return _known(result[protocol].metrics["mae"]) if protocol in result else None


def _known(value: float) -> float | None:
    return value if isfinite(value) else None
