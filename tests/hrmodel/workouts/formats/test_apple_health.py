import re
import time
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hrmodel.workouts.cleaning.clean import clean
from hrmodel.workouts.errors import InvalidFile
from hrmodel.workouts.formats import apple_health, apple_join, apple_records, apple_route, apple_xml, gpx
from hrmodel.workouts.formats.heads import is_apple_health
from hrmodel.workouts.formats.source import Source
from tests.apple_writer import (
    PHONE,
    START,
    a_run,
    event,
    heart_rates,
    point,
    record,
    reference,
    route,
    tag,
    workout,
    write,
    write_folder,
)
from tests.apple_writer import time as at

FILES = Path(__file__).resolve().parents[4].parent / "shared" / "data" / "formats"
needs_files = pytest.mark.skipif(not FILES.exists(), reason="the shared sample files are not beside the project")
ROUTE = "/workout-routes/route_1.gpx"


def source_of(path, asked=None):
    def beside(name):
        if asked is not None:
            asked.append(name)
        other = path.parent / name
        return nullcontext(Source(path=other, name=other.name) if other.is_file() else None)

    return Source(path=path, name=path.name, beside=beside)


def read_path(path):
    return list(apple_health.read(source_of(path)))


@pytest.fixture
def read(tmp_path):
    def read_export(*elements, **routes):
        content = elements[0] if elements and isinstance(elements[0], bytes) else write(*elements)
        return read_path(write_folder(tmp_path, content, **routes))

    return read_export


@pytest.fixture
def problem(read):
    def code_of(content, within=1.0):
        began = time.perf_counter()
        with pytest.raises(InvalidFile) as caught:
            read(content)
        assert time.perf_counter() - began < within
        return caught.value

    return code_of


def values(channel):
    return channel[np.isfinite(channel)].tolist()


# --- the shared samples


@needs_files
def test_a_run_with_a_route_gets_the_heart_rates_of_its_time():
    (run,) = read_path(FILES / "apple_health_constructed" / "export.xml")
    assert (run.started_at, run.sport, run.source) == (datetime(2024, 11, 9, 16, 19, 31, tzinfo=UTC), "running", "")
    assert (len(run.t), run.t[-1]) == (901, 900.0)
    assert np.nanmean(run.heart_rate) == pytest.approx(162.591, abs=0.001)  # its WorkoutStatistics
    assert np.diff(run.t[np.isfinite(run.heart_rate)]).min() >= 4
    assert np.isfinite(run.heart_rate).sum() == 171
    assert np.nansum(run.speed[1:] * np.diff(run.t)) == pytest.approx(2761.84, rel=0.005)
    assert clean(run).verdict == "kept"


@needs_files
def test_the_routes_samples_are_those_of_its_gpx_file():
    folder = FILES / "apple_health_constructed"
    (run,) = read_path(folder / "export.xml")
    (lone,) = gpx.read(source_of(next((folder / "workout-routes").glob("*.gpx"))))
    assert np.array_equal(run.t, lone.t)
    assert np.array_equal(run.speed, lone.speed)
    assert np.array_equal(run.altitude, lone.altitude)


@needs_files
def test_all_sports_are_read_and_only_runs_with_their_routes():
    workouts = read_path(FILES / "apple_health_minimal" / "export.xml")
    assert [found.sport for found in workouts] == ["running", "walking", "cycling", "running"]
    assert [found.source for found in workouts] == [f"workout {number}" for number in (1, 2, 3, 4)]
    first, *others = workouts
    assert first.speed[:3].tolist() == [0.0, 3.2, 3.8]
    assert (first.t[-1], first.heart_rate[-1]) == (900.0, 165.0)  # its only single reading
    assert all(found.heart_rate is None and np.isnan(found.speed).all() for found in others)
    assert [found.t.tolist() for found in others] == [[0.0, 2700.0], [0.0, 4092.0], [0.0, 1500.0]]


@needs_files
def test_an_export_without_workouts_says_what_to_do():
    with pytest.raises(InvalidFile, match="start a workout") as caught:
        read_path(FILES / "apple_health_records_only.xml")
    assert caught.value.code == "no_workout"


# --- the document


