import json

import numpy as np
import pytest

from hrmodel.signals.contract import FeatureContract
from hrmodel.signals.grid import to_grid
from hrmodel.signals.scale import SubjectScale, fit_scale, population_scale
from hrmodel.workouts.workout import Workout

CONTRACT = FeatureContract()
NAN = float("nan")


def make(heart_rate, speed):
    steps = len(heart_rate)
    return to_grid(Workout(t=np.arange(steps) * 10.0, speed=np.array(speed), heart_rate=np.array(heart_rate)))


def test_the_level_is_the_mean_of_the_workouts_and_the_spread_leans_on_the_population():
    one = make([140.0, 160.0], [2.0, 4.0])
    other = make([100.0, 100.0, 100.0, 100.0], [3.0] * 4)
    level = fit_scale([one, other], CONTRACT)
    heart_rate_deviation = np.std([140, 160, 100, 100, 100, 100])
    assert (level.heart_rate, level.speed, level.workouts) == (125.0, 3.0, 2)
    assert level.spread == pytest.approx(2 / 6 * heart_rate_deviation + 4 / 6 * 14)
    assert level.speed_spread == pytest.approx(2 / 6 * np.std([2, 4, 3, 3, 3, 3]) + 4 / 6 * 0.55)


def test_steps_and_workouts_without_heart_rate_do_not_count():
    level = fit_scale([make([150.0, NAN], [3.0, 3.0]), make([NAN, NAN], [9.0, 9.0])], CONTRACT)
    assert (level.heart_rate, level.speed, level.workouts) == (150.0, 3.0, 1)


def test_no_heart_rate_at_all_is_an_error():
    with pytest.raises(ValueError, match="none of these 1 has any"):
        fit_scale([make([NAN], [3.0])], CONTRACT)
    with pytest.raises(ValueError, match="none of these 0"):
        fit_scale([], CONTRACT)


def test_an_unknown_person_has_the_populations_level_and_their_own_speed():
    level = population_scale(CONTRACT, 2.2)
    assert level == SubjectScale(heart_rate=153.0, spread=14.0, speed=2.2, speed_spread=0.55, workouts=0)


def test_a_level_survives_json_and_refuses_other_names():
    level = fit_scale([make([140.0, 160.0], [2.0, 4.0])], CONTRACT)
    assert SubjectScale.from_dict(json.loads(json.dumps(level.to_dict()))) == level
    with pytest.raises(ValueError, match="offset"):
        SubjectScale.from_dict({**level.to_dict(), "offset": 1.0})
