import json

import numpy as np
import pytest

from hrmodel.personal.band_fitting import (
    FORGETTING,
    LEAD_MINUTES,
    NEXT_WORKOUT,
    PRIOR_WORKOUTS,
    WINDOW,
    personal_intervals,
    population_intervals,
)
from hrmodel.personal.bands import DEFAULT_INTERVALS, REGIMES, STORED_COVERAGES, half_widths
from tests.prediction_builders import half_width


def blind(residuals, minutes=5.0):
    """One workout: blind residuals in bpm, all at the same minutes unless an array is given."""
    residuals = np.asarray(residuals, dtype=np.float64)
    return {"blind": (np.broadcast_to(minutes, residuals.shape).astype(np.float64), residuals)}


def flat(widths):
    """Intervals in the old format: one row per kind."""
    return {"levels": list(STORED_COVERAGES), **{kind: list(widths) for kind in REGIMES}}


def runner(rng, workouts, spread=6.0, steps=150):
    """Workouts whose steps share the day's offset."""
    days = rng.normal(0.0, spread, workouts)
    return [blind(day + rng.normal(0.0, spread / 2, steps), np.arange(steps) / 6) for day in days]


UNIFORM = flat([10.0 * level for level in STORED_COVERAGES])  # |residual| uniform on 0..10


def test_without_past_workouts_the_bands_are_the_prior():
    assert personal_intervals(UNIFORM, []) == UNIFORM


def test_signs_and_missing_heart_rate_do_not_count():
    residuals = np.random.default_rng(0).normal(0.0, 5.0, 50)
    plain = personal_intervals(UNIFORM, [blind(np.abs(residuals))])
    assert personal_intervals(UNIFORM, [blind([*residuals, np.nan, np.nan])]) == plain
    assert personal_intervals(UNIFORM, [blind([np.nan])])["blind"] == personal_intervals(UNIFORM, [{}])["blind"]


def test_the_band_is_the_weighted_quantile_of_the_workouts_beside_the_prior():
    past = [blind(np.full(7, 30.0)), blind(np.full(400, 1.0))]  # the older one has fewer steps, not less weight
    intervals = personal_intervals(UNIFORM, past)
    total = PRIOR_WORKOUTS + 1.0 + FORGETTING + NEXT_WORKOUT
    scale = (1.0 + FORGETTING * 30.0 / 5.0 + 1.0 / 5.0) / (2.0 + FORGETTING)

    def share_within(width):
        prior = PRIOR_WORKOUTS * min(width / (10.0 * scale), 1.0)
        return (prior + (width >= 1.0) * 1.0 + (width >= 30.0) * FORGETTING) / total

    for level in (0.5, 0.6, 0.7, 0.8):
        assert share_within(half_width(intervals, "blind", level, 6.0)) == pytest.approx(level, abs=0.01)
    assert half_width(intervals, "blind", 0.95, 6.0) == 30.0


def test_minutes_that_no_workout_reached_take_the_prior_in_the_persons_scale():
    intervals = personal_intervals(UNIFORM, [blind(np.full(20, 10.0))] * 40)  # twice the prior's mean
    late = half_width(intervals, "blind", 0.8, 45.0)
    assert late == pytest.approx(2 * 8.0, rel=0.1)
    assert intervals["forecast_600"][0] == pytest.approx(UNIFORM["forecast_600"], rel=0.03)  # its own scale


def test_a_person_whose_days_change_gets_bands_that_follow():
    rng = np.random.default_rng(1)
    calm, restless = runner(rng, 40, spread=3.0), runner(rng, 30, spread=9.0)
    before, after = (
        half_width(personal_intervals(UNIFORM, past), "blind", 0.9, 6.0) for past in (calm, calm + restless)
    )
    expected = half_width(personal_intervals(UNIFORM, restless), "blind", 0.9, 6.0)
    assert after > 2 * before
    assert after == pytest.approx(expected, rel=0.1)