def test_an_export_is_known_by_its_root_or_its_document_type():
    assert write().index(b"<HealthData ") > 4096
    assert is_apple_health(write()[:4096])
    assert is_apple_health(write(doctype="")[:4096])
    cda = b'<?xml version="1.0"?>\n<ClinicalDocument xmlns="urn:hl7-org:v3"><title>HealthData</title>'
    others = (cda, route(), b"", b"<!DOCTYPE Health [", b"\x00" * 99)
    assert not any(is_apple_health(head) for head in others)


def test_a_malformed_document_type_does_no_harm(read):
    (run,) = read(write(), route_1=route(*(point(i, 3.0) for i in range(1200))))
    (same,) = read(write(doctype=""), route_1=route(*(point(i, 3.0) for i in range(1200))))
    assert run.digest == same.digest


def test_control_characters_in_a_name_are_passed_over(read):
    (run,) = read(write().replace(b"Apple Watch", b"Apple\x0b Watch\x1f"))
    (same,) = read(write())
    assert np.array_equal(run.heart_rate, same.heart_rate, equal_nan=True)


def test_records_are_the_same_however_their_attributes_are_written(read):
    swapped = a_run().replace(' sourceVersion="10.2"', "").replace(" type=", " sourceVersion='10.2' type=")
    assert b"<Record type" not in write(swapped)
    (run,), (same,) = read(swapped), read(a_run())
    assert run.heart_rate is not None
    assert run.cadence is not None
    assert run.digest == same.digest


def test_workouts_may_come_before_the_records(read):
    (run,) = read(workout(60), heart_rates({30: 140}))
    assert values(run.heart_rate) == [140.0]


def test_records_inside_a_correlation_count_once(read):
    beat = heart_rates({10: 140})
    inside = tag("Correlation", beat, type="HKCorrelationTypeIdentifierBloodPressure")
    (run,) = read(beat, inside, workout(60))
    assert (run.t.tolist(), run.heart_rate.tolist()) == ([10.0], [140.0])


def test_beats_listed_inside_another_record_are_no_readings(read):
    beats = tag("HeartRateVariabilityMetadataList", tag("InstantaneousBeatsPerMinute", bpm="61", time="7:25:47,36 AM"))
    other = record("HeartRateVariabilitySDNN", "ms", 40, 10).replace("/>\n", f">{beats}</Record>\n")
    (run,) = read(other, heart_rates({20: 140}), workout(60))
    assert values(run.heart_rate) == [140.0]


def test_a_record_that_makes_no_sense_is_passed_over(read):
    bad = [
        record("HeartRate", "count/min", value, 10) for value in ("", "nan", "inf", "-3", "0", "99999", "140 bpm")
    ] + [
        record("HeartRate", "furlong", 140, 11),
        record("HeartRate", "count/min", 140, 0, 12 * 3600),
        record("HeartRate", "count/min", 140, 12, startDate="yesterday", endDate="yesterday"),
        record("HeartRate", "count/min", 140, 13, startDate=at(13)[:-6], endDate=at(13)[:-6]),
        record("DistanceWalkingRunning", "km", 0.03, 20, 10),
        record("DistanceWalkingRunning", "km", "nan", 20, 30),
        record("DistanceWalkingRunning", "km", 99, 20, 30),
        "<Record/>",
    ]
    (run,) = read(*bad, heart_rates({30: 140}), workout(60))
    assert (run.t.tolist(), run.heart_rate.tolist()) == ([30.0], [140.0])
    assert np.isnan(run.speed).all()


def test_progress_moves_while_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(apple_xml, "CHUNK_BYTES", 10_000)
    path = write_folder(tmp_path, write())
    heard = []
    list(apple_health.read(Source(path=path, advanced=heard.append)))
    assert len(heard) > 10
    assert sum(heard) == path.stat().st_size


def test_pieces_of_any_size_give_the_same(read, monkeypatch):
    (run,) = read(a_run())
    for size in (1, 7, 1000):
        monkeypatch.setattr(apple_xml, "CHUNK_BYTES", size)
        elements = heart_rates({5: 140, 6: 141}), workout(60)
        (small,) = read(write(*elements, doctype="<!DOCTYPE HealthData [<!-- ] --> ]>"))
        assert values(small.heart_rate) == [140.0, 141.0]
    monkeypatch.setattr(apple_xml, "CHUNK_BYTES", 5000)
    assert read(a_run())[0].digest == run.digest


