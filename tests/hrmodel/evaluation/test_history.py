"""Later workouts go on from an evaluated history, and the report is that of all workouts evaluated at once."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from hrmodel.evaluation import stored_history
from hrmodel.evaluation.calibration import person_states
from hrmodel.evaluation.forecasters import EvaluationData, NetworkForecaster
from hrmodel.evaluation.history import EvaluatedHistory
from hrmodel.evaluation.report import evaluate
from hrmodel.signals.contract import FeatureContract
from hrmodel.signals.grid import GriddedWorkout, to_grid
from hrmodel.signals.scale import fit_scale
from hrmodel.workouts.simulate import simulate_runner
from hrmodel.workouts.splits import chronological_split, extend_split
from tests.prediction_builders import make_predictor

FIRST, ALL = 70, 90
START = datetime(2026, 1, 1, 7, tzinfo=UTC)


@pytest.fixture(scope="module")
def workouts() -> list[GriddedWorkout]:
    runs = simulate_runner(workouts=ALL, seed=3)
    return [replace(to_grid(run, run.digest), started_at=START + timedelta(days=day)) for day, run in enumerate(runs)]


def parts(workouts, splits) -> dict[str, list[GriddedWorkout]]:
    return {name: [w for w, s in zip(workouts, splits, strict=True) if s == name] for name in ("train", "val", "test")}


@pytest.fixture(scope="module")
def first(workouts) -> EvaluationData:
    split = parts(workouts[:FIRST], chronological_split(FIRST))
    return EvaluationData(**split, level=fit_scale(split["train"] + split["val"], FeatureContract()))


@pytest.fixture(scope="module")
def later(workouts, first) -> EvaluationData:
    splits = extend_split([*chronological_split(FIRST), *[None] * (ALL - FIRST)])
    return EvaluationData(**parts(workouts[FIRST:], splits[FIRST:]), level=first.level)


def network_of(kind: str, level) -> NetworkForecaster:
    own = {"level": level} if kind == "personal" else {}
    return NetworkForecaster(predictor=make_predictor(gain=1.0, **own), level=level)


def closely(one, other) -> bool:
    """Whether two JSON trees have the same names and words, and numbers that differ by less than 1e-9."""
    if isinstance(one, dict):
        return list(one) == list(other) and all(closely(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(closely, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) < 1e-9
    return one == other


@pytest.mark.parametrize("kind", ["base", "personal"])
def test_a_history_that_begins_has_the_report_and_the_state_of_an_evaluation(kind, first):
    network = network_of(kind, first.level)
    states = person_states(network, first)
    history = EvaluatedHistory.of(network, first)
    by_digest = {workout.digest: workout for workout in first.workouts}
    assert history.report(network, by_digest.__getitem__) == evaluate(network, first, states)
    assert history.state.to_dict() == states[-1].to_dict()


@pytest.mark.parametrize("kind", ["base", "personal"])
@pytest.mark.parametrize("step", [1, 7, ALL - FIRST])
def test_going_on_gives_the_report_of_a_full_evaluation_with_what_was_fitted_first(kind, step, workouts, first, later):
    network = network_of(kind, first.level)
    by_digest = {workout.digest: workout for workout in workouts}
    history = EvaluatedHistory.of(network, first)
    everything = EvaluationData(
        **{name: [*getattr(first, name), *getattr(later, name)] for name in ("train", "val", "test")}, level=first.level
    )
    full = EvaluatedHistory.start(network, first).go_on(network, everything)
    ordered = later.workouts
    for place in range(0, len(ordered), step):
        new = {id(workout) for workout in ordered[place : place + step]}
        data = EvaluationData(
            **{name: [w for w in getattr(later, name) if id(w) in new] for name in ("train", "val", "test")},
            level=first.level,
        )
        history = stored_history.from_bytes(stored_history.to_bytes(history)).go_on(network, data)
    assert len(history.tested) == len(everything.test) > len(first.test)
    assert closely(history.report(network, by_digest.__getitem__), full.report(network, by_digest.__getitem__))
    assert closely(history.state.to_dict(), full.state.to_dict())


def test_bytes_give_the_same_history_again(first):
    network = network_of("base", first.level)
    history = EvaluatedHistory.of(network, first)
    data = stored_history.to_bytes(history)
    assert stored_history.to_bytes(stored_history.from_bytes(data)) == data
    assert len(data) < 40_000 * len(first.test) + 2_000_000


@pytest.mark.parametrize("data", [b"", b"nothing", np.zeros(100).tobytes()])
def test_other_bytes_are_refused(data):
    with pytest.raises(ValueError, match="not an evaluated history"):
        stored_history.from_bytes(data)


def test_an_earlier_workout_is_refused(first, later):
    network = network_of("base", first.level)
    history = EvaluatedHistory.of(network, first)
    with pytest.raises(ValueError, match="earlier than the latest known"):
        history.go_on(network, replace(later, train=first.train[:1], val=[], test=[]))
