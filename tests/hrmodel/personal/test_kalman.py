import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrmodel.personal.kalman import (
    CORRELATED_STEPS,
    DAY_VARIANCE,
    NEW,
    OFFSET_KEPT,
    OFFSET_VARIANCE,
    STEP_VARIANCE,
    UNKNOWN,
    WEIGHT_KEPT,
    WEIGHT_PROCESS_NOISE,
    WEIGHT_VARIANCE,
    ResponseFilter,
)
from hrmodel.personal.response import NAMES, response_features
from hrmodel.signals.contract import FeatureContract
from hrmodel.signals.grid import to_grid
from hrmodel.signals.scale import fit_scale
from hrmodel.workouts.simulate import simulate_runner
from hrmodel.workouts.workout import Array

SIZE = len(NAMES)
STEPS = 240  # 40 min


@pytest.fixture(scope="module")
def workouts() -> list[Array]:
    """The features of 40 workouts of one person."""
    gridded = [to_grid(workout) for workout in simulate_runner(workouts=40, seed=3)]
    level = fit_scale(gridded, FeatureContract())
    return [response_features(workout, level, FeatureContract()) for workout in gridded]


def noise(rng: np.random.Generator, steps: int) -> Array:
    """Within a workout, bpm: sd 5, neighbours alike for about two minutes."""
    keep = np.exp(-10 / 120)
    values = rng.normal(0, 5, steps)
    for i in range(1, steps):
        values[i] = keep * values[i - 1] + np.sqrt(1 - keep**2) * values[i]
    return values


def offset_errors(days: Array, seed: int = 0) -> Array:
    """(n,) bpm: how far each day's offset is from the one that was followed up to it."""
    rng, response_filter, features = np.random.default_rng(seed), ResponseFilter.start(1), np.ones((STEPS, 1))
    errors = []
    for day in days:
        errors.append(day - response_filter.mean[0])
        response_filter = response_filter.update(features, errors[-1] + noise(rng, STEPS)).predict(days=2)
    return np.array(errors)


def fixed_gain_errors(days: Array, gain: float) -> Array:
    """The same for an offset that goes a fixed share of the way to each day's."""
    offset, errors = 0.0, []
    for day in days:
        errors.append(day - offset)
        offset += gain * (day - offset)
    return np.array(errors)


def test_it_begins_at_0_and_unsure_with_the_offset_first():
    response_filter = ResponseFilter.start(SIZE)
    assert (response_filter.mean == 0).all()
    assert np.diag(response_filter.covariance).tolist() == [OFFSET_VARIANCE] + [WEIGHT_VARIANCE] * (SIZE - 1)
    assert response_filter.variance == response_filter.response.variance == NEW.variance == OFFSET_VARIANCE
    assert NEW.weights.tolist() == UNKNOWN.weights.tolist() == response_filter.response.weights.tolist() == [0.0] * SIZE
    assert UNKNOWN.variance > NEW.variance


def test_the_last_layers_weights_start_small_and_walk_slowly():
    start = ResponseFilter.start(SIZE + 64)
    own, after = np.diag(start.covariance)[SIZE:], np.diag(start.predict(days=10).covariance)[SIZE:]
    assert own.tolist() == [0.05] * 64
    np.testing.assert_allclose(after, 0.051)


def test_following_nothing_stays_nothing():
    response_filter = ResponseFilter.start(0).update(np.empty((STEPS, 0)), np.full(STEPS, 30.0))
    assert (response_filter.mean.shape, response_filter.variance) == ((0,), 0.0)


def test_most_of_a_lasting_offset_is_learned_within_three_workouts():
    left = [np.abs(offset_errors(np.full(30, 10.0), seed)) for seed in range(10)]
    by_workout = np.mean(left, axis=0)
    assert by_workout[0] == 10.0
    assert by_workout[1] < 5.0
    assert by_workout[3] < 3.0
    assert by_workout[10:].mean() < 2.0


def test_an_offset_that_wanders_is_followed_nearly_as_well_as_by_the_best_fixed_gain():
    zero, tracked, fixed = [], [], []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        days = np.cumsum(rng.normal(0, 2, 200)) + rng.normal(0, 4, 200)
        zero.append(np.abs(days).mean())
        tracked.append(np.abs(offset_errors(days, seed)).mean())
        fixed.append([np.abs(fixed_gain_errors(days, gain)).mean() for gain in np.arange(0.1, 1.0, 0.1)])
    assert np.mean(tracked) < 0.5 * np.mean(zero)
    assert np.mean(tracked) < 1.1 * np.mean(fixed, axis=0).min()