# --- time


def test_elapsed_seconds_survive_the_change_of_clocks(read):
    # Central Europe, 27 October 2024: 03:00 +0200 becomes 02:00 +0100
    begin = (datetime(2024, 10, 27, 0, 50, tzinfo=UTC) - START).total_seconds()
    change = 10 * 60
    beats = {begin + i: 140 + i / 60 for i in range(0, 1200, 5)}
    before = heart_rates({t: bpm for t, bpm in beats.items() if t < begin + change}, zone="2")
    after = heart_rates({t: bpm for t, bpm in beats.items() if t >= begin + change}, zone="1")
    zones = {"startDate": at(begin, 2), "endDate": at(begin + 1200, 1)}
    (run,) = read(before, after, workout(1200, start=begin, **zones))
    assert b"02:59:55 +0200" in before.encode()
    assert b"02:00:00 +0100" in after.encode()
    assert run.started_at == datetime(2024, 10, 27, 0, 50, tzinfo=UTC)
    assert run.t.tolist() == list(range(0, 1200, 5))
    assert np.allclose(run.heart_rate, 140 + run.t / 60, atol=0.005)


def test_elapsed_seconds_survive_a_change_of_time_zone(read):
    # records are told in the zone where the export is made, others in that where they were recorded
    zone = tag("MetadataEntry", key="HKTimeZone", value="America/New_York")
    beats = heart_rates({0: 130, 10: 131}, zone="-4") + heart_rates({20: 132, 30: 133}, zone="5.5")
    (run,) = read(beats, workout(60, zone, startDate=at(0, 2), endDate=at(60, -4)))
    assert run.started_at == START
    assert (run.t.tolist(), run.heart_rate.tolist()) == ([0.0, 10.0, 20.0, 30.0], [130.0, 131.0, 132.0, 133.0])


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Pacific/Apia", "nowhere", ""])
def test_a_named_time_zone_changes_nothing(read, zone):
    (run,) = read(heart_rates({5: 140}), workout(60, tag("MetadataEntry", key="HKTimeZone", value=zone)))
    assert (run.started_at, run.t.tolist()) == (START, [5.0])


def test_a_workout_without_a_readable_time_is_a_problem_and_the_others_are_read(tmp_path):
    path = write_folder(tmp_path, write(workout(60, startDate="soon"), workout(60), workout(60, endDate=at(-5))))
    workouts = apple_health.read(source_of(path))
    assert next(workouts).source == "workout 2"
    with pytest.raises(InvalidFile, match="workout 1: from soon to 2024-05-31 08:31:00") as caught:
        next(workouts)
    assert caught.value.code == "bad_time"


# --- heart rate


@pytest.mark.parametrize(("unit", "value"), [("count/min", 141), ("count/s", 2.35)])
def test_the_unit_of_a_heart_rate_is_honoured(read, unit, value):
    (run,) = read(record("HeartRate", unit, value, 5), workout(60))
    assert values(run.heart_rate) == [141.0]


def test_in_a_minute_only_the_best_source_counts(read):
    watch = heart_rates({10: 140, 70: 141})
    phone = heart_rates(dict.fromkeys(range(5, 175, 10), 99), sourceName="Phone", device=PHONE)
    (run,) = read(phone, watch, workout(180))
    assert values(run.heart_rate)[:2] == [140.0, 141.0]
    assert set(values(run.heart_rate)[2:]) == {99.0}  # the watch was off
    assert run.t[np.isfinite(run.heart_rate)][2] == 125.0


def test_without_a_watch_the_workouts_own_source_counts_then_the_one_with_most_readings(read):
    own = heart_rates({10: 140}, sourceName='Strap & "Co" &amp;', device="")
    many = heart_rates({15: 120, 16: 120, 70: 120, 72: 120}, sourceName="Many", device="")
    few = heart_rates({20: 110, 75: 110}, sourceName="Few", device="")
    (run,) = read(few, many, own, workout(120, sourceName='Strap & "Co" &amp;', device=""))
    assert values(run.heart_rate) == [140.0, 120.0, 120.0]


def test_a_heart_rate_told_only_as_a_statistic_is_no_reading(read):
    average = tag("WorkoutStatistics", type="HKQuantityTypeIdentifierHeartRate", average="150", unit="count/min")
    (run,) = read(record("DistanceWalkingRunning", "m", 2700, 0, 900), workout(900, average))
    assert run.heart_rate is None
    assert clean(run).reasons[0].code == "no_heart_rate"


