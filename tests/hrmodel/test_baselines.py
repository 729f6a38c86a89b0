import numpy as np
import pytest

from hrmodel.evaluation.baselines import BASELINES
from hrmodel.evaluation.contenders import EvaluationData, replay
from hrmodel.evaluation.ridge import motion_table
from hrmodel.prediction.steps import measured_heart_rate
from hrmodel.signals.features import FeatureContract
from hrmodel.signals.grid import to_grid
from hrmodel.signals.level import fit_level
from hrmodel.workouts.simulate import simulate_runner
from tests.prediction_builders import LEVEL, make_gridded

BLIND = np.full(40, np.nan)


def data_of(*train, val=(), level=LEVEL) -> EvaluationData:
    return EvaluationData(train=train, val=val, test=(), level=level)


def one_answer(name, data, view, workout=None):
    workout = workout or make_gridded(np.full(len(view), np.nan))
    return BASELINES[name](data).answers(workout, [view], 0.0)[0].heart_rate


def test_training_mean_is_the_mean_of_the_workouts_means_whatever_is_known():
    data = data_of(make_gridded(np.full(30, 140.0)), make_gridded(np.full(90, 160.0)))
    assert (one_answer("training_mean", data, np.full(40, 99.0)) == 150.0).all()


def test_persistence_is_the_last_observed_value_and_the_training_mean_before_any():
    view = BLIND.copy()
    view[[5, 6, 20]] = [120.0, 125.0, 170.0]
    answer = one_answer("persistence", data_of(make_gridded(np.full(30, 140.0))), view)
    assert answer.tolist() == [140.0] * 6 + [120.0] + [125.0] * 14 + [170.0] * 19


def test_elapsed_curve_follows_the_training_workouts_by_time_and_holds_its_last_value():
    ramp = make_gridded(100 + np.arange(30.0))
    answer = one_answer("elapsed_curve", data_of(ramp, ramp), BLIND)
    np.testing.assert_allclose(answer[3:26], 103 + np.arange(23.0))  # a moving mean of a line is the line
    assert (answer[30:] == answer[29]).all()


def test_ridge_recovers_a_heart_rate_that_is_linear_in_its_features():
    workouts = [to_grid(workout) for workout in simulate_runner(workouts=6, seed=3)]
    for workout in workouts:
        segment = workout.segments[0]
        table = motion_table(workout)
        segment.heart_rate[:] = 130 + 8 * table[: segment.steps, 0] + 5 * table[: segment.steps, 21]
    ridge = BASELINES["ridge"](data_of(*workouts[:4], val=workouts[4:5]))
    truth = measured_heart_rate(workouts[5])
    answer = ridge.answers(workouts[5], [np.full(len(truth), np.nan)], 0.0)[0].heart_rate
    assert np.abs(answer - truth).mean() < 0.2


def test_ridge_has_level_tracking_and_the_corrector():
    workouts = [to_grid(workout) for workout in simulate_runner(workouts=8, seed=1)]
    ridge = BASELINES["ridge"](data_of(*workouts[:6], level=fit_level(workouts[:6], FeatureContract())))
    assert all(offset != 0 for offset in replay(ridge, workouts[6:], 0.3)[1:])
    truth = measured_heart_rate(workouts[7])
    view = np.where(np.arange(len(truth)) < 30, truth + 40, np.nan)
    blind, corrected = (
        answer.heart_rate for answer in ridge.answers(workouts[7], [np.full(len(truth), np.nan), view], 0.0)
    )
    assert (corrected[31:60] > blind[31:60] + 15).all()


@pytest.mark.parametrize("name", BASELINES)
def test_without_training_workouts_a_baseline_is_the_level(name):
    assert np.allclose(one_answer(name, data_of(), BLIND), LEVEL.heart_rate)


def test_without_training_workouts_and_level_there_is_nothing_to_compare_with():
    with pytest.raises(ValueError, match="training"):
        BASELINES["training_mean"](data_of(level=None))


@pytest.mark.parametrize("name", BASELINES)
def test_no_baseline_sees_the_heart_rate_that_it_predicts(name):
    rng = np.random.default_rng(0)
    baseline = BASELINES[name](data_of(make_gridded(140 + rng.normal(0, 5, 60))))
    workout = make_gridded(np.full(40, np.nan))
    view = 140 + rng.normal(0, 5, 40)
    changed = np.where(np.arange(40) >= 20, 200.0, view)
    one, other = (answer.heart_rate for answer in baseline.answers(workout, [view, changed], 0.0))
    assert np.array_equal(one[:21], other[:21])
