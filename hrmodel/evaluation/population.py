"""A base model on people whom it never saw: zero-shot error and the bands that a new subject starts with."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hrmodel.evaluation.calibration import MIN_WORKOUTS, residuals_of
from hrmodel.evaluation.contenders import EvaluationData
from hrmodel.evaluation.report import Report, evaluate, ignore
from hrmodel.prediction.intervals import Intervals, conformal
from hrmodel.prediction.predictor import Predictor
from hrmodel.signals.features import FeatureContract
from hrmodel.signals.grid import GriddedWorkout
from hrmodel.signals.level import fit_level
from hrmodel.workouts.splits import chronological_split

Person = Sequence[GriddedWorkout]  # one person's workouts in time order


def held_out_person(workouts: Person) -> EvaluationData:
    """Split one person's workouts as a subject's are, with the level of train + val. Below 8: all train, no test."""
    splits: dict[str, list[GriddedWorkout]] = {"train": [], "val": [], "test": []}
    for workout, split in zip(workouts, chronological_split(len(workouts)), strict=True):
        splits[split].append(workout)
    return EvaluationData(**splits, level=fit_level(splits["train"] + splits["val"], FeatureContract()))


def evaluate_people(
    predictor: Predictor, people: Sequence[Person], *, on_progress: Callable[[float], None] = ignore
) -> Report:
    """Zero-shot: each person's last workouts, under the level of their earlier ones. The means weigh people equally.

    Same keys as `evaluate`; `test_workouts` counts all of them; `offset` is 0: there is no one subject.
    """
    reports = []
    for place, person in enumerate(people):
        report = evaluate(predictor, held_out_person(person))
        if report["score"] is not None:
            reports.append(report)
        on_progress((place + 1) / len(people))
    return {
        "score": float(np.mean([report["score"] for report in reports])) if reports else None,
        "selected_on": "test",
        "test_workouts": sum(report["test_workouts"] for report in reports),
        "offset": 0.0,
        "people": len(reports),
        "protocols": _mean_of([report["protocols"] for report in reports]),
        "baselines": _mean_of([report["baselines"] for report in reports]),
        "per_workout": [row for report in reports for row in report["per_workout"]],
    }


def calibrate_people(predictor: Predictor, people: Sequence[Person]) -> Intervals:
    """Population bands: residuals on all workouts after each person's first ones, under their level, tracked."""
    residuals: dict[str, list[Any]] = {}
    for person in people:
        data = held_out_person(person)
        for kind, values in residuals_of(predictor, [*data.val, *data.test], level=data.level).items():
            residuals.setdefault(kind, []).extend(values)
    if sum(len(person) for person in people) < MIN_WORKOUTS:
        return predictor.intervals
    return conformal(residuals, predictor.intervals)


def _mean_of(tables: Sequence[Any]) -> Any:
    """The mean of equally shaped tables, number by number; None where nobody has one."""
    present = [table for table in tables if table is not None]
    if not present:
        return {} if not tables else None
    if isinstance(present[0], dict):
        keys = dict.fromkeys(key for table in present for key in table)
        return {key: _mean_of([table.get(key) for table in present]) for key in keys}
    return float(np.mean(present))