def test_readings_before_and_after_a_workout_are_not_its_own(read):
    first, second = read(heart_rates({-1: 60, 0: 100, 60: 101, 61: 61, 120: 102}), workout(60), workout(60, start=120))
    assert values(first.heart_rate) == [100.0, 101.0]
    assert values(second.heart_rate) == [102.0]


# --- speed


def test_a_route_and_heart_rates_between_its_points_lose_nothing(read):
    points = route(point(0, 2.5, 200), point(3, 2.6, 201), point(6, -1, 202))
    (run,) = read(heart_rates({3: 140, 4: 141}), workout(10, reference(ROUTE)), route_1=points)
    assert run.t.tolist() == [0.0, 3.0, 4.0, 6.0]
    assert run.speed.tolist()[:2] == [2.5, 2.6]
    assert np.isnan(run.speed[2:]).all()
    assert values(run.altitude) == [200.0, 201.0, 202.0]
    assert run.heart_rate.tolist()[1:3] == [140.0, 141.0]
    assert np.isnan(run.heart_rate[[0, 3]]).all()


def test_several_routes_of_one_run_are_joined_and_what_lies_outside_it_is_not_its_own(read):
    first, second = route(point(-5, 9), point(0, 2)), route(point(50, 3), point(61, 9))
    (run,) = read(
        workout(60, reference(ROUTE) + reference("/workout-routes/route_2.gpx")), route_1=first, route_2=second
    )
    assert (run.t.tolist(), run.speed.tolist()) == ([0.0, 50.0], [2.0, 3.0])


@pytest.mark.parametrize(
    ("unit", "value"), [("km", 0.03), ("m", 30), ("mi", 0.03 / 1.609344), ("ft", 30 / 0.3048), ("yd", 30 / 0.9144)]
)
def test_without_a_route_speed_is_distance_by_time(read, unit, value):
    (run,) = read(record("DistanceWalkingRunning", unit, value, 10, 20), workout(60))
    assert run.t.tolist() == list(range(10, 20))
    assert np.allclose(run.speed, 3.0, atol=0.001)
    assert run.altitude is None


@pytest.mark.parametrize(("unit", "value"), [("m/s", 2.5), ("km/hr", 9.0), ("mi/hr", 2.5 / 0.44704)])
def test_a_measured_running_speed_is_preferred_to_distance(read, unit, value):
    moved = record("DistanceWalkingRunning", "m", 60, 0, 20)
    (run,) = read(moved, record("RunningSpeed", unit, value, 5, 8), workout(60))
    assert np.allclose(run.speed[5:8], 2.5, atol=0.001)
    assert np.allclose(np.delete(run.speed, [5, 6, 7]), 3.0, atol=0.001)


def test_distance_of_phone_and_watch_is_not_added_up(read):
    watch = record("DistanceWalkingRunning", "m", 90, 0, 30) + record("DistanceWalkingRunning", "m", 90, 60, 90)
    phone = record("DistanceWalkingRunning", "m", 240, 0, 120, sourceName="Phone", device=PHONE)
    (run,) = read(watch, phone, workout(180))
    assert run.t.tolist() == [*range(0, 30), *range(60, 90)]  # the other seconds of these minutes are the watch's
    assert np.allclose(run.speed, 3.0)
    (run,) = read(phone, workout(180))
    assert run.t.tolist() == list(range(120))
    assert np.allclose(run.speed, 2.0)


def test_an_interval_that_began_before_the_workout_tells_its_speed(read):
    (run,) = read(record("DistanceWalkingRunning", "m", 300, -50, 50), workout(60))
    assert run.t.tolist() == list(range(50))


def test_where_the_route_has_no_speed_for_long_the_distance_tells_it(read):
    points = route(*(point(i, 2.5) for i in range(100)))
    moved = "".join(record("DistanceWalkingRunning", "m", 30, i, i + 10) for i in range(0, 600, 10))
    (run,) = read(moved, workout(600, reference(ROUTE)), route_1=points)
    assert run.t.tolist() == [*range(100), *range(130, 600)]
    assert np.allclose(run.speed, np.where(run.t < 100, 2.5, 3.0))


