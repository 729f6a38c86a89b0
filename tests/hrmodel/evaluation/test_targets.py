from dataclasses import replace

import numpy as np
import pytest

from hrmodel.evaluation.forecasters import EvaluationData, NetworkForecaster
from hrmodel.evaluation.targets import personal_targets
from hrmodel.personal.state import replay
from hrmodel.prediction.predictor import Predictor
from hrmodel.signals.contract import FeatureContract
from hrmodel.signals.features import history_feature
from hrmodel.signals.grid import GriddedWorkout, forward_fill, to_grid
from hrmodel.signals.scale import fit_scale
from hrmodel.signals.steps import measured_heart_rate
from hrmodel.training.batches import ScaledWorkout, View, assemble, features_of
from hrmodel.workouts.simulate import simulate_runner
from tests.prediction_builders import make_checkpoint

CONTRACT = FeatureContract()
START = make_checkpoint(gain=1.0)


def person() -> EvaluationData:
    gridded = [to_grid(workout, workout.digest) for workout in simulate_runner(workouts=7, seed=11)]
    return EvaluationData(train=gridded[:4], val=gridded[4:6], test=gridded[6:], level=fit_scale(gridded, CONTRACT))


@pytest.fixture(scope="module")
def data() -> EvaluationData:
    return person()


@pytest.fixture(scope="module")
def targets(data) -> list[ScaledWorkout]:
    train, val = personal_targets(START, data)
    return [*train, *val]


def higher(workout: GriddedWorkout, bpm: float) -> GriddedWorkout:
    segments = tuple(replace(segment, heart_rate=segment.heart_rate + bpm) for segment in workout.segments)
    return replace(workout, segments=segments)


def test_training_and_validation_come_in_their_order_and_in_the_persons_scale(data, targets):
    train, val = personal_targets(START, data)
    assert [scaled.gridded for scaled in train] == data.train
    assert [scaled.gridded for scaled in val] == data.val
    assert all(scaled.level == data.level for scaled in targets)


def test_each_workouts_response_is_the_one_that_was_known_before_it(data, targets):
    network = NetworkForecaster(predictor=Predictor(START), level=data.level)
    before = replay(network, [*data.train, *data.val])
    for scaled, state in zip(targets, before[:-1], strict=True):
        weights = state.before(scaled.gridded.started_at).mean
        (terms,) = network.blind_terms([scaled.gridded])
        np.testing.assert_allclose(scaled.response, terms.features @ weights, atol=1e-9)
        assert len(scaled.response) == len(measured_heart_rate(scaled.gridded))
    assert (targets[0].response == 0).all()
    assert all(np.abs(scaled.response).max() > 0.1 for scaled in targets[1:])


@pytest.mark.parametrize("changed", range(6))
def test_a_workouts_heart_rate_moves_no_response_up_to_its_own_and_every_later_one(data, targets, changed):
    workouts = [*data.train, *data.val]
    workouts[changed] = higher(workouts[changed], 30.0)
    train, val = personal_targets(START, replace(data, train=workouts[:4], val=workouts[4:]))
    for place, (scaled, original) in enumerate(zip([*train, *val], targets, strict=True)):
        assert np.array_equal(scaled.response, original.response) == (place <= changed), place


def test_test_workouts_move_no_response(data, targets):
    train, val = personal_targets(START, replace(data, test=[higher(workout, 30.0) for workout in data.test]))
    for scaled, original in zip([*train, *val], targets, strict=True):
        assert np.array_equal(scaled.response, original.response)


def test_what_is_learned_is_heart_rate_less_the_response_in_target_and_history(targets):
    features = features_of(targets, CONTRACT)
    batch = assemble([(sequence, View(float("inf"))) for sequence in features], "train")
    for row, scaled in enumerate(targets):
        (segment,), level = scaled.gridded.segments, scaled.level
        left = segment.heart_rate - scaled.response
        measured = np.isfinite(left)
        target = batch.target[row, : segment.steps].numpy()
        np.testing.assert_allclose(target[measured], ((left - level.heart_rate) / level.spread)[measured], atol=1e-5)
        history = history_feature(forward_fill(left), level.heart_rate, level.spread)
        assert np.array_equal(batch.inputs[row, : segment.steps, 2].numpy(), history)


def test_what_the_network_learns_and_the_response_make_the_heart_rate_together(data, targets):
    """The target in bpm plus the response is the heart rate: nothing is learned twice, nothing is lost."""
    for sequence, scaled in zip(features_of(targets, CONTRACT), targets, strict=True):
        truth = measured_heart_rate(scaled.gridded)
        together = data.level.heart_rate + data.level.spread * sequence.target + scaled.response
        np.testing.assert_allclose(together[sequence.mask], truth[sequence.mask], atol=1e-3)


def test_progress_rises_to_one(data):
    heard: list[float] = []
    personal_targets(START, data, heard.append)
    assert heard == sorted(heard)
    assert heard[-1] == 1.0


def test_without_a_level_there_are_no_targets(data):
    with pytest.raises(ValueError, match="fit the level"):
        personal_targets(START, replace(data, level=None))


def test_without_validation_all_workouts_train(data):
    train, val = personal_targets(START, replace(data, val=[]))
    assert (len(train), val) == (4, [])
