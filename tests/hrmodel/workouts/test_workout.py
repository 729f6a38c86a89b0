from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hrmodel.workouts.workout import EPOCH, MARKS, Workout, advancing

VALUES = st.one_of(st.just(float("nan")), st.floats(-1e6, 1e6))


def make(**changes):
    content = {"t": np.arange(4.0), "speed": np.array([1.0, np.nan, 3.0, -0.0])} | changes
    return Workout(**content)


@given(arrays(np.float64, 7, elements=VALUES), arrays(np.float64, 7, elements=VALUES), st.booleans(), st.datetimes())
def test_a_stored_workout_comes_back_bit_for_bit(speed, heart_rate, has_altitude, start):
    altitude = speed[::-1].copy() if has_altitude else None
    first = Workout(
        t=np.arange(7) * 0.5,
        speed=speed,
        heart_rate=heart_rate,
        altitude=altitude,
        started_at=start.replace(tzinfo=UTC),
    )
    second = Workout.from_bytes(first.to_bytes(), person="p", source="file", split="val")
    assert second.to_bytes() == first.to_bytes()
    np.testing.assert_array_equal(second.speed, first.speed)
    assert (second.altitude is None, second.cadence) == (not has_altitude, None)
    assert (second.started_at, second.person, second.source, second.split) == (first.started_at, "p", "file", "val")


def test_the_digest_follows_the_content_and_not_where_it_came_from():
    assert make(person="a", source="x", split="val").digest == make().digest
    assert make(sport="walking").digest != make().digest
    assert make(started_at=EPOCH).digest != make().digest


def test_marks_are_stored_and_come_back():
    marks = np.array([0, MARKS["cadence_lock"], 0, MARKS["speed_jump"] | MARKS["standing_pause"]], dtype=np.uint16)
    back = Workout.from_bytes(make(marks=marks).to_bytes())
    np.testing.assert_array_equal(back.marks, marks)
    assert back.marks.dtype == np.uint16
    assert back.digest == make(marks=marks).digest != make().digest


def test_without_marks_a_workout_has_the_bytes_that_it_had_before_there_were_marks():
    full = {name: np.full(4, value) for name, value in (("heart_rate", 140.0), ("cadence", 170.0))}
    workout = make(altitude=np.arange(4.0), started_at=EPOCH, **full)
    assert workout.digest == "531b6e8da1db96a6587b2ef0a004dc65d68d0ca9435b225f2ac77fad8bc13f17"
    unmarked = make(altitude=np.arange(4.0), started_at=EPOCH, marks=np.zeros(4, dtype=np.uint16), **full)
    assert (unmarked.marks, unmarked.digest) == (None, workout.digest)


def test_equal_numbers_have_equal_bytes_whatever_their_bits():
    other_nan = np.frombuffer(np.uint64(0x7FF8000000000123).tobytes(), dtype=np.float64)[0]
    assert make(speed=np.array([1.0, other_nan, 3.0, 0.0])).digest == make().digest


def test_the_start_is_kept_as_the_instant_in_utc():
    start = datetime(2024, 5, 1, 8, tzinfo=timezone(timedelta(hours=2)))
    assert make(started_at=start).started_at.isoformat() == "2024-05-01T06:00:00+00:00"
    with pytest.raises(ValueError, match="time zone"):
        make(started_at=datetime(2024, 5, 1))


def test_infinite_values_are_missing_values():
    assert np.isnan(make(speed=np.array([1.0, np.inf, -np.inf, 2.0])).speed).tolist() == [False, True, True, False]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"t": np.array([0.0, 2.0, 2.0, 3.0])}, r"t\[1\] = 2.0 and t\[2\] = 2.0"),
        ({"t": np.array([-1.0, 2.0, 3.0, 4.0])}, "from -1.0"),
        ({"t": np.array([0.0, np.nan, 3.0, 4.0])}, "finite"),
        ({"t": np.array([0.0, 1.0, 2.0, 1e300])}, "1e.09"),
        ({"t": np.zeros(0)}, "at least one"),
        ({"heart_rate": np.zeros(3)}, "heart_rate has shape"),
        ({"altitude": np.zeros((4, 1))}, "altitude has shape"),
        ({"marks": np.zeros(3, dtype=np.uint16)}, "marks must be 4 uint16"),
        ({"marks": np.ones(4)}, "not float64"),
    ],
)
def test_impossible_content_is_refused_and_shown(changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)


@pytest.mark.parametrize("data", [b"", b"nonsense", bytes(100), make().to_bytes()[:-3]])
def test_other_bytes_are_no_workout(data):
    with pytest.raises(ValueError, match="not a stored workout"):
        Workout.from_bytes(data)


def test_workouts_without_a_clock_come_first_and_ties_are_broken_by_digest():
    late, early, other = make(started_at=EPOCH + timedelta(days=1)), make(), make(sport="trail")
    ordered = sorted([late, other, early], key=lambda workout: workout.sort_key)
    assert ordered[2] is late
    assert ordered[0].digest < ordered[1].digest


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=12))
def test_advancing_keeps_exactly_the_new_maxima(times):
    expected = [all(time > earlier for earlier in times[:i]) for i, time in enumerate(times)]
    assert advancing(np.array(times, dtype=float)).tolist() == expected