def test_without_the_routes_in_the_upload_speed_is_that_of_the_records(read):
    (run,) = read(write())
    assert run.altitude is None
    assert np.nanmedian(run.speed) == pytest.approx(3.0)


def test_steps_give_the_cadence_of_both_feet(read):
    steps = record("StepCount", "count", 28, 0, 10) + record("StepCount", "count", 900, 10, 600)
    (run,) = read(steps, heart_rates({5: 140, 50: 141}), workout(60))
    assert run.cadence[0] == pytest.approx(168.0, abs=0.1)
    assert np.isnan(run.cadence[1])  # counted over minutes


# --- workouts


@pytest.mark.parametrize(
    ("activity", "sport"),
    [
        ("Running", "running"),
        ("Walking", "walking"),
        ("FunctionalStrengthTraining", "functional_strength_training"),
        ("HighIntensityIntervalTraining", "high_intensity_interval_training"),
        ("", "unknown"),
    ],
)
def test_a_sport_is_named_in_small_letters(read, activity, sport):
    assert read(workout(60, activity=activity))[0].sport == sport


def test_an_indoor_run_is_a_run(read):
    (run,) = read(workout(60).replace('"HKIndoorWorkout" value="0"', '"HKIndoorWorkout" value="1"'))
    assert run.sport == "running"


def test_a_triathlon_is_no_run_and_its_parts_are_not_guessed(read):
    parts = tag("WorkoutActivity", uuid="1", startDate=at(0), endDate=at(30), duration="0.5")
    (whole,) = read(heart_rates({5: 140}), workout(60, parts + parts, activity="SwimBikeRun"))
    assert whole.sport == "swim_bike_run"
    assert read(workout(60, activity="WheelchairRunPace"))[0].sport == "wheelchair_run_pace"


def test_the_intervals_of_a_run_do_not_split_it(read):
    laps = "".join(
        tag("WorkoutActivity", event("Pause", 40) + event("Resume", 45), startDate=at(i), endDate=at(i + 30))
        for i in (0, 30)
    )
    (run,) = read(heart_rates(dict.fromkeys(range(0, 60, 2), 140)), workout(60, laps))
    assert run.t.tolist() == [*range(0, 41, 2), *range(46, 60, 2)]


def test_what_was_recorded_in_a_pause_is_left_out(read):
    pauses = event("Pause", 20) + event("Segment", 22) + event("Resume", 40) + event("MotionPaused", 50)
    points = route(*(point(i, 3.0) for i in range(61)))
    (run,) = read(heart_rates(dict.fromkeys(range(60), 140)), workout(60, pauses + reference(ROUTE)), route_1=points)
    assert run.t.tolist() == [*range(21), *range(40, 51)]  # the last pause never ended
    assert np.isfinite(run.heart_rate).all()


def test_a_workout_in_which_nothing_was_recorded_is_still_named(read):
    (run,) = read(workout(600))
    assert (run.t.tolist(), run.heart_rate) == ([0.0, 600.0], None)
    assert clean(run).reasons[0].code == "no_speed"
    assert read(workout(0))[0].t.tolist() == [0.0]


# --- routes


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../secret.gpx",
        "/workout-routes/../secret.gpx",
        "/workout-routes/..",
        "/workout-routes/deeper/route.gpx",
        "/workout-routes/..\\secret.gpx",
        "/workout-routes/.hidden.gpx",
        "//host/workout-routes/route.gpx",
        "file:///workout-routes/route.gpx",
        "/workout-routes/" + "a" * 300,
        "",
    ],
)
def test_a_path_that_leads_elsewhere_is_never_opened(tmp_path, path):
    (tmp_path / "secret.gpx").write_bytes(route(point(0, 1)))
    asked = []
    file = write_folder(tmp_path / "export", write(workout(60, reference(path))))
    (run,) = apple_health.read(source_of(file, asked))
    assert asked == []
    assert np.isnan(run.speed).all()


def test_a_damaged_route_is_told_and_its_run_has_what_comes_before(tmp_path):
    content = write(workout(60, reference(ROUTE)), workout(60, start=100))
    path = write_folder(tmp_path, content, route_1=route(*(point(second, 3) for second in range(60)))[:-3000])
    workouts = apple_health.read(source_of(path))
    run = next(workouts)
    assert np.allclose(run.speed, 3.0)
    assert 30 < len(run.t) < 60
    next(workouts)
    with pytest.raises(InvalidFile, match=r"workout-routes/route_1.gpx, "):
        next(workouts)


