import numpy as np
import pytest

from hrmodel.evaluation.baselines import BASELINES
from hrmodel.evaluation.forecasters import EvaluationData
from hrmodel.evaluation.ridge import motion_table
from hrmodel.personal.correction import observed_state
from hrmodel.personal.kalman import OFFSET_VARIANCE, ResponseFilter
from hrmodel.personal.state import PersonState, replay
from hrmodel.signals.contract import FeatureContract
from hrmodel.signals.grid import to_grid
from hrmodel.signals.scale import fit_scale
from hrmodel.signals.steps import measured_heart_rate
from hrmodel.workouts.simulate import simulate_runner
from tests.prediction_builders import LEVEL, answer_views, make_gridded

BLIND = np.full(40, np.nan)


def data_of(*train, val=(), level=LEVEL) -> EvaluationData:
    return EvaluationData(train=train, val=val, test=(), level=level)


def before_any_workout(baseline) -> PersonState:
    return PersonState.start(baseline.size)


def one_answer(name, data, view):
    baseline, workout = BASELINES[name](data), make_gridded(np.full(len(view), np.nan))
    return answer_views(baseline, workout, [view], before_any_workout(baseline))[0]


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
    (answer,) = answer_views(ridge, workouts[5], [np.full(len(truth), np.nan)], before_any_workout(ridge))
    assert np.abs(answer - truth).mean() < 0.2


def test_ridge_follows_the_offset_and_nothing_else_from_workout_to_workout():
    workouts = [to_grid(workout) for workout in simulate_runner(workouts=8, seed=1)]
    data = data_of(*workouts[:6], level=fit_scale(workouts[:6], FeatureContract()))
    ridge = BASELINES["ridge"](data)
    (terms,) = ridge.blind_terms(workouts[:1])
    assert terms.features.tolist() == [[1.0]] * len(measured_heart_rate(workouts[0]))
    for workout in workouts[6:]:
        workout.segments[0].heart_rate[:] += 15.0
    before, *after = replay(ridge, workouts[6:])
    assert before.filter.mean.tolist() == [0.0]
    assert 5.0 < after[0].filter.mean[0] < after[1].filter.mean[0]
    view = [np.full(len(measured_heart_rate(workouts[7])), np.nan)]
    one, other = (answer_views(ridge, workouts[7], view, state)[0] for state in (before, after[1]))
    np.testing.assert_allclose(other - one, after[1].before(workouts[7].started_at).mean[0])


def test_ridge_has_the_corrector_and_trusts_a_prefix_as_far_as_its_offset_is_unsure():
    workouts = [to_grid(workout) for workout in simulate_runner(workouts=8, seed=1)]
    ridge = BASELINES["ridge"](data_of(*workouts[:6], level=fit_scale(workouts[:6], FeatureContract())))
    truth = measured_heart_rate(workouts[7])
    view = np.where(np.arange(len(truth)) < 30, truth + 40, np.nan)
    moves = []
    for variance in (1.0, 36.0):
        state = PersonState(filter=ResponseFilter(mean=np.zeros(1), covariance=np.array([[variance]])))
        blind, corrected = answer_views(ridge, workouts[7], [np.full(len(truth), np.nan), view], state)
        moves.append(corrected[31:60] - blind[31:60])
    assert (moves[0] > 5).all()
    assert (moves[1] > moves[0]).all()
    assert (moves[1] > 15).all()


@pytest.mark.parametrize("name", ["training_mean", "elapsed_curve", "persistence"])
def test_the_other_baselines_follow_nothing(name):
    workouts = [make_gridded(np.full(60, bpm)) for bpm in (140.0, 160.0, 170.0)]
    baseline = BASELINES[name](data_of(*workouts[:1]))
    assert [len(state.filter.mean) for state in replay(baseline, workouts)] == [0] * 4


def test_a_curve_that_follows_nothing_trusts_a_prefix_as_one_before_its_first_workout():
    """Else the easy baseline would be made worse than it is: it would take no day for higher than another."""
    ramp = make_gridded(100 + np.arange(40.0))
    data = data_of(ramp, ramp)
    blind, view = one_answer("elapsed_curve", data, BLIND), BLIND.copy()
    view[:12] = blind[:12] + 10.0
    state = observed_state(np.arange(40), view - blind, OFFSET_VARIANCE)
    np.testing.assert_allclose(one_answer("elapsed_curve", data, view), blind + state.correction, atol=1e-9)


def test_ridge_of_a_person_without_a_level_follows_nothing():
    workouts = [make_gridded(np.full(60, bpm)) for bpm in (140.0, 160.0, 170.0)]
    ridge = BASELINES["ridge"](data_of(*workouts[:1], level=None))
    assert [len(state.filter.mean) for state in replay(ridge, workouts)] == [0] * 4


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
    one, other = answer_views(baseline, workout, [view, changed], before_any_workout(baseline))
    assert np.array_equal(one[:21], other[:21])