def test_workouts_older_than_the_window_do_not_count():
    rng = np.random.default_rng(2)
    recent = runner(rng, WINDOW)
    assert personal_intervals(UNIFORM, [blind([500.0] * 9), *recent]) == personal_intervals(UNIFORM, recent)


@pytest.mark.parametrize("spread", [3.0, 6.0, 12.0])
def test_next_workouts_lie_within_the_bands_as_often_as_promised(spread):
    rng = np.random.default_rng(3)
    prior = population_intervals([runner(rng, 20, spread=s) for s in (4.0, 6.0, 9.0)])
    past, covered = runner(rng, 8, spread), []
    for workout in runner(rng, 70, spread):
        intervals = personal_intervals(prior, past)
        minutes, residuals = workout["blind"]
        kinds = np.zeros(len(minutes), dtype=np.int64)
        covered.append([(np.abs(residuals) <= half_widths(intervals, kinds, q, minutes)).mean() for q in (0.8, 0.9)])
        past.append(workout)
    assert np.mean(covered, axis=0) == pytest.approx([0.8, 0.9], abs=0.05)


def test_in_the_population_people_weigh_equally_and_so_do_the_workouts_of_each():
    one = [blind(np.full(5, 1.0)), blind(np.full(500, 3.0))]
    other = [blind(np.full(50, 2.0))] * 30
    row = population_intervals([one, other])["blind"][LEAD_MINUTES.index(6.0)]
    # a quarter of the weight at 1, half at 2, a quarter at 3
    assert row == [2.0 if level <= 0.75 else 3.0 for level in STORED_COVERAGES]


def test_minutes_and_kinds_that_no_person_reached_are_the_fallbacks():
    fallback = flat([100.0 + i for i in range(len(STORED_COVERAGES))])
    intervals = population_intervals([[blind([1.0, 2.0])], []], fallback)
    assert intervals["nowcast"] == [fallback["nowcast"]] * len(LEAD_MINUTES)
    assert intervals["blind"][0] == fallback["blind"]
    assert max(intervals["blind"][LEAD_MINUTES.index(6.0)]) == 2.0
    assert population_intervals([], fallback)["forecast_60"] == [fallback["forecast_60"]] * len(LEAD_MINUTES)


def test_half_widths_are_json_grow_with_coverage_and_are_linear_between_levels_and_minutes():
    rng = np.random.default_rng(4)
    intervals = json.loads(json.dumps(personal_intervals(DEFAULT_INTERVALS, runner(rng, 3))))
    for kind in REGIMES:
        assert np.all(np.diff(np.array(intervals[kind]), axis=1) > 0), kind
    corners = [half_width(intervals, "blind", level, minute) for level in (0.9, 0.95) for minute in LEAD_MINUTES[1:3]]
    middle = half_widths(intervals, np.array([0]), 0.925, np.array([sum(LEAD_MINUTES[1:3]) / 2]))
    assert middle == pytest.approx(np.mean(corners))
    kinds, minutes = np.array([4, 0, 0]), np.array([0.1, 0.0, 500.0])
    expected = [intervals["nowcast"][0][8], intervals["blind"][0][8], intervals["blind"][-1][8]]
    assert half_widths(intervals, kinds, 0.9, minutes).tolist() == expected


def test_one_row_per_kind_counts_at_any_minute():
    widths = half_widths(DEFAULT_INTERVALS, np.array([0, 0, 4]), 0.9, np.array([0.1, 90.0, 0.1]))
    assert widths.tolist() == [DEFAULT_INTERVALS[kind][8] for kind in ("blind", "blind", "nowcast")]


@pytest.mark.parametrize("coverage", [0.49, 0.995, float("nan")])
def test_a_coverage_out_of_range_is_refused_with_its_value(coverage):
    with pytest.raises(ValueError, match=str(coverage)):
        half_width(DEFAULT_INTERVALS, "blind", coverage)
