import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hrmodel.personal import correction as corrector
from hrmodel.personal.bands import REGIMES
from hrmodel.personal.correction import observed_state
from hrmodel.workouts.workout import Array

STEPS = 120
VARIANCE = 20.0
TOGETHER = np.arange(STEPS)
GAPPED = TOGETHER + 40 * (TOGETHER >= 30) + 1000 * (TOGETHER >= 90)
LATE = TOGETHER + 7


def observed(where: NDArray[np.bool_], seed: int = 0) -> Array:
    return np.where(where, np.random.default_rng(seed).normal(5, 10, len(where)), np.nan)


def conditioned(elapsed: NDArray[np.int64], residuals: Array, variance: float) -> Array:
    """(S,) mean of each step's residual without its noise, given the observed ones before it: by dense matrices."""
    middle = elapsed * 10.0 + 5.0
    rise = np.exp(-middle / corrector.RISE_SECONDS)
    apart, both = np.abs(elapsed[:, None] - elapsed) * 10.0, (elapsed[:, None] + elapsed) * 10.0
    covariance = (
        corrector.OFFSET_VARIANCE
        + corrector.OFFSET_SHARE * variance
        + (corrector.RISE_VARIANCE + corrector.RISE_SHARE * variance) * np.outer(rise, rise)
        + corrector.WANDER_VARIANCE * np.exp(-apart / corrector.WANDER_SECONDS)
        + corrector.SLOW_VARIANCE * (np.exp(-apart / corrector.SLOW_SECONDS) - np.exp(-both / corrector.SLOW_SECONDS))
    )
    answer = np.zeros(len(elapsed))
    for step in range(len(elapsed)):
        known = np.flatnonzero(np.isfinite(residuals[:step]))
        of_known = covariance[np.ix_(known, known)] + corrector.OBSERVATION_NOISE * np.eye(len(known))
        answer[step] = covariance[step, known] @ np.linalg.solve(of_known, residuals[known])
    return answer


@pytest.mark.parametrize("elapsed", [TOGETHER, GAPPED, LATE], ids=["together", "gapped", "late"])
@pytest.mark.parametrize("variance", [0.0, VARIANCE, 225.0])
@pytest.mark.parametrize(
    "where",
    [
        TOGETHER < 1,
        TOGETHER < 60,
        TOGETHER % 3 == 1,
        (TOGETHER >= 20) & (TOGETHER < 25) | (TOGETHER > 80),
        TOGETHER >= 0,
    ],
    ids=["one_step", "prefix", "holes", "two_parts", "all"],
)
def test_the_correction_is_the_dense_gaussian_conditioning_on_what_was_observed_before(elapsed, variance, where):
    residuals, blind = observed(where), np.linspace(120, 160, STEPS)
    past = observed_state(elapsed, residuals, variance)
    expected = blind + conditioned(elapsed, residuals, variance)
    np.testing.assert_allclose(blind + past.correction, expected, rtol=0, atol=1e-7)


def test_with_nothing_observed_there_is_nothing_to_correct():
    past = observed_state(TOGETHER, np.full(STEPS, np.nan), VARIANCE)
    assert past.unobserved.all()
    assert (past.correction == 0).all()
    assert {REGIMES[i] for i in past.regimes} == {"blind"}
    assert np.isinf(past.lead_seconds).all()


def test_a_workout_without_steps_has_no_past():
    past = observed_state(np.empty(0, dtype=np.int64), np.empty(0), VARIANCE)
    assert past.correction.shape == past.regimes.shape == (0,)


def test_the_less_sure_the_level_is_the_sooner_a_prefix_is_trusted():
    residuals = np.where(TOGETHER < 6, 10.0, np.nan)
    later = [observed_state(TOGETHER, residuals, variance).correction[-1] for variance in (0.0, 4.0, 36.0, 225.0)]
    assert later == sorted(later)
    assert 0 < later[0] < 3
    assert later[-1] > 4