def test_days_that_differ_at_random_cost_little_against_following_nothing():
    shares = []
    for seed in range(8):
        days = np.random.default_rng(seed).normal(0, 6, 200)
        shares.append(np.abs(offset_errors(days, seed))[50:].mean() / np.abs(days)[50:].mean())
    assert np.mean(shares) < 1.2


def test_after_a_pause_the_level_is_less_sure_and_is_learned_sooner():
    features = np.ones((STEPS, 1))
    known = ResponseFilter.start(1)
    for _ in range(20):
        known = known.update(features, np.zeros(STEPS)).predict(days=2)
    last = known.update(features, np.zeros(STEPS))
    before = [last.predict(days) for days in (0, 1, 7, 60, 365, 3650)]
    variances = [each.variance for each in before]
    assert variances == sorted(set(variances))
    assert variances[-1] < OFFSET_VARIANCE + 25.0  # bounded: about as unsure as of a new person
    learned = [each.update(features, np.full(STEPS, 10.0)).mean[0] for each in before]
    assert learned == sorted(set(learned))
    assert learned[1] < 4.0
    assert learned[-1] > 6.0
    assert last.predict(days=-3).variance == last.predict(days=0).variance


def test_a_persons_answer_to_speed_is_learned_from_their_workouts(workouts):
    truth, rng = np.zeros(SIZE), np.random.default_rng(0)
    truth[NAMES.index("speed_120s")], truth[NAMES.index("climb")] = 6.0, 2.0
    response_filter, missed = ResponseFilter.start(SIZE), []
    for features in workouts:
        expected = features @ truth
        missed.append(np.abs(expected - features @ response_filter.mean).mean())
        response_filter = response_filter.update(
            features, expected - features @ response_filter.mean + noise(rng, len(features))
        ).predict(days=2)
    assert np.mean(missed[20:]) < 0.35 * np.mean([np.abs(features @ truth).mean() for features in workouts])
    faster = np.zeros(SIZE)
    faster[[NAMES.index(name) for name in NAMES if name.startswith("speed") and name != "speed_spread"]] = 1.0
    assert faster @ response_filter.mean == pytest.approx(6.0, abs=1.5)  # 0.55 m/s faster for a long time


def test_a_day_when_the_sensor_was_wrong_throughout_moves_little():
    features, response_filter = np.ones((STEPS, 1)), ResponseFilter.start(1)
    for _ in range(10):
        response_filter = response_filter.update(features, np.zeros(STEPS)).predict(days=2)
    stuck = response_filter.update(features, np.full(STEPS, 60.0))
    assert 0 < stuck.mean[0] < 6.0


def test_a_weight_that_nothing_is_learned_about_stays_as_unsure_as_it_was():
    features, response_filter = np.column_stack([np.ones(STEPS), np.zeros(STEPS)]), ResponseFilter.start(2)
    for _ in range(300):
        response_filter = response_filter.update(features, np.zeros(STEPS)).predict(days=2)
    assert response_filter.covariance[1, 1] == pytest.approx(WEIGHT_VARIANCE)


def test_a_few_wild_steps_move_little(workouts):
    features, rng = workouts[0], np.random.default_rng(0)
    residuals = 3 + noise(rng, len(features))
    wild = residuals.copy()
    wild[rng.random(len(wild)) < 0.1] += 90.0
    start = ResponseFilter.start(SIZE)
    clean, disturbed, missing = (
        features @ start.update(features, values).mean
        for values in (residuals, wild, np.where(wild == residuals, residuals, np.nan))
    )
    assert np.abs(disturbed - clean).mean() < 0.25 * 9.0  # a mean would move by 9 bpm
    assert np.abs(missing - clean).mean() < 1.0


def test_a_workout_with_too_little_heart_rate_changes_nothing(workouts):
    features = workouts[0]
    response_filter = ResponseFilter.start(SIZE).update(features, np.full(len(features), 4.0))
    for measured in (0, 11):
        residuals = np.where(np.arange(len(features)) < measured, 50.0, np.nan)
        after = response_filter.update(features, residuals)
        assert after is response_filter
    residuals = np.where(np.arange(len(features)) < 12, 50.0, np.nan)
    assert not np.array_equal(response_filter.update(features, residuals).mean, response_filter.mean)