@pytest.mark.parametrize("path", ["./workout-routes/route_1.gpx", "/private/var/tmp/workout-routes/route_1.gpx"])
def test_a_route_is_found_whatever_folder_is_named_before_its_own(read, path):
    assert np.allclose(read(workout(60, reference(path)), route_1=route(point(0, 3), point(1, 3)))[0].speed, 3.0)


def test_a_route_that_knows_no_speed_has_that_of_its_positions(read):
    run = read(workout(60, reference(ROUTE)), route_1=route(*(point(second, -1) for second in range(60))))[0]
    assert np.nanmean(run.speed) == pytest.approx(2.78, abs=0.05)


@pytest.mark.parametrize(
    "in_its_own_way",
    [
        lambda text: re.sub(r"(2024-\d\d-\d\d) 0(8:\d\d:\d\d) ", "\\1 \\2\u202fAM ", text),
        lambda text: re.sub(r"(2024-\d\d-\d\d) (08:\d\d:\d\d) \+0200", "\\1T\\2+02:00", text),
        lambda text: re.sub(r'value="(\d+)\.(\d+)"', r'value="\1,\2"', text),
    ],
    ids=["am", "iso", "comma"],
)
def test_times_and_values_in_a_phones_own_way_are_read(read, in_its_own_way):
    usual = write(heart_rates({at: 120 + at / 8 for at in range(0, 900, 5)}) + workout(900))
    (run,) = read(in_its_own_way(usual.decode()).encode())
    (same,) = read(usual)
    assert np.array_equal(run.heart_rate, same.heart_rate)
    assert run.started_at == same.started_at


def test_a_route_without_points_is_no_problem(read):
    assert len(read(workout(60, reference(ROUTE)), route_1=route())) == 1


def test_a_route_is_opened_once_however_often_it_is_named(tmp_path):
    asked = []
    path = write_folder(tmp_path, write(*[workout(60, reference(ROUTE) * 3)] * 50), route_1=route(point(0, 1)))
    assert len(list(apple_health.read(source_of(path, asked)))) == 50
    assert asked == [ROUTE[1:]]


def test_the_phones_own_layout_reads_like_any_gpx(tmp_path):
    rng = np.random.default_rng(0)
    points = [point(i, float(speed), float(speed) * 100) for i, speed in enumerate(rng.normal(3, 1, 500))]
    path = tmp_path / "route.gpx"
    path.write_bytes(route(*points, points[3]))
    quick = apple_route.read(Source(path=path))
    (slow,) = gpx.read(Source(path=path))
    known = slow.speed >= 0
    assert np.array_equal(quick.t, slow.t + START.timestamp())
    assert np.array_equal(quick.speed[known], slow.speed[known])
    assert np.isnan(quick.speed[~known]).all()
    assert np.array_equal(quick.altitude, slow.altitude)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"<trkpt lon", b'<trkpt id="1" lon'),
        (b"<trkseg>", b"<trkseg><!-- -->"),
        (b"</trkseg>", b"</trkseg><trkseg></trkseg>"),
        (b"<speed>", b"<speed><![CDATA[]]>"),
        (b"<course>0.000000</course>", b"<other/>"),
    ],
)
def test_a_route_in_another_layout_is_read_as_any_gpx(tmp_path, old, new):
    path = tmp_path / "route.gpx"
    path.write_bytes(route(point(0, 2.5), point(1, 2.6)).replace(old, new))
    assert apple_route.read(Source(path=path)).speed.tolist() == [2.5, 2.6]


def test_a_route_with_an_impossible_date_is_refused(tmp_path):
    path = tmp_path / "route.gpx"
    path.write_bytes(route(point(0, 2.5)).replace(b"2024-05-31T06", b"2024-02-31T06"))
    with pytest.raises(InvalidFile):
        apple_route.read(Source(path=path))


# --- hostile files


def bomb(declared, reference="", root="HealthData"):
    return f"<!DOCTYPE {root} [{declared}]><HealthData>{reference}{workout(60)}</HealthData>".encode()


