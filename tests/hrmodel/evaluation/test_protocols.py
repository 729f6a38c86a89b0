import numpy as np
import pytest

from hrmodel.evaluation.protocols import PROTOCOLS
from hrmodel.signals.grid import GriddedWorkout, Segment
from tests.prediction_builders import make_gridded

TRUTH = np.arange(100.0, 180.0)


@pytest.mark.parametrize(("name", "known"), [("P1", 0), ("P2-60", 6), ("P2-180", 18), ("P2-600", 60)])
def test_a_prefix_is_known_and_everything_after_it_is_scored(name, known):
    task = PROTOCOLS[name](make_gridded(TRUTH))
    assert np.isfinite(task.view).tolist() == [step < known for step in range(80)]
    assert np.array_equal(task.view[:known], TRUTH[:known])
    assert task.scored.tolist() == [step >= known for step in range(80)]
    assert np.isnan(task.view[task.scored]).all()


def test_thirty_seconds_ahead_one_step_a_minute_is_scored_and_knows_what_ended_30_s_before_its_end():
    task = PROTOCOLS["P3-30"](make_gridded(TRUTH))
    assert np.flatnonzero(task.scored).tolist() == [8, 14, 20, 26, 32, 38, 44, 50, 56, 62, 68, 74]
    assert task.horizon == 3  # the step ends 30 s after the last known one
    assert np.array_equal(task.view, TRUTH)


def test_a_workout_with_less_than_two_minutes_to_score_is_skipped():
    assert PROTOCOLS["P2-600"](make_gridded(TRUTH[:72])) is not None
    assert PROTOCOLS["P2-600"](make_gridded(TRUTH[:71])) is None
    assert PROTOCOLS["P3-30"](make_gridded(TRUTH[:17])) is None
    unmeasured = np.where(np.arange(80) % 8 == 0, TRUTH, np.nan)
    assert PROTOCOLS["P1"](make_gridded(unmeasured)) is None


def test_steps_without_heart_rate_are_not_scored_and_a_prefix_counts_from_the_first_step_through_gaps():
    early, late = make_gridded(TRUTH[:10]).segments[0], make_gridded(TRUTH[:50]).segments[0]
    late = Segment(first_step=130, speed=late.speed, altitude=late.altitude, heart_rate=late.heart_rate)
    early = Segment(first_step=100, speed=early.speed, altitude=early.altitude, heart_rate=early.heart_rate)
    workout = GriddedWorkout(segments=(early, late), bin_of_sample=np.arange(60), digest="")
    task = PROTOCOLS["P2-600"](workout)
    assert np.isfinite(task.view).sum() == 10 + 30
    late.heart_rate[35] = np.nan
    assert PROTOCOLS["P1"](workout).scored.sum() == 59
