import numpy as np
import pytest

from hrmodel.workouts.cleaning import clean, is_running
from hrmodel.workouts.workout import Workout

NAN = float("nan")


def make(seconds=1200, every=2.0, **changes):
    t = np.arange(0.0, seconds + 0.1, every)
    content = {
        "t": t,
        "speed": np.full(len(t), 3.0),
        "altitude": np.zeros(len(t)),
        "heart_rate": np.full(len(t), 140.0),
    }
    return Workout(**(content | changes))


def spoiled(values, index, value):
    values = values.copy()
    values[index] = value
    return values


def test_a_clean_run_is_kept_as_it_is():
    workout = make()
    cleaned = clean(workout)
    assert (cleaned.workout, cleaned.verdict, cleaned.reasons) == (workout, "kept", ())


@pytest.mark.parametrize(
    ("channel", "values", "missing"),
    [
        ("heart_rate", [255.0, 0.0, 25.0, 240.0], [True, True, False, False]),
        ("speed", [-0.1, 12.1, 0.0, 12.0], [True, True, False, False]),
    ],
)
def test_impossible_values_become_missing_with_a_reason(channel, values, missing):
    original = make()
    cleaned = clean(make(**{channel: spoiled(getattr(original, channel), slice(4), values)}))
    assert np.isnan(getattr(cleaned.workout, channel)[:4]).tolist() == missing
    assert [(r.code, r.samples) for r in cleaned.reasons] == [(f"{channel}_impossible", 2)]
    assert cleaned.verdict == "repaired"


def test_an_altitude_spike_goes_whole_and_a_steep_hill_stays():
    altitude = np.linspace(0, 300, 601)
    spiked = spoiled(altitude, slice(100, 105), altitude[100:105] + 400)
    cleaned = clean(make(altitude=spiked))
    assert np.flatnonzero(np.isnan(cleaned.workout.altitude)).tolist() == [100, 101, 102, 103, 104]
    assert clean(make(altitude=altitude)).verdict == "kept"


def test_samples_that_the_reader_removed_are_reported():
    cleaned = clean(make(removed_samples=7))
    assert (cleaned.verdict, cleaned.reasons[0].samples) == ("repaired", 7)


@pytest.mark.parametrize(
    ("workout", "code"),
    [
        (make(sport="cycling"), "not_running"),
        (make(seconds=598), "too_short"),
        (make(heart_rate=None), "no_heart_rate"),
        (make(heart_rate=np.full(601, 0.0)), "no_heart_rate"),
        (make(speed=np.full(601, NAN)), "no_speed"),
        (make(speed=np.full(601, 0.0)), "no_speed"),
        (make(speed=np.full(601, 10.0)), "implausible_speed"),
        (make(speed=np.full(601, 30.0)), "implausible_speed"),
        (make(heart_rate=spoiled(np.full(601, NAN), slice(0, 601, 31), 140.0)), "sparse_heart_rate"),
    ],
)
def test_what_cannot_be_learned_from_is_dropped_with_its_reason(workout, code):
    cleaned = clean(workout)
    assert (cleaned.workout, cleaned.verdict, cleaned.reasons[0].code) == (None, "dropped", code)


def test_the_least_density_of_heart_rate_can_be_set():
    heart_rate = spoiled(np.full(601, NAN), slice(0, 601, 31), 140.0)  # about one a minute
    assert clean(make(heart_rate=heart_rate), min_hr_per_minute=0.5).verdict == "kept"


def test_pauses_are_no_recorded_time():
    t = np.concatenate([np.arange(0, 300, 2.0), np.arange(3000, 3290, 2.0)])
    workout = Workout(t=t, speed=np.full(len(t), 3.0), heart_rate=np.full(len(t), 140.0))
    assert clean(workout).reasons[0].code == "too_short"


def test_the_names_of_running_are_known():
    assert [is_running(sport) for sport in ("running", "Trail_Run", "treadmill", "jogging", "cycling", "9")] == [
        True,
        True,
        True,
        True,
        False,
        False,
    ]