LAUGHS = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10 if i else "lol"}">' for i in range(12))
BOMBS = {
    "laughs": (LAUGHS, "&l11;"),
    "quadratic": (f'<!ENTITY a "{"x" * 500_000}">', "&a;" * 10_000),
    "defaults": (f'<!ATTLIST Record v CDATA "{"x" * 500_000}">', "<Record/>" * 10_000),
    "external": ('<!ENTITY x SYSTEM "file:///etc/passwd">', "&x;"),
    "parameter": ('<!ENTITY % x SYSTEM "http://localhost/x"> %x;', ""),
    "in an attribute": (LAUGHS, '<Record type="&l11;"/>'),
    "in a record": (LAUGHS, heart_rates({5: 140}).replace("Ann", "&l11;")),
}


@pytest.mark.parametrize("name", BOMBS)
def test_nothing_that_a_document_type_declares_is_obeyed(read, name):
    (run,) = read(bomb(*BOMBS[name]))
    assert run.sport == "running"


@pytest.mark.parametrize("declared", ["<!-- ", '"', "'", "<?x ", "[[[[", "<!ENTITY " * 200_000, "'\"" * 100_000])
def test_a_document_type_without_an_end_is_refused(problem, declared):
    assert problem(b"<!DOCTYPE HealthData [" + declared.encode() + b"x" * (1 << 20), within=5.0).code == "broken_xml"
    assert problem(b"<!DOCTYPE HealthData [" + declared.encode(), within=5.0).code == "broken_xml"


def test_more_document_types_are_passed_over_too(read):
    assert len(read(b"<!DOCTYPE HealthData><!DOCTYPE x []>" + write(workout(60), doctype="", declaration=""))) == 1
    assert len(read(write("<!DOCTYPE HealthData []>", workout(60)))) == 1


@pytest.mark.parametrize("encoding", ["UTF-16", "ISO-8859-1", "utf-7", "x" * 500])
def test_an_encoding_that_is_declared_wrongly_costs_nothing(read, encoding):
    (run,) = read(write(declaration=f'<?xml version="1.0" encoding="{encoding}"?>'))
    assert run.digest == read(write())[0].digest


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "gb18030", "shift_jis"])
def test_other_encodings_are_read(read, encoding):
    export = write(doctype="").decode().replace("’", "'").replace("UTF-8", encoding)
    (run,) = read(export.encode(encoding))
    assert run.digest == read(write())[0].digest


def test_damage_costs_what_it_is_in_and_no_other_workout(read):
    beats = heart_rates(dict.fromkeys(range(0, 300, 5), 140))
    parts = [beats, workout(60), "<Me name='a & b' <x>", workout(60, start=100), "\xff & <3", workout(60, start=200)]
    assert [run.t[-1] for run in read(write(*parts))] == [60.0, 60.0, 60.0]


def test_a_route_inside_the_workout_as_ios_10_to_12_wrote_it_tells_speed_and_altitude(read):
    beats = heart_rates(dict.fromkeys(range(0, 600, 5), 140))
    inside = "".join(
        tag("Location", date=at(second), latitude="47", longitude="8", altitude=f"{100 + second}", speed=speed)
        for second, speed in ((0, "-1"), (10, "2.5"), (20, "3.5"))
    )
    export = write(beats, workout(600, tag("WorkoutRoute", inside, sourceName="Watch")))
    (run,) = read(export)
    told = {float(t): (speed, altitude) for t, speed, altitude in zip(run.t, run.speed, run.altitude, strict=True)}
    assert (told[10.0], told[20.0]) == ((2.5, 110.0), (3.5, 120.0))
    assert np.isnan(told[0.0][0])
    assert told[0.0][1] == 100.0


def test_a_route_inside_the_workout_without_speeds_tells_them_by_its_positions(read):
    beats = heart_rates(dict.fromkeys(range(0, 600, 5), 140))
    places = [(second, 47 + 3.0 * second / 111_195) for second in range(0, 600, 2)]
    inside = "".join(tag("Location", date=at(s), latitude=f"{phi:.7f}", longitude="8", speed="-1") for s, phi in places)
    (run,) = read(write(beats, workout(600, tag("WorkoutRoute", inside, sourceName="Watch"))))
    assert np.nanmean(run.speed) == pytest.approx(3.0, abs=0.02)


