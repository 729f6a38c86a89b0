import numpy as np
import pytest

from hrmodel.signals.features import FeatureContract
from hrmodel.signals.grid import to_grid
from hrmodel.signals.level import Level, fit_level, population_level, track
from hrmodel.workouts.workout import Workout

CONTRACT = FeatureContract()
NAN = float("nan")


def make(heart_rate, speed):
    steps = len(heart_rate)
    return to_grid(Workout(t=np.arange(steps) * 10.0, speed=np.array(speed), heart_rate=np.array(heart_rate)))


def test_the_level_is_the_mean_of_the_workouts_and_the_spread_leans_on_the_population():
    one = make([140.0, 160.0], [2.0, 4.0])
    other = make([100.0, 100.0, 100.0, 100.0], [3.0] * 4)
    level = fit_level([one, other], CONTRACT)
    heart_rate_deviation = np.std([140, 160, 100, 100, 100, 100])
    assert (level.heart_rate, level.speed, level.workouts) == (125.0, 3.0, 2)
    assert level.spread == pytest.approx(2 / 6 * heart_rate_deviation + 4 / 6 * 14)
    assert level.speed_spread == pytest.approx(2 / 6 * np.std([2, 4, 3, 3, 3, 3]) + 4 / 6 * 0.55)


def test_steps_and_workouts_without_heart_rate_do_not_count():
    level = fit_level([make([150.0, NAN], [3.0, 3.0]), make([NAN, NAN], [9.0, 9.0])], CONTRACT)
    assert (level.heart_rate, level.speed, level.workouts) == (150.0, 3.0, 1)


def test_no_heart_rate_at_all_is_an_error():
    with pytest.raises(ValueError, match="none of these 1 has any"):
        fit_level([make([NAN], [3.0])], CONTRACT)
    with pytest.raises(ValueError, match="none of these 0"):
        fit_level([], CONTRACT)


def test_an_unknown_person_has_the_populations_level_and_their_own_speed():
    level = population_level(CONTRACT, 2.2)
    assert level == Level(heart_rate=146.0, spread=14.0, speed=2.2, speed_spread=0.55, workouts=0)
    assert level.shifted(5.0).heart_rate == 151.0
    assert Level.from_dict(level.to_dict()) == level


def test_tracking_moves_by_a_share_of_the_median_residual():
    assert track(1.0, np.array([10.0, NAN, 2.0, 100.0]), gain=0.3) == pytest.approx(1 + 0.3 * 10)
    assert track(1.0, np.array([NAN])) == 1.0
    assert track(1.0, np.zeros(0)) == 1.0


def test_tracking_settles_on_a_lasting_offset():
    offset = 0.0
    for _ in range(40):
        offset = track(offset, np.full(50, 8.0) - offset)
    assert offset == pytest.approx(8.0, abs=1e-4)
