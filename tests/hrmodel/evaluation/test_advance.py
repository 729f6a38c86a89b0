"""On recorded runs of three people: a state that advances run by run is the one of a replay of all."""

from itertools import groupby

import numpy as np
import pytest

from hrmodel.evaluation.forecasters import NetworkForecaster
from hrmodel.network.checkpoint import Checkpoint
from hrmodel.offline.paths import shipped_base
from hrmodel.personal.state import PersonState, in_time, replay
from hrmodel.prediction.predictor import Predictor
from hrmodel.signals.contract import FeatureContract
from hrmodel.signals.grid import GriddedWorkout, to_grid
from hrmodel.signals.scale import fit_scale
from hrmodel.workouts.sandbox.reading import read_workouts
from tests.shared_data import personal_parquet

RUNS = 300  # of three people in all


@pytest.fixture(scope="module")
def people() -> list[list[GriddedWorkout]]:
    """100 runs of each of three people."""
    found: dict[str, list[GriddedWorkout]] = {}
    for person, workouts in groupby(read_workouts(personal_parquet()), key=lambda workout: workout.person):
        own = found.setdefault(person or "", [])
        own += [to_grid(workout) for workout in workouts if len(own) < RUNS]
    longest = sorted(found.values(), key=len)[-3:]
    return [in_time(own)[-RUNS // 3 :] for own in longest]


def test_advancing_run_by_run_equals_a_replay(people):
    assert sum(map(len, people)) == RUNS
    predictor = Predictor(Checkpoint.read(shipped_base()))
    for runs in people:
        network = NetworkForecaster(predictor=predictor, level=fit_scale(runs, FeatureContract()))
        state = PersonState.start(network.size)
        for run, replayed in zip(runs, replay(network, runs)[1:], strict=True):
            (state,) = state.advance(network, [run])
            assert np.abs(state.filter.mean - replayed.filter.mean).max() < 1e-9
            assert np.abs(state.filter.covariance - replayed.filter.covariance).max() < 1e-9
