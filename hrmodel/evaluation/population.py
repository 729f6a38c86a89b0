"""A base model on people whom it never saw: zero-shot error and the bands that a new subject starts with."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import count
from typing import Any

import numpy as np

from hrmodel.evaluation.calibration import residuals_of, states_and_report
from hrmodel.evaluation.forecasters import EvaluationData, NetworkForecaster
from hrmodel.evaluation.report import Report
from hrmodel.evaluation.scores import ignore
from hrmodel.network.whitening import Whitening
from hrmodel.personal.band_fitting import Residuals, population_intervals
from hrmodel.personal.bands import Intervals
from hrmodel.personal.state import no_progress, replay
from hrmodel.prediction.predictor import Predictor
from hrmodel.signals.contract import FeatureContract
from hrmodel.signals.features import Features
from hrmodel.signals.grid import GriddedWorkout
from hrmodel.signals.scale import fit_scale
from hrmodel.workouts.splits import chronological_split

MIN_WORKOUTS = 5
RECENT = 100  # workouts per person: more change the bands little
Person = Sequence[GriddedWorkout]  # one person's workouts in time order


def held_out_person(workouts: Person) -> EvaluationData:
    """Split one person's workouts as a subject's are, with the scale of train + val. Below 8: all train, no test."""
    splits: dict[str, list[GriddedWorkout]] = {"train": [], "val": [], "test": []}
    for workout, split in zip(workouts, chronological_split(len(workouts)), strict=True):
        splits[split].append(workout)
    return EvaluationData(**splits, level=fit_scale(splits["train"] + splits["val"], FeatureContract()))


def evaluate_people(
    predictor: Predictor, people: Sequence[Person], *, on_progress: Callable[[float], None] = ignore
) -> Report:
    """Zero-shot: each person's last workouts, in the scale of the earlier workouts. The means weigh people equally.

    Same keys as `evaluate`, and in `per_workout` the `person` by number; `test_workouts` counts all of them.
    """

    def report_share(place: int, share: float) -> None:
        on_progress((place + share) / len(people))

    reports = []
    for place, person in enumerate(people):
        data, report_progress = held_out_person(person), partial(report_share, place)
        network = NetworkForecaster(predictor=predictor, level=data.level)
        _, report = states_and_report(network, data, report_progress)
        if report["score"] is not None:
            reports.append(report)
        report_share(place, 1.0)
    return {
        "score": float(np.mean([report["score"] for report in reports])) if reports else None,
        "selected_on": "test",
        "test_workouts": sum(report["test_workouts"] for report in reports),
        "people": len(reports),
        "protocols": _mean_of([report["protocols"] for report in reports]),
        "baselines": _mean_of([report["baselines"] for report in reports]),
        "per_workout": [{**row, "person": i} for i, report in enumerate(reports) for row in report["per_workout"]],
        "examples": [],
    }


def whiten_people(
    predictor: Predictor, people: Iterable[Person], on_workout: Callable[[], None] = no_progress
) -> Whitening:
    """The whitening of the last layer's output over the blind passes of many people, each in their own scale.

    `on_workout` is called after each workout. Raises ValueError without any.
    """

    def outputs() -> Iterator[Features]:
        for person in people:
            for _, _, hidden in predictor.blind_outputs(person, held_out_person(person).level):
                on_workout()
                yield hidden

    return Whitening.fit(outputs())


def calibrate_people(
    predictor: Predictor, people: Sequence[Person], on_progress: Callable[[float], None] = ignore
) -> Intervals:
    """Population bands: each person's workouts after the first, in the person's scale, with the response followed.

    People of the training data may be among them: the width of a band is mostly due to the difference between days,
    which no network learns. Three held-out people alone make a poor population: their bands were far too wide.
    Fewer than five workouts in all: the predictor's own. `on_progress` gets the share done, 0..1.
    """
    if sum(len(person) for person in people) < MIN_WORKOUTS:
        return predictor.intervals
    parts, done = sum(len(person) + len(_recent(person)) for person in people), count(1)

    def tell() -> None:
        on_progress(next(done) / parts)

    return population_intervals([_residuals(predictor, person, tell) for person in people], predictor.intervals)


def _recent(person: Person) -> range:
    """The most recent workouts, without a person's first."""
    return range(max(1, len(person) - RECENT), len(person))


def _residuals(predictor: Predictor, person: Person, on_workout: Callable[[], None]) -> list[Residuals]:
    """Of the person's most recent workouts; their level is that of train + val, as it would serve."""
    network = NetworkForecaster(predictor=predictor, level=held_out_person(person).level)
    states = replay(network, person, on_workout)
    residuals = []
    for own in residuals_of(network, [(person[i], states[i]) for i in _recent(person)]):
        residuals.append(own)
        on_workout()
    return residuals


def _mean_of(tables: Sequence[Any]) -> Any:
    """The mean of equally shaped tables, number by number; None where no table has a number."""
    present = [table for table in tables if table is not None]
    if not present:
        return {} if not tables else None
    if isinstance(present[0], dict):
        keys = dict.fromkeys(key for table in present for key in table)
        return {key: _mean_of([table.get(key) for table in present]) for key in keys}
    return float(np.mean(present))