def test_unmeasured_steps_count_for_nothing(workouts):
    features, rng = workouts[0], np.random.default_rng(1)
    residuals = np.where(rng.random(len(features)) < 0.5, rng.normal(2, 5, len(features)), np.nan)
    measured = np.isfinite(residuals)
    whole = ResponseFilter.start(SIZE).update(features, residuals)
    parts = ResponseFilter.start(SIZE).update(features[measured], residuals[measured])
    assert np.array_equal(whole.mean, parts.mean)
    assert whole.variance == parts.variance


@pytest.mark.parametrize("outliers", [0, 20])
@pytest.mark.parametrize("size", [1, SIZE])
def test_an_update_is_the_bayesian_regression_with_the_whole_noise_covariance(workouts, size, outliers):
    rng = np.random.default_rng(outliers)
    before = ResponseFilter.start(size).update(workouts[1][:, :size], rng.normal(3, 5, len(workouts[1])))
    features = workouts[0][:, :size]
    residuals = rng.uniform(-6, 10, len(features))
    residuals[:outliers] += 80.0
    after = before.update(features, residuals).predict(days=30)

    deviation = 1.4826 * np.median(np.abs(residuals))
    tail = np.maximum(np.abs(residuals) / (3.0 * deviation), 1.0)
    assert (tail > 1).sum() == outliers
    noise_covariance = np.diag(STEP_VARIANCE * CORRELATED_STEPS * tail) + DAY_VARIANCE  # every pair shares the day
    of_data = features @ before.covariance @ features.T + noise_covariance
    gain = np.linalg.solve(of_data, features @ before.covariance).T
    mean = before.mean + gain @ residuals
    covariance = before.covariance - gain @ features @ before.covariance
    kept = np.diag([OFFSET_KEPT] + [WEIGHT_KEPT] * (size - 1))
    wander = np.diag([2.0 + 50.0 * (1 - np.exp(-0.3))] + [WEIGHT_PROCESS_NOISE] * (size - 1))
    np.testing.assert_allclose(after.mean, kept @ mean, atol=1e-8)
    np.testing.assert_allclose(after.covariance, kept @ covariance @ kept + wander, atol=1e-8)


def test_the_more_is_known_of_the_offset_the_less_it_moves():
    features, residuals = np.ones((STEPS, 1)), np.full(STEPS, 10.0)
    moves, response_filter = [], ResponseFilter.start(1)
    for _ in range(5):
        after = response_filter.update(features, residuals - response_filter.mean[0])
        moves.append(after.mean[0] - response_filter.mean[0])
        assert 0 < after.variance < response_filter.variance
        response_filter = after.predict(days=2)
    assert moves == sorted(moves, reverse=True)


def test_ten_times_the_steps_of_a_day_do_not_count_ten_times():
    start = ResponseFilter.start(1)
    short, long = (start.update(np.ones((steps, 1)), np.full(steps, 10.0)) for steps in (120, 1200))
    assert short.mean[0] < long.mean[0] < 1.1 * short.mean[0]


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    flat=st.booleans(),
    twins=st.booleans(),
    loud=st.sampled_from([1.0, 10.0, 200.0]),
    size=st.sampled_from([SIZE, SIZE + 64]),
)
def test_the_covariance_stays_symmetric_and_positive_over_500_workouts(seed, flat, twins, loud, size):
    rng = np.random.default_rng(seed)
    response_filter = ResponseFilter.start(size)
    for number in range(500):
        steps = int(rng.integers(5, 60))
        features = rng.normal(0, rng.choice([0.1, 1.0, 10.0]), (steps, size))
        features[:, 0] = 1.0
        if flat:
            features[:, 6:10] = 0.0
        if twins:
            features[:, 2] = features[:, 1]
        residuals = np.where(rng.random(steps) < 0.9, rng.normal(0, loud, steps), np.nan)
        response_filter = response_filter.update(features, residuals).predict(days=float(rng.exponential(20)))
        if number % 50 == 49:
            assert np.array_equal(response_filter.covariance, response_filter.covariance.T)
            assert np.linalg.eigvalsh(response_filter.covariance).min() > 0
            assert np.isfinite(response_filter.mean).all()