def test_a_byte_order_mark_and_blanks_before_the_declaration_are_passed_over(read):
    assert len(read(b"\xef\xbb\xbf" + write(workout(60)))) == 1
    assert len(read(b"\n \n" + write(workout(60)))) == 1


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"<HealthData>" + b"<a>" * 200_000, "not_apple_health"),
        (b"<HealthData>" + b"".join(b"<a%d/>" % i for i in range(200_000)), "not_apple_health"),
        (b"<HealthData " + b"".join(b'a%d="" ' % i for i in range(200_000)), "too_large"),
        (b"<HealthData>" + b'<a b="' + b"x" * 3_000_000, "too_large"),
        (b"<HealthData>" + b'<a b="' + b">" * 3_000_000, "too_large"),
        (b"<HealthData>" + b"<!-- " + b"<" * 3_000_000, "too_large"),
        (b"<HealthData>" + b"x" * 3_000_000, "too_large"),
        (b"<HealthData/><HealthData/>", "no_workout"),
        (b"<HealthData>\xff</HealthData>", "no_workout"),
        (b"<x><HealthData/></x>", "not_apple_health"),
        (b"<HealthData/>", "no_workout"),
        (b"", "broken_xml"),
    ],
)
def test_a_document_out_of_bounds_is_refused(problem, content, code):
    assert problem(content, within=2.0).code == code


def test_more_than_we_would_keep_is_refused(problem, monkeypatch):
    monkeypatch.setattr(apple_health, "MAX_WORKOUTS", 3)
    assert problem(write(workout(60) * 4)).code == "too_large"
    monkeypatch.setattr(apple_health, "MAX_PARTS", 3)
    assert problem(write(workout(60, event("Pause", 1) * 4))).code == "too_large"
    monkeypatch.setattr(apple_join, "MAX_TOTAL", 100)
    assert problem(write(workout(60) * 2)).code == "bad_time"
    assert problem(write(workout(10 * 86_400))).code == "bad_time"
    monkeypatch.setattr(apple_records, "MAX_READINGS", 65_000)
    beat = "<Record" + record("HeartRate", "count/min", 140, 0).partition("<Record")[2]
    assert problem(write(beat * 66_000), within=5.0).code == "too_large"


def test_records_that_cover_the_same_second_too_often_are_refused(problem):
    assert problem(write(record("StepCount", "count", 9, 0, 60) * 120, workout(60))).code == "too_large"


def test_more_sources_than_anyone_has_share_a_number(read):
    beats = "".join(heart_rates({i / 4: 140}, sourceName=f"app {i}", device="") for i in range(400))
    (run,) = read(beats, workout(120))
    assert run.heart_rate is not None


def test_what_comes_before_the_damage_is_read(tmp_path):
    content = write(heart_rates({5: 140}), workout(60), workout(60, start=100))
    path = write_folder(tmp_path, content[:-200])
    workouts = apple_health.read(source_of(path))
    assert values(next(workouts).heart_rate) == [140.0]
    with pytest.raises(InvalidFile) as caught:
        next(workouts)
    assert caught.value.code == "cut_xml"
    last = content[:-200].count(b"\n") + 1
    assert abs(int(caught.value.where.removeprefix("near line ")) - last) <= 1


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_gives_anything_but_an_invalid_file(tmp_path, data):
    moved = record("DistanceWalkingRunning", "km", 0.03, 0, 10) + record("StepCount", "count", 28, 0, 10)
    parts = event("Pause", 30) + event("Resume", 40) + reference(ROUTE)
    export = write(heart_rates({5: 140, 8: 141}), moved, workout(60, parts), doctype="<!DOCTYPE HealthData [<!-- -->]>")
    files = [export, route(*(point(i, 3.0) for i in range(3)))]
    for number, content in enumerate(files):
        damaged = bytearray(content[: data.draw(st.integers(len(content) // 2, len(content)))])
        places = st.lists(st.tuples(st.integers(0, len(damaged) - 1), st.integers(1, 255)), max_size=4)
        for place, flip in data.draw(places):
            damaged[place] ^= flip
        files[number] = bytes(damaged)
    try:
        for found in apple_health.read(source_of(write_folder(tmp_path, files[0], route_1=files[1]))):
            assert found.started_at > START - timedelta(days=20_000)
    except InvalidFile:
        pass
