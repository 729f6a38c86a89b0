from itertools import pairwise

import numpy as np

from hrmodel.signals.grid import to_grid
from hrmodel.workouts.cleaning.clean import clean
from hrmodel.workouts.simulate import simulate_runner, simulate_workouts


def measured(workout):
    return workout.heart_rate[np.isfinite(workout.heart_rate)]


def test_the_same_seed_gives_the_same_workouts_and_another_seed_others():
    first, again, other = simulate_runner(workouts=3), simulate_runner(workouts=3), simulate_runner(workouts=3, seed=1)
    assert [w.digest for w in first] == [w.digest for w in again]
    assert not {w.digest for w in first} & {w.digest for w in other}


def test_more_workouts_or_people_leave_the_earlier_ones_alone():
    few = simulate_workouts(people=1, workouts=2, seed=4)
    many = simulate_workouts(people=2, workouts=3, seed=4)
    assert [w.digest for w in few] == [w.digest for w in many[:2]]
    assert [w.person for w in many] == ["s000"] * 3 + ["s001"] * 3


def test_simulated_runs_pass_for_real_ones():
    workouts = simulate_workouts(people=12, workouts=6, seed=2)
    assert all(clean(workout).verdict == "kept" for workout in workouts)
    assert all(24 * 60 <= workout.t[-1] <= 60 * 60 for workout in workouts)
    assert 125 < np.mean([measured(w).mean() for w in workouts]) < 165
    assert 7 < np.mean([measured(w).std() for w in workouts]) < 13  # 9.5 to 10.4 in real runs
    assert all(measured(w).max() < 215 for w in workouts)


def test_heart_rate_lags_behind_speed_and_rises_on_hills():
    runner = simulate_workouts(people=8, workouts=10, seed=3)
    delayed, climbing = {0: [], 4: [], 30: []}, []
    for workout in runner:
        segment = max(to_grid(workout).segments, key=lambda s: s.steps)
        late = slice(60, None)
        heart_rate = segment.heart_rate[late]
        for lag, found in delayed.items():
            speed = np.roll(segment.speed, lag)[late]
            found.append(correlation(speed, heart_rate))
        climbing.append(correlation(np.roll(np.gradient(segment.altitude), 4)[late], heart_rate))
    means = {lag: np.nanmean(found) for lag, found in delayed.items()}
    assert means[4] > means[0] > means[30]
    assert np.nanmean(climbing) > 0.1


def test_workouts_are_two_days_apart_and_days_differ():
    runner = simulate_runner(workouts=20)
    gaps = {(b.started_at - a.started_at).days for a, b in pairwise(runner)}
    assert gaps == {2}
    assert np.std([measured(w).mean() for w in runner]) > 2


def correlation(x, y):
    both = np.isfinite(x) & np.isfinite(y)
    if both.sum() < 30 or x[both].std() == 0:
        return np.nan
    return np.corrcoef(x[both], y[both])[0, 1]
