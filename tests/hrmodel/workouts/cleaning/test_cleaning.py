from pathlib import Path

import numpy as np
import pytest

from hrmodel.workouts.cleaning.clean import clean
from hrmodel.workouts.sandbox.reading import read_workouts
from hrmodel.workouts.workout import MARKS, Workout

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
        ("speed", [-0.1, 12.1, 0.0, 5.0], [True, True, False, False]),
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


def moving(speed, cadence=None, climb=0.0, seconds=1200):
    """An exercise at about this speed, with or without a record of its steps, up a mountain or not."""
    t = np.arange(0.0, seconds + 0.1, 2.0)
    return make(
        seconds,
        speed=speed + 0.1 * np.sin(t / 30),
        heart_rate=np.round(120 + 4 * np.sin(t / 50)),
        cadence=None if cadence is None else np.full(len(t), float(cadence)),
        altitude=climb * speed * t,
    )


@pytest.mark.parametrize(
    ("workout", "verdict", "codes"),
    [
        (moving(1.3), "dropped", ["walk"]),
        (moving(1.4, cadence=112), "dropped", ["walk"]),
        (moving(1.5, climb=0.01), "dropped", ["walk"]),
        (moving(1.5, cadence=160), "kept", []),  # a slow jog: the steps say so
        (moving(1.3, climb=0.12), "kept", ["partly_walked"]),  # a mountain run
        (moving(2.0, climb=0.04), "kept", []),
        (moving(1.8), "kept", []),
        (moving(1.8, cadence=112), "kept", ["partly_walked"]),
        (moving(2.6, cadence=165), "kept", []),
    ],
)
def test_walks_are_dropped_and_slow_runs_are_kept(workout, verdict, codes):
    cleaned = clean(workout)
    assert (cleaned.verdict, [r.code for r in cleaned.reasons]) == (verdict, codes)


def test_a_walk_is_dropped_with_its_evidence():
    (reason,) = clean(moving(1.4, cadence=112)).reasons
    assert reason.message == "a walk: its median moving speed is 1.41 m/s (11:50 min/km) at 112 steps a minute"


@pytest.mark.parametrize(("share", "warned"), [(0.25, False), (0.4, True)])
def test_a_run_that_was_partly_walked_is_kept_with_a_warning(share, warned):
    workout = moving(2.6, cadence=165)
    walking = slice(0, int(share * len(workout.t)))
    speed, cadence = workout.speed.copy(), workout.cadence.copy()
    speed[walking], cadence[walking] = 1.4, 110.0
    cleaned = clean(make(speed=speed, cadence=cadence, heart_rate=workout.heart_rate))
    assert cleaned.verdict == "kept"
    assert [(r.code, r.samples) for r in cleaned.reasons] == ([("partly_walked", walking.stop)] if warned else [])


def with_tail(seconds, speed=0.1, cadence=None):
    """A 20 min run that nobody stopped recording for this long."""
    run, t = moving(2.8, cadence=168), np.arange(0.0, 1200 + seconds, 2.0)
    after = len(t) - len(run.t)
    steps = 0.0 if cadence is None else cadence
    return Workout(
        t=t,
        speed=np.append(run.speed, np.full(after, speed)),
        heart_rate=np.append(run.heart_rate, np.round(80 + 3 * np.sin(np.arange(after) / 20))),
        cadence=np.append(run.cadence, np.full(after, steps)),
        marks=None,
    )


@pytest.mark.parametrize("hours", [0.25, 8])
def test_what_was_recorded_after_the_run_is_left_out(hours):
    cleaned = clean(with_tail(3600 * hours))
    assert cleaned.verdict == "repaired"
    assert cleaned.reasons[0].code == "forgotten_stop"
    assert 1200 + 120 < cleaned.workout.t[-1] <= 1200 + 240  # recovery is a part of the run
    assert cleaned.reasons[0].samples == len(with_tail(3600 * hours).t) - len(cleaned.workout.t)


@pytest.mark.parametrize(
    "tail", [with_tail(240), with_tail(1200, speed=1.2), with_tail(1200, speed=NAN), with_tail(1200, cadence=165)]
)
def test_a_walk_home_a_short_rest_and_a_lost_speed_are_no_forgotten_stop(tail):
    assert "forgotten_stop" not in [reason.code for reason in clean(tail).reasons]


def test_long_standing_is_no_recorded_time():
    t = np.arange(0.0, 1000, 2.0)
    stood = (t > 300) & (t < 800)
    speed = np.where(stood, 0.0, 2.8 + 0.1 * np.sin(t / 30))
    cleaned = clean(Workout(t=t, speed=speed, heart_rate=np.round(130 + 5 * np.sin(t / 50))))
    assert [r.code for r in cleaned.reasons] == ["standing_pause"]
    half = Workout(t=t[:450], speed=speed[:450], heart_rate=np.round(130 + 5 * np.sin(t[:450] / 50)))
    assert [r.code for r in clean(half).reasons] == ["too_short", "standing_pause"]  # 580 s without the standing


def test_a_workout_whose_sensor_failed_most_of_the_time_is_dropped():
    t = np.arange(0.0, 1200.1, 2.0)
    stuck = np.where(t < 900, 150.0, np.round(140 + 5 * np.sin(t / 20)))
    cleaned = clean(make(speed=2.8 + 0.3 * np.sin(t / 30), heart_rate=stuck))
    assert (cleaned.verdict, cleaned.reasons[0].code) == ("dropped", "faulty_heart_rate")
    assert cleaned.reasons[0].message == "74% of the heart rate is a sensor's fault"


def test_marks_tell_why_a_value_is_missing():
    heart_rate = spoiled(np.round(140 + 5 * np.sin(np.arange(601) / 20)), [50, 51], 0.0)
    cleaned = clean(make(heart_rate=heart_rate))
    assert np.flatnonzero(cleaned.workout.marks).tolist() == [50, 51]
    assert cleaned.workout.marks[50] == MARKS["heart_rate_impossible"]
    again = clean(cleaned.workout)
    assert (again.verdict, again.workout) == ("kept", cleaned.workout)


@pytest.mark.parametrize(
    ("name", "verdict", "codes"),
    [
        ("suunto_run.fit", "kept", ["partly_walked"]),  # 1.7 m/s at 110 steps a minute
        ("garmin_connect_smart_recording.tcx", "kept", []),  # 1.7 m/s at 164 steps a minute
        ("mixed_walk_run.tcx", "repaired", ["heart_rate_spike", "heart_rate_dropout", "partly_walked"]),
        ("fenix2_run_1hz.fit", "repaired", ["altitude_impossible"]),
        ("garmin_connect_1hz.gpx", "kept", []),
        ("garmin_marathon_smart_recording.fit", "kept", []),
    ],
)
def test_real_files_are_kept(name, verdict, codes):
    path = Path(__file__).resolve().parents[4].parent / "shared" / "data" / "formats" / name
    if not path.exists():
        pytest.skip("the shared sample files are not beside the project")
    ((workout,),) = [read_workouts(path)]
    cleaned = clean(workout)
    assert (cleaned.verdict, [reason.code for reason in cleaned.reasons]) == (verdict, codes)
