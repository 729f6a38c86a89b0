import time

import numpy as np
import pytest

from hrmodel.workouts.cleaning.clean import clean
from hrmodel.workouts.cleaning.faults import FAULTS, take_out
from hrmodel.workouts.reasons import lasting
from hrmodel.workouts.sandbox.reading import read_workouts
from hrmodel.workouts.simulate import simulate_workouts
from hrmodel.workouts.workout import MARKS, Workout
from tests.shared_data import personal_parquet


def respond(demand, start):
    """A heart that follows what is asked of it in a minute or so."""
    heart_rate, out = start, []
    for wanted in demand.tolist():
        heart_rate += (wanted - heart_rate) / 40.0
        out.append(heart_rate)
    return np.array(out)


def run(seed=0, seconds=2400, **changes):
    """An even run, recorded each second: 2.8 m/s, about 146 bpm, 172 steps a minute."""
    rng = np.random.default_rng(seed)
    t = np.arange(float(seconds))
    wander = np.cumsum(rng.normal(0, 0.05, seconds)) - np.linspace(0, 1, seconds)
    speed = changes.pop("speed", 2.8 + 0.1 * np.sin(t / 40) + rng.normal(0, 0.03, seconds))
    content = {
        "t": t,
        "speed": speed,
        "altitude": 100.0 + 5 * np.sin(t / 300),
        "heart_rate": np.round(respond(140 + 20 * (speed - 2.5) + wander, 95.0) + rng.normal(0, 0.6, seconds)),
        "cadence": np.where(speed > 1.5, 172.0 + 2 * rng.integers(-1, 2, seconds), 0.0),
    }
    return Workout(**(content | changes))


def with_values(workout, channel, part, values):
    changed = getattr(workout, channel).copy()
    changed[part] = values
    return Workout(**{"t": workout.t, "speed": workout.speed, "cadence": workout.cadence} | {
        "altitude": workout.altitude, "heart_rate": workout.heart_rate, channel: changed
    })  # fmt: skip


def found(workout, code):
    """(N,): what this fault was found in."""
    repaired, _ = take_out(workout)
    return np.zeros(len(workout.t), bool) if repaired.marks is None else (repaired.marks & MARKS[code]) > 0


def heart_rate(part, values):
    return lambda workout: with_values(workout, "heart_rate", part, values)


def locked(part, ratio=1.0):
    def lock(workout):
        rng = np.random.default_rng(1)
        follows = ratio * workout.cadence[part] + rng.integers(-1, 2, part.stop - part.start)
        return with_values(workout, "heart_rate", part, follows)

    return lock


def locked_slowly(workout):
    """A lock that is come to and left within 15 s."""
    share = np.interp(workout.t, [985, 1000, 1300, 1315], [0, 1, 1, 0])
    mixed = np.round(workout.heart_rate * (1 - share) + workout.cadence * share)
    return with_values(workout, "heart_rate", slice(None), mixed)


def lost_contact(workout):
    """A fall over two seconds, zeros, and a way back."""
    values = [120.0, 90.0, *[0.0] * 20, *[72.0] * 14, 95.0, 120.0]
    return with_values(workout, "heart_rate", slice(1000, 1038), values)


def stood(workout):
    speed = with_values(workout, "speed", slice(1000, 1600), 0.0)
    steps = with_values(speed, "cadence", slice(1000, 1600), 0.0)
    resting = np.interp(np.arange(600), [0, 180, 600], [146, 115, 100])
    return with_values(steps, "heart_rate", slice(1000, 1600), np.round(resting))


