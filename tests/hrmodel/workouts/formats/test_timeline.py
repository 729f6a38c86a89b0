"""Records of faulty clocks, in file order, and the series that they are."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrmodel.workouts.formats import timeline
from hrmodel.workouts.formats.tracks import COLUMNS

START = 1_714_804_200.0  # 2024-05-04T06:30:00Z
HOUR, DAY = 3600.0, 86_400.0
ROLLOVER = 1024 * 7 * DAY
SAMPLES, STEP = 751, 2.0


def columns(n, **known):
    """(n,) values of each channel, NaN unless given."""
    return {name: np.full(n, math.nan) for name in COLUMNS} | {name: np.array(v, float) for name, v in known.items()}


def a_run(n=SAMPLES, step=STEP):
    """Times of a run without any fault, and its values, of which the distance tells the true order."""
    return START + step * np.arange(n), columns(
        n, distance=5.0 * np.arange(n), heart_rate=150 + 10 * np.sin(np.arange(n) / 50)
    )


def shifted(first, last, seconds, **options):
    """The series of a run whose records `first` to `last` (not included) have a clock that is so much ahead."""
    times, values = a_run(**options)
    times[first:last] += seconds
    return timeline.build(times, values)


def codes(series):
    return [(reason.code, reason.samples) for reason in series.reasons]


def is_in_order(series):
    return (np.diff(series.times) > 0).all() and (np.diff(series.columns["distance"]) > 0).all()


def test_a_good_series_stays_as_it_is():
    times, values = a_run()
    series = timeline.build(times, values)
    assert (series.times is times, series.columns is values, series.removed, series.reasons) == (True, True, 0, ())


@pytest.mark.parametrize(
    ("records", "ahead", "words"),
    [
        (5, -START, "54 years behind"),  # 1970
        (5, -ROLLOVER, "20 years behind"),
        (20, HOUR, "60 min ahead"),
        (20, -HOUR, "60 min behind"),
        (11, -6 * DAY - 5 * HOUR, "6 days behind"),
        (3, -2 * DAY, "2 days behind"),
        (20, 2220, "37 min ahead"),
        (30, -9 * HOUR, "540 min behind"),
    ],
)
def test_a_short_head_of_another_clock_is_left_out(records, ahead, words):
    series = shifted(0, records, ahead)
    assert (len(series.times), series.times[0]) == (SAMPLES - records, START + STEP * records)
    assert codes(series) == [("clock_fault", records)]
    assert "at the beginning" in series.reasons[0].message
    assert words.split()[-1] in series.reasons[0].message
    assert series.removed == 0


BLOCKS = {"head": (0, 240), "middle": (300, 500), "tail": (600, SAMPLES)}
CLOCKS = (HOUR, -HOUR, 20 * DAY, -20 * DAY, -ROLLOVER, -START, -600)


# a head ten minutes behind looks like a pause
@pytest.mark.parametrize(
    ("block", "ahead"), [pair for pair in itertools.product(BLOCKS, CLOCKS) if pair != ("head", -600)]
)
def test_a_long_block_of_another_clock_goes_where_its_order_says(block, ahead):
    first, last = BLOCKS[block]
    series = shifted(first, last, ahead)
    assert len(series.times) == SAMPLES
    assert is_in_order(series)
    assert series.times[-1] - series.times[0] == STEP * (SAMPLES - 1)
    if last - first < SAMPLES / 2:
        assert series.times[0] == START
    assert codes(series)[0][0] == "clock_fault"


def test_a_clock_that_was_set_20_days_on_costs_no_record():
    """As in a public file: 475 s, then the date was set."""
    times = START + 6.0 * np.arange(567)
    times[:80] -= 20 * DAY + 4321
    series = timeline.build(times, columns(567, distance=np.arange(567.0)))
    assert (len(series.times), series.times[-1] - series.times[0], is_in_order(series)) == (567, 6 * 566, True)
    assert series.times[-1] == START + 6 * 566


def test_of_a_clock_set_anew_half_way_the_one_that_was_set_is_right():
    for records in (500, 650):
        series = shifted(0, records, -ROLLOVER)
        assert (series.times[0], series.times[-1], len(series.times)) == (START, START + 1500, SAMPLES)


PAUSES = ((0, -HOUR), (SAMPLES - 1, 40))  # these look like a pause


@pytest.mark.parametrize(
    ("place", "ahead"),
    [
        pair
        for pair in itertools.product((0, 375, SAMPLES - 1), (-START - 1e9, 1e10, 3 * DAY, -HOUR, 40))
        if pair not in PAUSES
    ],
)
def test_a_lone_wrong_time_is_dropped(place, ahead):
    series = shifted(place, place + 1, ahead)
    assert (len(series.times), series.removed, series.reasons) == (SAMPLES - 1, 1, ())
    assert is_in_order(series)


def test_a_clock_that_goes_back_some_seconds_loses_only_what_was_told_twice():
    times, values = a_run()
    times[300:] -= 6
    series = timeline.build(times, values)
    assert (len(series.times), series.times[-1] - series.times[0], series.reasons) == (SAMPLES - 3, 1494, ())


def test_a_clock_set_back_in_mid_run_costs_nothing():
    series = shifted(400, SAMPLES, -200)
    assert (len(series.times), is_in_order(series)) == (SAMPLES, True)
    assert series.times[-1] - series.times[0] == 1500


@pytest.mark.parametrize("hours", [1, 2.5, 5, 13, 20])
def test_a_truthful_pause_stays(hours):
    times, values = a_run()
    times[375:] += hours * HOUR
    values["heart_rate"][375:] -= 40  # who has rested
    series = timeline.build(times, values)
    assert (series.times is times, series.reasons) == (True, ()) or len(series.times) == SAMPLES
    assert series.times[-1] - series.times[0] == 1500 + hours * HOUR


def test_whole_hours_on_the_clock_and_no_rest_are_another_time_zone():
    series = shifted(375, SAMPLES, 2 * HOUR)
    assert (len(series.times), series.times[-1] - series.times[0]) == (SAMPLES, 1500)


def test_the_days_of_a_long_track_stay():
    day = START + 5.0 * np.arange(2000)
    times = np.concatenate([day, day + DAY, day + 3 * DAY])
    series = timeline.build(times, columns(6000, distance=np.arange(6000.0)))
    assert (series.times.tolist(), series.reasons) == (times.tolist(), ())


def test_points_swapped_in_pairs_and_the_newest_first_are_sorted():
    times, values = a_run(n=750)
    swapped = np.arange(750).reshape(-1, 2)[:, ::-1].ravel()
    for order in (swapped, np.arange(750)[::-1], np.concatenate([np.arange(400, 750), np.arange(400)])):
        series = timeline.build(times[order], {name: column[order] for name, column in values.items()})
        np.testing.assert_array_equal(series.times, times)
        np.testing.assert_array_equal(series.columns["distance"], values["distance"])
        assert [code for code, _ in codes(series)] == ["time_order"]


def test_records_of_one_second_complete_each_other():
    times = np.repeat(START + STEP * np.arange(100), 2)
    distance, heart_rate = np.full(200, math.nan), np.full(200, math.nan)
    distance[::2], heart_rate[1::2] = np.arange(100), 150
    series = timeline.build(times, columns(200, distance=distance, heart_rate=heart_rate))
    assert (len(series.times), series.removed, series.reasons) == (100, 0, ())
    assert series.columns["distance"].tolist() == list(range(100))
    assert (series.columns["heart_rate"] == 150).all()
    apart = timeline.build(times + np.tile([0.0, 0.4], 100), columns(200, distance=distance, heart_rate=heart_rate))
    assert apart.times.tolist() == series.times.tolist()


def test_of_two_values_of_one_second_the_first_counts():
    times = START + np.array([0.0, 1, 1, 2])
    series = timeline.build(times, columns(4, heart_rate=[100, 101, 109, 102], altitude=[1, math.nan, 2, 3]))
    assert (series.times - START).tolist() == [0, 1, 2]
    assert series.columns["heart_rate"].tolist() == [100, 101, 102]
    assert series.columns["altitude"].tolist() == [1, 2, 3]
    assert (series.removed, series.reasons) == (0, ())


def test_several_samples_a_second_stay():
    times = START + np.arange(100) / 4
    series = timeline.build(times, columns(100, heart_rate=np.arange(100)))
    assert series.times.tolist() == times.tolist()


def test_a_second_track_with_the_heart_rate_of_the_first_is_merged():
    times, _ = a_run()
    half = np.full(SAMPLES, math.nan)
    values = columns(
        2 * SAMPLES,
        distance=np.concatenate([np.arange(SAMPLES), half]),
        heart_rate=np.concatenate([half, np.full(SAMPLES, 150)]),
    )
    series = timeline.build(np.tile(times, 2), values)
    assert (series.times.tolist(), series.reasons) == (times.tolist(), ())
    assert np.isfinite(series.columns["heart_rate"]).all()


def test_a_track_that_is_there_twice_counts_once():
    times, values = a_run()
    twice = {name: np.tile(column, 2) for name, column in values.items()}
    series = timeline.build(np.tile(times, 2), twice)
    assert (series.times.tolist(), series.removed, series.reasons) == (times.tolist(), 0, ())


def test_records_without_a_time_are_counted():
    times, values = a_run()
    times[[0, 10, SAMPLES - 1]] = math.nan
    series = timeline.build(times, values)
    assert (len(series.times), series.removed, series.reasons) == (SAMPLES - 3, 3, ())
    assert len(timeline.build(np.full(3, math.nan), columns(3)).times) == 0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2024-05-04T06:30:00Z", START),
        ("2024-05-04T08:30:00+02:00", START),
        ("2024-05-04T06:30:00.250", START + 0.25),
        ("2016-12-31T23:59:59Z", 1_483_228_799),
        ("2016-12-31T23:59:60Z", 1_483_228_799.35),
        ("2016-12-31T23:59:60.500Z", 1_483_228_799.675),
        ("2017-01-01T00:59:60+01:00", 1_483_228_799.35),
        ("2017-01-01T00:00:00Z", 1_483_228_800),
        ("2567-05-04T06:30:00Z", START),  # the Buddhist year
        ("2024-5-4 6:30:0 am", START),
        ("2024-05-04T08:30:00GMT+02:00", START),
    ],
)
def test_an_instant_is_read(text, seconds):
    assert timeline.instant(text) == pytest.approx(seconds, abs=1e-6)


@pytest.mark.parametrize("text", ["", "yesterday", "0000-05-04T06:42:30Z", "2024-05-04T06:61:00Z", "2" * 9000])
def test_what_is_no_time_is_missing(text):
    assert math.isnan(timeline.instant(text))


a_time = st.one_of(
    st.floats(-1e12, 1e12),
    st.floats(START - 100, START + 2000),
    st.sampled_from([math.nan, 0.0, START, START + HOUR, START - DAY]),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(a_time, min_size=1, max_size=60))
def test_any_times_give_a_series_that_advances(times):
    series = timeline.build(np.array(times), columns(len(times), distance=np.arange(len(times))))
    assert (np.diff(series.times) > 0).all()
    assert all(len(column) == len(series.times) for column in series.columns.values())
    assert (len(series.times) > 0) == bool(np.isfinite(times).any())


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(60)))
def test_any_order_of_good_records_is_sorted(order):
    times, values = a_run(n=60)
    series = timeline.build(times[list(order)], {name: column[list(order)] for name, column in values.items()})
    np.testing.assert_array_equal(series.times, times)
    np.testing.assert_array_equal(series.columns["distance"], values["distance"])


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, SAMPLES),
    st.integers(1, 250),
    st.sampled_from([-1, 1]),
    st.one_of(st.floats(DAY + 1, 40 * 365 * DAY), st.sampled_from([HOUR, 2 * HOUR, ROLLOVER])),
)
def test_a_block_of_another_clock_never_makes_the_run_longer_or_loses_another_record(first, size, sign, ahead):
    last = min(first + size, SAMPLES)
    series = shifted(first, last, sign * ahead)
    assert SAMPLES - (last - first) <= len(series.times) <= SAMPLES
    assert is_in_order(series)
    assert series.times[-1] - series.times[0] <= STEP * (SAMPLES - 1)


def test_many_clocks_are_bounded_work():
    """150 000 records whose clock leaps with each one: no minute of work."""
    times = START + np.random.default_rng(0).uniform(0, 1e9, 150_000)
    assert len(timeline.build(times, columns(150_000)).times) > 0
    blocks = START + 2.0 * np.arange(150_000) + 5 * DAY * (np.arange(150_000) // 400 % 2)
    assert len(timeline.build(blocks, columns(150_000)).times) > 0
