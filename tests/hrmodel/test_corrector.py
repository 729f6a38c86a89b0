import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrmodel.prediction.corrector import causal_past
from hrmodel.prediction.intervals import KINDS

STEPS = 120


def residuals_of_a_prefix(steps: int, seed: int = 0) -> np.ndarray:
    residuals = np.full(STEPS, np.nan)
    residuals[:steps] = np.random.default_rng(seed).normal(5, 10, steps)
    return residuals


@pytest.mark.parametrize("prefix", [1, 3, 6, 18, 60])
def test_after_one_prefix_the_correction_is_the_closed_form_of_the_design(prefix):
    residuals = residuals_of_a_prefix(prefix)
    blind = np.linspace(120, 160, STEPS)
    k = prefix * 10.0
    middle = np.arange(STEPS) * 10.0 + 5.0
    weights = np.exp(-(k - middle[:prefix]) / 180) * np.where(middle[:prefix] < 60, 0.25, 1.0)
    offset = np.sum(weights * residuals[:prefix]) / np.sum(weights) * k / (k + 120)
    expected = blind + offset + (residuals[prefix - 1] - offset) * np.exp(-(middle - k) / 90)

    past = causal_past(np.arange(STEPS), residuals)
    np.testing.assert_allclose(past.corrected(blind)[prefix:], expected[prefix:], rtol=0, atol=1e-9)
    np.testing.assert_allclose(past.offset[prefix:], offset, rtol=0, atol=1e-9)


def test_the_answer_is_blind_until_something_is_known_then_a_mixture_that_ends_half_and_half():
    blind, free = np.full(STEPS, 140.0), np.full(STEPS, 150.0)
    past = causal_past(np.arange(STEPS), np.where(np.arange(STEPS) == 20, 8.0, np.nan))
    answer, corrected = past.answer(blind, free), past.corrected(blind)
    assert (answer[:21] == 140.0).all()  # the step itself is not known to its own answer
    since = (np.arange(21, STEPS) - 21) * 10 + 5.0
    weight = 0.5 * np.minimum(1, since / 600)
    np.testing.assert_allclose(answer[21:], (1 - weight) * corrected[21:] + weight * 150.0)
    assert weight[0] < 0.01
    assert weight[-1] == 0.5


def test_memory_crosses_a_recording_gap_and_fades_by_true_elapsed_time():
    elapsed = np.array([6, 7, 8, 1000, 1001])  # more than two and a half hours between the segments
    past = causal_past(elapsed, np.array([10.0, 10.0, 20.0, np.nan, np.nan]))
    assert past.since[3] == (1000 - 9) * 10 + 5
    assert past.corrected(np.zeros(5))[3] == pytest.approx(past.offset[3])
    assert past.offset[3] > 0


def test_a_long_pause_makes_the_old_residuals_count_for_nothing():
    past = causal_past(np.array([6, 5000, 5001]), np.array([50.0, 4.0, np.nan]))
    assert past.offset[2] == pytest.approx(4.0 * 20 / 140)


def test_kinds_follow_what_was_known_before_each_step():
    residuals = np.full(STEPS, np.nan)
    residuals[:5] = residuals[10:20] = residuals[40:80] = 1.0
    kinds = [KINDS[i] for i in causal_past(np.arange(STEPS), residuals).kinds]
    assert kinds[0] == "blind"
    assert set(kinds[1:6]) == {"nowcast"}
    assert set(kinds[6:11]) == {"forecast_60"}  # 50 s known
    assert set(kinds[21:41]) == {"forecast_180"}  # 150 s known
    assert set(kinds[81:]) == {"forecast_600"}  # 550 s known


@settings(max_examples=60, deadline=None)
@given(
    known=st.lists(st.booleans(), min_size=STEPS, max_size=STEPS),
    cut=st.integers(0, STEPS - 1),
    seed=st.integers(0, 1000),
)
def test_nothing_at_or_before_a_step_depends_on_the_residual_of_that_step_or_a_later_one(known, cut, seed):
    rng = np.random.default_rng(seed)
    elapsed = np.cumsum(rng.choice([1, 1, 1, 9], STEPS))
    before = np.where(known, rng.normal(0, 10, STEPS), np.nan)
    after = before.copy()
    after[cut:] = np.where(rng.random(STEPS - cut) < 0.5, rng.normal(0, 50, STEPS - cut), np.nan)
    one, other = causal_past(elapsed, before), causal_past(elapsed, after)
    for name in ("offset", "residual", "since", "seconds", "kinds"):
        assert np.array_equal(getattr(one, name)[: cut + 1], getattr(other, name)[: cut + 1]), name
