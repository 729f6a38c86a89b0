import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrmodel.workouts.cleaning.duplicates import Extent, duplicates, extent_of, same_workout
from hrmodel.workouts.workout import EPOCH, Workout

MORNING = datetime(2026, 3, 1, 8, tzinfo=UTC)


def recording(minute=0.0, minutes=40.0, *, per_minute=60, samples=None, clock=MORNING):
    return Extent(
        started_at=None if clock is None else clock + timedelta(minutes=minute),
        seconds=60 * minutes,
        heart_rate_readings=round(per_minute * minutes),
        samples=round(60 * minutes) if samples is None else samples,
        source="",
    )


def test_the_recording_with_more_heart_rate_a_minute_stays():
    phone, watch = recording(per_minute=12, samples=9000), recording(2, 39)
    assert duplicates([phone, watch]) == {0: 1}
    assert duplicates([watch, phone]) == {1: 0}


def test_then_the_one_with_more_samples_and_then_the_earlier_in_the_list():
    assert duplicates([recording(samples=100), recording(samples=200)]) == {0: 1}
    assert duplicates([recording(), recording(), recording()]) == {1: 0, 2: 0}


@pytest.mark.parametrize(("minute", "same"), [(19, True), (20, False), (21, False), (-19, True), (300, False)])
def test_more_than_half_of_the_shorter_one_must_be_shared(minute, same):
    assert same_workout(recording(), recording(minute)) == same
    assert bool(duplicates([recording(), recording(minute, 90)])) == same


def test_a_short_recording_inside_a_long_one_is_the_same_workout():
    assert same_workout(recording(0, 200), recording(100, 10))


@pytest.mark.parametrize(
    "clock",
    [
        None,
        EPOCH,
        EPOCH + timedelta(days=400),
        datetime(1989, 12, 31, tzinfo=UTC),
        datetime(1990, 1, 1, 23, tzinfo=UTC),
    ],
)
def test_without_a_clock_nothing_is_a_duplicate(clock):
    pair = [recording(clock=clock), recording(clock=clock)]
    assert not same_workout(*pair)
    assert duplicates(pair) == {}


def test_a_single_sample_is_no_duplicate():
    assert duplicates([recording(), recording(5, 0)]) == {}


def test_a_few_samples_more_do_not_outweigh_what_was_uploaded_last():
    again_with_its_route, without = recording(samples=1125), recording(samples=1141)
    assert duplicates([again_with_its_route, without]) == {1: 0}


def test_of_a_long_recording_and_two_short_ones_inside_it_the_better_stay():
    long = recording(0, 120, per_minute=10)
    assert duplicates([long, recording(5, 40), recording(60, 40)]) in ({0: 1}, {0: 2})
    better = recording(0, 120, per_minute=80)
    assert duplicates([better, recording(5, 40), recording(60, 40)]) == {1: 0, 2: 0}


def test_in_a_chain_only_those_go_that_are_the_same_as_one_that_stays():
    first, middle, last = recording(0), recording(15, per_minute=10), recording(30)
    assert not same_workout(first, last)
    assert duplicates([first, middle, last]) in ({1: 0}, {1: 2})
    assert duplicates([first, recording(15, per_minute=80), last]) == {0: 1, 2: 1}


pieces = st.tuples(st.integers(0, 200), st.integers(0, 60), st.integers(0, 3), st.booleans())


@settings(max_examples=150, deadline=None)
@given(st.lists(pieces, max_size=12))
def test_what_stays_is_unique_and_what_goes_has_a_better_one(drawn):
    extents = [recording(a, b, per_minute=20 * c, clock=MORNING if clock else EPOCH) for a, b, c, clock in drawn]
    dropped = duplicates(extents)
    staying = [i for i in range(len(extents)) if i not in dropped]
    assert set(dropped.values()) <= set(staying)
    assert all(same_workout(extents[i], extents[k]) for i, k in dropped.items())
    assert all((extents[k].quality, -k) >= (extents[i].quality, -i) for i, k in dropped.items())
    assert not any(same_workout(extents[a], extents[b]) for a, b in combinations(staying, 2))


@pytest.mark.parametrize("kind", ["apart", "copies", "one long one over all", "long ones over short ones"])
def test_twenty_thousand_workouts_are_compared_soon(kind):
    if kind == "apart":
        extents = [recording(60 * n) for n in range(20_000)]
    elif kind == "copies":
        extents = [recording(60 * (n // 100)) for n in range(20_000)]
    elif kind == "one long one over all":
        extents = [recording(0, 60 * 20_000, per_minute=1), *(recording(60 * n) for n in range(20_000))]
    else:
        long = [recording(n, 60 * 10_000, per_minute=1) for n in range(10_000)]
        extents = [*long, *(recording(60 * n) for n in range(10_000))]
    began = time.process_time()
    duplicates(extents)
    assert time.process_time() - began < 10  # 0.3 s on an idle machine


def test_the_extent_counts_measured_heart_rates():
    t = np.arange(100.0)
    heart_rate = np.where(t < 40, np.nan, 140.0)
    workout = Workout(t=t, speed=np.full(100, 3.0), heart_rate=heart_rate, started_at=MORNING, source="a.fit")
    assert extent_of(workout) == Extent(
        started_at=MORNING, seconds=99.0, heart_rate_readings=60, samples=100, source="a.fit"
    )


def test_alike_intervals_of_one_file_hours_apart_are_no_copies_of_each_other():
    t = np.arange(0.0, 700.0)
    heart_rate = 160 - 50 * np.exp(-t / 90)
    legs = [
        Workout(t=t, speed=np.full(700, 3.0), heart_rate=heart_rate, started_at=MORNING + timedelta(hours=hour))
        for hour in (0, 2)
    ]
    extents = [extent_of(leg) for leg in legs]
    one_file = [replace(extents[0], source="day.fit"), replace(extents[1], source="day.fit: session 2")]
    assert duplicates(one_file) == {}
    two_files = [replace(extents[0], source="day.fit: session 2"), replace(extents[1], source="other.gpx")]
    assert duplicates(two_files) == {1: 0}
