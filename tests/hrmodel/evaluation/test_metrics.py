import numpy as np
import pytest

from hrmodel.evaluation.metrics import METRICS, Scored, covered, measure, measured, over_workouts, reliability


def scored(prediction, truth, mask=None, **fields) -> Scored:
    truth = np.asarray(truth, dtype=np.float64)
    mask = np.ones(len(truth), dtype=bool) if mask is None else np.asarray(mask)
    fields = {"max_heart_rate": 200.0, **fields}
    return Scored(prediction=np.asarray(prediction, dtype=np.float64), truth=truth, mask=mask, **fields)


def test_metrics_are_their_closed_forms():
    values = measure(scored([110, 118, 133], [100, 120, 130]))
    assert values["mae"] == pytest.approx(5)
    assert values["rmse"] == pytest.approx(np.sqrt((100 + 4 + 9) / 3))
    assert values["bias"] == pytest.approx(11 / 3)
    deviation = sum((x - 350 / 3) ** 2 for x in (100, 120, 130))
    assert values["r2"] == pytest.approx(1 - 113 / deviation)
    assert tuple(values) == tuple(METRICS)


def test_masked_steps_do_not_count_even_when_they_are_missing():
    values = measure(scored([110, np.nan, 133], [100, np.nan, 130], [True, False, True]))
    assert values["mae"] == pytest.approx(6.5)
    assert np.isfinite(values["r2"])


def test_zones_are_tenths_of_the_highest_heart_rate_from_half_of_it_up():
    truth = [90, 100, 119, 120, 150, 170, 180, 210]  # of 200: none, 1, 1, 2, 3, 4, 5, 5
    values = measure(scored(np.array(truth) + np.arange(8), truth))
    zones = [values[f"mae_zone_{zone}"] for zone in range(1, 6)]
    assert zones == [1.5, 3, 4, 5, 6.5]
    assert [values[f"share_zone_{zone}"] for zone in range(1, 6)] == [2 / 8, 1 / 8, 1 / 8, 1 / 8, 2 / 8]


def test_what_has_no_value_is_nan_for_a_workout_and_none_in_the_summary():
    constant = measure(scored([100, 101], [100, 100], max_heart_rate=float("nan")))
    assert np.isnan(constant["r2"])
    assert np.isnan(constant["mae_zone_1"])
    assert np.isnan(constant["share_zone_1"])
    varied = measure(scored([100, 101], [100, 110]))
    assert over_workouts([constant, varied], np.mean)["r2"] == varied["r2"]
    assert over_workouts([constant], np.mean)["r2"] is None
    assert over_workouts([], np.mean) == {}


def test_coverage_is_the_share_of_scored_steps_inside_the_band():
    values = scored([100, 100, 100, 100], [100, 105, 111, 150], [True, True, True, False])
    with_bands = Scored(**vars(values) | {"half_width": {"0.9": np.full(4, 11.0), "0.8": np.full(4, 1.0)}})
    assert covered(with_bands) == {"0.8": pytest.approx(1 / 3), "0.9": 1.0}


def test_reliability_weighs_workouts_equally_whatever_their_length():
    errors = np.arange(1, 101)  # bpm: a band of k bpm holds exactly k % of these steps
    long = Scored(
        **vars(scored(100 + errors, np.full(100, 100))) | {"half_width": bands_of(100, {"0.5": 50, "0.9": 90})}
    )
    short = Scored(**vars(scored([101, 100], [100, 100])) | {"half_width": bands_of(2, {"0.5": 0, "0.9": 2})})
    assert reliability([measured(long)]) == {
        "0.5": {"measured": 0.5, "half_width": 50.0},
        "0.9": {"measured": 0.9, "half_width": 90.0},
    }
    assert reliability([measured(long), measured(short)]) == {
        "0.5": {"measured": 0.5, "half_width": 25.0},
        "0.9": {"measured": 0.95, "half_width": 46.0},
    }
    assert reliability([]) == {}


def bands_of(steps: int, half_widths: dict[str, float]) -> dict[str, np.ndarray]:
    return {level: np.full(steps, float(width)) for level, width in half_widths.items()}
