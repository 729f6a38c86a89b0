import json

import numpy as np
import pytest

from hrmodel.prediction.intervals import DEFAULT_INTERVALS, KINDS, LEVELS, conformal, half_width, half_widths


def test_half_widths_are_the_finite_sample_quantiles_of_absolute_residuals():
    residuals = np.random.default_rng(0).permutation(np.arange(1.0, 20.0)) * np.tile([1, -1], 10)[:19]
    intervals = conformal({"blind": [residuals[:7], residuals[7:]]})
    # 19 residuals 1..19: the ceil(20 q)-th smallest
    assert dict(zip(LEVELS, intervals["blind"], strict=True)) == {
        q: min(19, -(-round(2000 * q) // 100)) for q in LEVELS
    }


def test_coverage_on_fresh_residuals_is_the_promised_one():
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(400):
        intervals = conformal({"nowcast": [rng.standard_t(4, 60)]})
        covered.append(np.abs(rng.standard_t(4, 200)) <= half_width(intervals, "nowcast", 0.8))
    assert 0.8 <= np.mean(covered) < 0.83  # n = 60: between q and q + 1/61, and noise


def test_a_kind_without_finite_residuals_takes_the_row_of_the_fallback():
    fallback = conformal({kind: [np.arange(100.0)] for kind in KINDS})
    intervals = conformal({"blind": [np.array([1.0])], "nowcast": [np.array([np.nan])]}, fallback)
    assert intervals["nowcast"] == fallback["nowcast"]
    assert intervals["forecast_600"] == fallback["forecast_600"]
    assert intervals["blind"] == [1.0] * len(LEVELS)


def test_bands_are_json_grow_with_coverage_and_are_linear_between_levels():
    intervals = json.loads(json.dumps(DEFAULT_INTERVALS))
    for kind in KINDS:
        assert np.all(np.diff(intervals[kind]) > 0)
    middle = half_width(intervals, "blind", 0.925)
    assert middle == pytest.approx((half_width(intervals, "blind", 0.9) + half_width(intervals, "blind", 0.95)) / 2)
    assert half_widths(intervals, np.array([0, 4]), 0.9).tolist() == [
        half_width(intervals, "blind", 0.9),
        half_width(intervals, "nowcast", 0.9),
    ]


@pytest.mark.parametrize("coverage", [0.49, 0.995, float("nan")])
def test_a_coverage_out_of_range_is_refused_with_its_value(coverage):
    with pytest.raises(ValueError, match=str(coverage)):
        half_width(DEFAULT_INTERVALS, "blind", coverage)
