"""How long a workout may be, and that cleaning it takes time in proportion."""

import time
from datetime import UTC, datetime

import numpy as np
import pytest

from hrmodel.signals.grid import to_grid
from hrmodel.signals.steps import elapsed_steps
from hrmodel.workouts.bounds import MAX_SAMPLES, MAX_STEPS, within_bounds
from hrmodel.workouts.cleaning.clean import clean
from hrmodel.workouts.workout import Workout


def run(t, **changes) -> Workout:
    """An even run with these times."""
    t = np.asarray(t, dtype=np.float64)
    content = {
        "t": t,
        "speed": 2.8 + 0.1 * np.sin(t / 40),
        "altitude": 100 + 5 * np.sin(t / 300),
        "heart_rate": 140 + 10 * np.sin(t / 60),
        "cadence": np.full(len(t), 172.0),
        "started_at": datetime(2024, 5, 4, tzinfo=UTC),
    }
    return Workout(**content | changes)


def steps_of(workout: Workout) -> int:
    return len(elapsed_steps(to_grid(workout)))


def paused(every: float, seconds: float, *, rest: float) -> np.ndarray:
    """Times that pause for `rest` s after each hour."""
    t = np.arange(0.0, seconds, every)
    return t + rest * np.floor(t / 3600)


LONG = {
    "two_days": np.arange(0.0, 172_800.0, 2.0),
    "forty_one_days_a_minute_apart": np.arange(59_040) * 60.0,
    "forty_one_days_61_s_apart": np.arange(59_040) * 61.0,
    "five_days_with_rests": paused(5.0, 432_000.0, rest=3600.0),
    "a_thousand_a_second": np.arange(300_000) * 0.001,
    "years": np.linspace(0.0, 9e8, 20_000),
}


@pytest.mark.parametrize("name", LONG)
def test_a_longer_workout_is_cut_to_a_day_of_steps_and_the_report_says_so(name):
    kept, (reason,) = within_bounds(run(LONG[name]))
    assert steps_of(kept) <= MAX_STEPS
    assert len(kept.t) <= MAX_SAMPLES
    assert np.array_equal(kept.t, LONG[name][: len(kept.t)])
    assert (reason.code, reason.samples) == ("too_long", len(LONG[name]) - len(kept.t))
    assert "at most 24 h" in reason.message


@pytest.mark.parametrize("t", [np.arange(0.0, 86_400.0), np.arange(0.0, 86_400.0, 10.0), paused(5.0, 85_000, rest=5e4)])
def test_a_workout_of_a_day_is_whole_however_long_its_pauses_are(t):
    workout = run(t)
    assert within_bounds(workout) == (workout, ())


def test_a_cut_one_keeps_all_steps_that_it_may_have():
    kept, _ = within_bounds(run(LONG["two_days"]))
    assert steps_of(kept) == MAX_STEPS
    kept, _ = within_bounds(run(LONG["five_days_with_rests"]))
    assert MAX_STEPS - 2 <= steps_of(kept) <= MAX_STEPS


def test_cleaning_cuts_it_and_learns_from_the_rest():
    cleaned = clean(run(LONG["forty_one_days_a_minute_apart"]), min_hr_per_minute=0.0)
    assert (cleaned.verdict, [reason.code for reason in cleaned.reasons]) == ("repaired", ["too_long"])
    assert cleaned.workout.t[-1] == 86_340.0


def usual(n, rng):
    return {}


def noisy(n, rng):
    return {"heart_rate": 120 + 40.0 * rng.integers(0, 2, n), "altitude": rng.uniform(0, 5000, n)}


def wild(n, rng):
    return {"heart_rate": rng.uniform(30, 240, n), "speed": rng.uniform(0, 12, n)}


def steps_up_and_down(n, rng):
    return {"heart_rate": np.resize([60.0, 125, 95, 160, 130, 195, 150, 215, 100, 140], n)}


def locked_half_the_time(n, rng):
    return {"heart_rate": np.where(np.arange(n) // 70 % 2, 172.0, 120.0)}


@pytest.mark.parametrize("every", [0.3, 0.001])
@pytest.mark.parametrize("channels", [usual, noisy, wild, steps_up_and_down, locked_half_the_time])
def test_ten_times_the_samples_take_at_most_ten_times_the_time_or_so(channels, every):
    def seconds(n):
        workout = run(np.arange(n) * every, **channels(n, np.random.default_rng(0)))
        begun = time.process_time()
        clean(workout, min_hr_per_minute=0.0)
        return time.process_time() - begun

    assert seconds(100_000) < 25 * max(seconds(10_000), 0.05)