@pytest.mark.parametrize(
    ("code", "spoil", "part", "least"),
    [
        ("heart_rate_spike", heart_rate(slice(900, 901), 190.0), slice(900, 901), 1.0),
        ("heart_rate_spike", heart_rate(slice(900, 912), 195.0), slice(900, 912), 1.0),
        ("heart_rate_dropout", heart_rate(slice(900, 901), 70.0), slice(900, 901), 1.0),
        ("heart_rate_dropout", heart_rate(slice(900, 990), 75.0), slice(900, 990), 1.0),
        ("heart_rate_dropout", lost_contact, slice(1000, 1038), 0.4),
        ("heart_rate_impossible", lost_contact, slice(1000, 1038), 0.5),
        ("heart_rate_held", heart_rate(slice(900, 1100), 147.0), slice(900, 1100), 0.9),
        ("heart_rate_held", heart_rate(slice(20, 75), 98.0), slice(20, 75), 0.75),
        ("heart_rate_start", heart_rate(slice(0, 100), 100.0 + np.arange(100) % 3), slice(0, 100), 1.0),
        ("cadence_lock", locked(slice(1000, 1300)), slice(1000, 1300), 0.95),
        ("cadence_lock", locked(slice(1000, 1300), ratio=0.5), slice(1000, 1300), 0.95),
        ("cadence_lock", locked_slowly, slice(985, 1315), 0.8),
        ("standing_pause", stood, slice(1181, 1600), 1.0),
        ("speed_jump", lambda w: with_values(w, "speed", slice(900, 902), 9.5), slice(900, 902), 1.0),
        ("speed_jump", lambda w: with_values(w, "speed", slice(900, 910), 6.5), slice(900, 910), 1.0),
        ("speed_impossible", lambda w: with_values(w, "speed", slice(900, 903), 40.0), slice(900, 903), 1.0),
        ("altitude_impossible", lambda w: with_values(w, "altitude", slice(900, 930), 500.0), slice(900, 930), 1.0),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_a_fault_is_found_where_it_is_and_hardly_anywhere_else(code, spoil, part, least, seed):
    spoiled = spoil(run(seed))
    marked = found(spoiled, code)
    assert marked[part].mean() >= least
    marked[part] = False
    assert marked.sum() <= 5
    assert code in {reason.code for reason in clean(spoiled).reasons}


def test_every_fault_has_a_mark_of_its_own():
    assert {fault.code for fault in FAULTS} == set(MARKS)
    bits = list(MARKS.values())
    assert sum(bits) == 2 ** len(bits) - 1 < 2**16


def test_marked_values_are_missing_and_no_others():
    spoiled = locked(slice(1000, 1300))(run())
    repaired, (reason,) = take_out(spoiled)
    np.testing.assert_array_equal(np.isnan(repaired.heart_rate), repaired.marks > 0)
    np.testing.assert_array_equal(repaired.speed, spoiled.speed)
    assert (reason.code, reason.samples) == ("cadence_lock", (repaired.marks > 0).sum())
    assert reason.message == "took 5 min of heart rate as missing: it followed your steps (cadence lock)"


def test_cleaning_what_is_clean_finds_nothing_more():
    spoiled = stood(locked(slice(700, 900))(heart_rate(slice(500, 510), 200.0)(run())))
    once, reasons = take_out(spoiled)
    assert {"cadence_lock", "standing_pause", "heart_rate_spike"} <= {reason.code for reason in reasons}
    assert take_out(once) == (once, ())


def intervals(seed=0):
    """Two minutes hard, two minutes at a walk."""
    t = np.arange(2400.0)
    speed = np.where((t % 240 < 120) & (t > 300), 4.5, np.where(t > 300, 1.2, 2.6))
    return run(seed, speed=speed + np.random.default_rng(seed).normal(0, 0.03, 2400))


def red_lights():
    t = np.arange(2400.0)
    return run(speed=np.where(t % 300 < 40, 0.0, 2.9) + 0.05 * np.sin(t / 7) * (t % 300 >= 40))


def by_chance_at_the_cadence():
    """A heart that beats as often as the feet step for a quarter of an hour, and drifts there and away slowly."""
    t = np.arange(2400.0)
    drift = np.interp(t, [0, 120, 600, 900, 1800, 2400], [95, 150, 168, 172, 172, 180])
    return run(heart_rate=np.round(drift + np.sin(t / 11)))


def up_a_hill():
    """At the same speed uphill the heart rate comes to the cadence for a good reason."""
    t = np.arange(2400.0)
    altitude = np.interp(t, [0, 1000, 1600, 2400], [100, 100, 220, 220])
    wanted = np.where((t > 1000) & (t < 1600), 172.0, 145.0)
    return run(altitude=altitude, heart_rate=np.round(respond(wanted, 95.0) + np.sin(t / 11)))


def strides():
    """Twenty seconds fast, again and again at the end."""
    t = np.arange(2400.0)
    begun = (t % 120) * (t > 1500)
    return run(speed=2.8 + np.interp(begun, [0, 1, 6, 20, 26], [0, 0, 3.7, 3.7, 0]) + 0.05 * np.sin(t / 9))


def on_a_treadmill():
    """A belt keeps its speed to the digit, and a heart on it may beat evenly."""
    return run(speed=np.full(2400, 2.8), heart_rate=np.full(2400, 140.0))


@pytest.mark.parametrize(
    "make", [run, intervals, red_lights, by_chance_at_the_cadence, up_a_hill, strides, on_a_treadmill]
)
def test_what_runners_really_do_is_no_fault(make):
    assert take_out(make())[1] == ()


def test_standing_short_of_three_minutes_is_recovery_and_stays():
    t = np.arange(2400.0)
    assert not found(run(speed=np.where((t > 1000) & (t < 1170), 0.0, 2.8)), "standing_pause").any()


def test_steps_without_a_speed_are_no_standing():
    t = np.arange(2400.0)
    indoors = run(speed=np.where(t > 1000, 0.0, 2.8), cadence=np.full(2400, 170.0))
    assert not found(indoors, "standing_pause").any()


def test_simulated_runs_have_no_faults():
    assert all(take_out(workout)[1] == () for workout in simulate_workouts(people=10, workouts=4, seed=5))


@pytest.fixture(scope="module")
def recorded():
    """The runs of p004, whose sensor is a good one, and of p003; none of the test split."""
    kept = [
        w for w in read_workouts(personal_parquet()) if w.person in ("p003", "p004") and w.split in ("train", "val")
    ]
    return {name: [workout for workout in kept if workout.person == name] for name in ("p003", "p004")}


@pytest.mark.parametrize("person", ["p003", "p004"])
def test_little_is_marked_in_runs_recorded_well(recorded, person):
    marked = [taken[0].marks for workout in recorded[person] if (taken := take_out(workout))[1]]
    samples = sum(len(workout.t) for workout in recorded[person])
    assert sum(np.count_nonzero(marks) for marks in marked) < 0.002 * samples
    assert len(marked) <= 0.05 * len(recorded[person])


def test_five_minutes_of_steps_in_recorded_runs_are_found(recorded):
    shares, outside = [], []
    for workout in [*recorded["p003"], *recorded["p004"]]:
        part = slice(*np.searchsorted(workout.t, [1000.0, 1300.0]))
        before = workout.heart_rate[part.start - 60 : part.start]
        if part.stop - part.start < 280 or np.median(workout.cadence[part]) - np.median(before) < 25:
            continue  # the lock would be where the heart rate is anyway
        marked = found(locked(part)(workout), "cadence_lock")
        shares.append(marked[part].mean())
        outside.append(marked.sum() - marked[part].sum())
    assert len(shares) >= 30
    assert np.mean(np.array(shares) >= 0.8) >= 0.9
    assert np.mean(outside) <= 3  # where the heart rate happens to be at the cadence beside the lock


def test_hostile_samples_take_bounded_time():
    rng = np.random.default_rng(0)
    samples = 150_000
    noise = Workout(
        t=np.cumsum(rng.choice([1e-6, 1.0, 1.0], samples)),
        speed=rng.uniform(0, 12, samples),
        altitude=rng.normal(0, 100, samples),
        heart_rate=rng.integers(30, 230, samples).astype(float),
        cadence=rng.integers(0, 240, samples).astype(float),
    )
    began = time.process_time()
    assert clean(noise).verdict == "dropped"
    assert time.process_time() - began < 15  # 1.5 s on an idle machine


@pytest.mark.parametrize("samples", [1, 2, 3])
@pytest.mark.parametrize("value", [None, float("nan"), 0.0, 150.0])
def test_tiny_recordings_do_no_harm(samples, value):
    channel = None if value is None else np.full(samples, value)
    tiny = Workout(
        t=np.arange(float(samples)), speed=np.full(samples, 3.0), altitude=channel, heart_rate=channel, cadence=channel
    )
    assert clean(tiny).verdict == "dropped"


def test_lengths_of_time_are_said_as_people_say_them():
    assert [lasting(seconds) for seconds in (0.2, 34, 119, 300, 8000)] == [
        "1 s",
        "34 s",
        "119 s",
        "5 min",
        "2 h 13 min",
    ]