def test_a_workout_that_is_10_bpm_higher_all_along_is_believed_in_the_end():
    shares = [
        observed_state(TOGETHER, np.where(known > TOGETHER, 10.0, np.nan), VARIANCE).correction[-1] / 10.0
        for known in (1, 6, 18, 60, 119)
    ]
    assert shares == sorted(shares)
    assert shares[0] < 0.3
    assert shares[-1] > 0.9


def test_a_high_start_says_less_about_the_rest_than_a_high_middle():
    early, late = (np.where((first <= TOGETHER) & (first + 6 > TOGETHER), 10.0, np.nan) for first in (0, 60))
    far = [observed_state(np.arange(300), np.r_[part, np.full(180, np.nan)], VARIANCE) for part in (early, late)]
    assert far[0].correction[-1] < 0.7 * far[1].correction[-1]


def test_right_after_an_observed_step_the_correction_is_nearly_its_residual_and_fades():
    past = observed_state(TOGETHER, np.where(TOGETHER == 59, 20.0, np.nan), VARIANCE)
    assert past.correction[60] > 16
    assert (np.diff(past.correction[60:]) < 0).all()
    assert past.residual[60:].tolist() == [20.0] * 60


def test_after_a_long_pause_only_the_days_offset_is_left():
    elapsed = np.array([6, 7, 8, 5000, 5001])  # nearly 14 hours between the segments
    past = observed_state(elapsed, np.array([10.0, 10.0, 20.0, np.nan, np.nan]), VARIANCE)
    assert past.lead_seconds[3] == (5000 - 9) * 10 + 5
    assert past.correction[3] == pytest.approx(past.correction[4], abs=1e-6)
    assert 0 < past.correction[3] < 10


@pytest.mark.parametrize("steps", [1, 63, 64, 65, 119])
def test_a_prefix_gets_the_same_correction_bit_for_bit_whatever_is_observed_after_it(steps):
    whole, prefix = (observed_state(TOGETHER, observed(end > TOGETHER), VARIANCE) for end in (STEPS, steps))
    assert prefix.correction[: steps + 1].tobytes() == whole.correction[: steps + 1].tobytes()


def test_each_uncertainty_of_the_level_has_its_own_gains():
    residuals = observed(TOGETHER < 60)
    first = observed_state(TOGETHER, residuals, 4.0).correction
    assert not np.array_equal(first, observed_state(TOGETHER, residuals, 5.0).correction)
    assert np.array_equal(first, observed_state(TOGETHER, residuals, 4.0).correction)


def test_kinds_follow_what_was_known_before_each_step():
    residuals = np.full(STEPS, np.nan)
    residuals[:5] = residuals[10:20] = residuals[40:80] = 1.0
    kinds = [REGIMES[i] for i in observed_state(TOGETHER, residuals, VARIANCE).regimes]
    assert kinds[0] == "blind"
    assert set(kinds[1:6]) == {"nowcast"}
    assert set(kinds[6:11]) == {"forecast_60"}  # 50 s known
    assert set(kinds[21:41]) == {"forecast_180"}  # 150 s known
    assert set(kinds[81:]) == {"forecast_600"}  # 550 s known


@settings(max_examples=60, deadline=None)
@given(
    known=st.lists(st.booleans(), min_size=STEPS, max_size=STEPS),
    cut=st.integers(0, STEPS - 1),
    gapped=st.booleans(),
    prefix=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_nothing_at_or_before_a_step_depends_on_the_residual_of_that_step_or_a_later_one(
    known, cut, gapped, prefix, seed
):
    rng = np.random.default_rng(seed)
    elapsed = np.cumsum(rng.choice([1, 1, 1, 9], STEPS)) if gapped else TOGETHER
    before = np.where(np.logical_or(known, prefix), rng.normal(0, 10, STEPS), np.nan)
    after = before.copy()
    after[cut:] = np.where(rng.random(STEPS - cut) < 0.5, rng.normal(0, 50, STEPS - cut), np.nan)
    one, other = (observed_state(elapsed, residuals, VARIANCE) for residuals in (before, after))
    for name in ("correction", "residual", "lead_seconds", "observed_seconds", "regimes"):
        assert np.array_equal(getattr(one, name)[: cut + 1], getattr(other, name)[: cut + 1]), name
