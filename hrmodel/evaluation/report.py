"""How good a model is on a subject's test workouts, beside what is easy. JSON-ready: None instead of NaN."""

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Any

import numpy as np

from hrmodel.evaluation.baselines import BASELINES
from hrmodel.evaluation.contenders import Contender, EvaluationData, Network, pooled, replay, score
from hrmodel.evaluation.metrics import Scored, covered, mae, measure, over_workouts
from hrmodel.evaluation.protocols import PROTOCOLS
from hrmodel.prediction.predictor import Predictor
from hrmodel.signals.grid import GriddedWorkout

SCORE_PROTOCOLS = ("P1", "P2-180")
Report = dict[str, Any]
ByProtocol = dict[str, Scored]  # one workout; protocols that it is too short for are missing


def ignore(_: float) -> None:
    """Take a progress and do nothing."""


def evaluate(
    predictor: Predictor,
    data: EvaluationData,
    *,
    gain: float = 0.3,
    on_progress: Callable[[float], None] = ignore,
) -> Report:
    """Score a model and the baselines on the test workouts; `on_progress` hears the share done, 0..1.

    The level offset starts at 0 and is replayed over validation, then test: each test workout is scored with the
    offset before it. `offset` in the report is the one after the last. Without test workouts: score None, empty tables.
    """
    network = Network(predictor=predictor, level=data.level)
    offsets = replay(network, [*data.val, *data.test], gain)
    report: Report = {
        "score": None,
        "selected_on": "test",
        "test_workouts": len(data.test),
        "offset": offsets[-1],
        "protocols": {},
        "baselines": {},
        "per_workout": [],
    }
    if not data.test:
        return report
    contenders: dict[str, Contender] = {name: fit(data) for name, fit in BASELINES.items()}
    parts = len(contenders) + 1
    results = _results(network, data, offsets, lambda share: on_progress(share / parts))
    report["protocols"] = {name: _table(results, name) for name in PROTOCOLS}
    report["score"] = _score(report["protocols"])
    report["per_workout"] = [_row(workout, result) for workout, result in zip(data.test, results, strict=True)]
    for done, (name, baseline) in enumerate(contenders.items(), start=2):
        offsets = replay(baseline, [*data.val, *data.test], gain)
        scored = _results(baseline, data, offsets, ignore)
        report["baselines"][name] = {protocol: _means(scored, protocol) for protocol in PROTOCOLS}
        on_progress(done / parts)
    return report


def _results(
    contender: Contender, data: EvaluationData, offsets: Sequence[float], on_progress: Callable[[float], None]
) -> list[ByProtocol]:
    """The scored steps of every test workout by protocol."""
    highest = data.max_heart_rate
    results = []
    for i, (workout, offset) in enumerate(zip(data.test, offsets[len(data.val) : -1], strict=True), start=1):
        results.append(_score_workout(contender, workout, offset, highest))
        on_progress(i / len(data.test))
    return results


def _score_workout(contender: Contender, workout: GriddedWorkout, offset: float, highest: float) -> ByProtocol:
    """All protocols of a workout in one go: they share the blind pass."""
    tasks = [(name, task) for name, make in PROTOCOLS.items() for task in make(workout)]
    scored = score(contender, workout, [task for _, task in tasks], offset=offset, max_heart_rate=highest)
    parts: dict[str, list[Scored]] = {}
    for (name, _), part in zip(tasks, scored, strict=True):
        parts.setdefault(name, []).append(part)
    return {name: pooled(of_protocol) for name, of_protocol in parts.items()}


def _table(results: Sequence[ByProtocol], protocol: str) -> Report:
    rows = [measure(result[protocol]) for result in results if protocol in result]
    bands = [covered(result[protocol]) for result in results if protocol in result]
    return {
        "workouts": len(rows),
        "mean": over_workouts(rows, np.mean),
        "median": over_workouts(rows, np.median),
        "coverage": over_workouts(bands, np.mean),
    }


def _means(results: Sequence[ByProtocol], protocol: str) -> dict[str, float | None]:
    return over_workouts([measure(result[protocol]) for result in results if protocol in result], np.mean)


def _score(protocols: Mapping[str, Report]) -> float | None:
    """Mean of the P1 and P2-180 mean absolute errors in bpm; None unless both exist."""
    errors = [protocols[name]["mean"].get("mae") for name in SCORE_PROTOCOLS]
    return None if None in errors else float(np.mean(errors))


def _row(workout: GriddedWorkout, result: ByProtocol) -> Report:
    """One test workout: its mean absolute error in bpm by protocol, None where it is too short."""
    errors = {name: mae(result[name]) if name in result else None for name in PROTOCOLS}
    return {"digest": workout.digest} | {name: e if e is None or isfinite(e) else None for name, e in errors.items()}
