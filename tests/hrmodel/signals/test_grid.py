import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hrmodel.signals.grid import forward_fill, to_grid
from hrmodel.workouts.workout import Workout

NAN = float("nan")


def make(t, **channels):
    t = np.array(t, dtype=float)
    return Workout(t=t, **({"speed": np.full(len(t), 3.0)} | {name: np.array(v) for name, v in channels.items()}))


def test_steps_are_the_means_of_their_ten_seconds():
    workout = make(
        [0, 4, 9.99, 10, 19, 25], speed=[1.0, 2.0, 6.0, 4.0, NAN, 5.0], heart_rate=[100, NAN, 110, NAN, NAN, 120]
    )
    (segment,) = to_grid(workout).segments
    np.testing.assert_allclose(segment.speed, [3, 4, 5])
    np.testing.assert_allclose(segment.heart_rate, [105, NAN, 120])
    assert np.isnan(segment.altitude).all()
    assert (segment.first_step, segment.steps) == (0, 3)
    assert to_grid(workout).bin_of_sample.tolist() == [0, 0, 0, 1, 1, 2]


def test_the_grid_counts_from_zero_even_when_the_first_sample_comes_later():
    (segment,) = to_grid(make([35, 47])).segments
    assert (segment.first_step, segment.steps) == (3, 2)


def test_a_gap_over_a_minute_starts_a_new_segment_and_sixty_seconds_do_not():
    gridded = to_grid(make([0, 60, 120.5, 125]))
    assert [(s.first_step, s.steps) for s in gridded.segments] == [(0, 7), (12, 1)]


def test_missing_values_do_not_start_a_segment():
    workout = make(np.arange(0, 200, 5), heart_rate=[120.0] * 4 + [NAN] * 30 + [130.0] * 6)
    assert len(to_grid(workout).segments) == 1


def test_speed_and_altitude_bridge_thirty_seconds_and_no_more():
    three_empty = make([0, 40], speed=[1.0, 5.0], altitude=[10.0, 30.0])
    (segment,) = to_grid(three_empty).segments
    np.testing.assert_allclose(segment.speed, [1, 2, 3, 4, 5])
    np.testing.assert_allclose(segment.altitude, [10, 15, 20, 25, 30])
    (segment,) = to_grid(make([0, 50], speed=[1.0, 5.0])).segments
    np.testing.assert_allclose(segment.speed, [1, NAN, NAN, NAN, NAN, 5])


def test_nothing_is_made_up_before_the_first_or_after_the_last_value():
    (segment,) = to_grid(make([0, 10, 20, 30], speed=[NAN, 2.0, 3.0, NAN])).segments
    np.testing.assert_allclose(segment.speed, [NAN, 2, 3, NAN])


def test_heart_rate_is_filled_forward_for_thirty_seconds():
    measured = np.array([NAN, 100, NAN, NAN, NAN, NAN, 120, NAN])
    np.testing.assert_allclose(forward_fill(measured), [NAN, 100, 100, 100, 100, NAN, 120, 120])
    assert np.isnan(forward_fill(np.full(3, NAN))).all()


def test_means_leave_out_what_was_not_measured():
    gridded = to_grid(make([0, 10, 20], speed=[1.0, NAN, 3.0], heart_rate=[NAN, 100.0, 140.0]), "abc")
    assert (gridded.mean_heart_rate, gridded.mean_speed, gridded.digest) == (120.0, 2.0, "abc")
    assert np.isnan(to_grid(make([0, 10])).mean_heart_rate)


def test_a_day_long_gap_costs_no_memory():
    gridded = to_grid(make([0, 5, 9e8]))
    assert [segment.steps for segment in gridded.segments] == [1, 1]


@st.composite
def recordings(draw):
    gaps = draw(st.lists(st.floats(0.1, 150), min_size=1, max_size=40))
    t = np.cumsum(gaps)
    values = st.one_of(st.just(NAN), st.floats(40, 200))
    return Workout(
        t=t,
        speed=np.array(draw(st.lists(values, min_size=len(t), max_size=len(t)))),
        heart_rate=np.array(draw(st.lists(values, min_size=len(t), max_size=len(t)))),
    )


@given(recordings())
@settings(max_examples=60)
def test_every_sample_lies_in_exactly_one_segment_and_means_match_a_plain_loop(workout):
    gridded = to_grid(workout)
    for bin_number in set(gridded.bin_of_sample.tolist()):
        holders = [s for s in gridded.segments if s.first_step <= bin_number < s.first_step + s.steps]
        assert len(holders) == 1
        readings = workout.heart_rate[gridded.bin_of_sample == bin_number]
        readings = readings[np.isfinite(readings)]
        expected = readings.mean() if len(readings) else NAN
        np.testing.assert_allclose(holders[0].heart_rate[bin_number - holders[0].first_step], expected)
    assert sum(np.isfinite(s.heart_rate).sum() for s in gridded.segments) <= len(workout.t)


@given(recordings(), st.integers(0, 39), st.one_of(st.just(NAN), st.floats(40, 200)))
@settings(max_examples=60)
def test_a_changed_heart_rate_changes_nothing_but_its_own_step(workout, index, value):
    index %= len(workout.t)
    changed = workout.heart_rate.copy()
    changed[index] = value
    before = to_grid(workout)
    after = to_grid(Workout(t=workout.t, speed=workout.speed, heart_rate=changed))
    assert [s.first_step for s in before.segments] == [s.first_step for s in after.segments]
    for old, new in zip(before.segments, after.segments, strict=True):
        own = before.bin_of_sample[index] - old.first_step
        others = np.arange(old.steps) != own
        assert old.heart_rate[others].tobytes() == new.heart_rate[others].tobytes()
        assert old.speed.tobytes() == new.speed.tobytes()
