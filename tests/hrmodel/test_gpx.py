from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from hrmodel.workouts.cleaning import clean
from hrmodel.workouts.errors import InvalidFile
from hrmodel.workouts.formats import gpx
from hrmodel.workouts.formats.positions import speed_from_positions

FILES = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "formats"
needs_files = pytest.mark.skipif(not FILES.exists(), reason="the shared sample files are not beside the project")
METRES_PER_DEGREE = np.pi * 6_371_008.8 / 180


def document(*tracks, head='<?xml version="1.0" encoding="UTF-8"?>'):
    return f'{head}<gpx xmlns="http://www.topografix.com/GPX/1/1" version="1.1">{"".join(tracks)}</gpx>'


def point(time="", inner="", latitude=45.0):
    time = f"<time>{time}</time>" if time else ""
    return f'<trkpt lat="{latitude:.9f}" lon="7.0">{time}{inner}</trkpt>'


def extension(name, value, prefix="gpxtpx"):
    namespace = "http://www.garmin.com/xmlschemas/TrackPointExtension/v2"
    inner = f"<{prefix}:{name}>{value}</{prefix}:{name}>"
    return f'<extensions><{prefix}:TrackPointExtension xmlns:{prefix}="{namespace}">{inner}</{prefix}:TrackPointExtension></extensions>'


def track(*points, sport=""):
    return f"<trk>{f'<type>{sport}</type>' if sport else ''}<trkseg>{''.join(points)}</trkseg></trk>"


@pytest.fixture
def read(tmp_path):
    def read_text(text):
        path = tmp_path / "some.gpx"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return list(gpx.read(path))

    return read_text


@needs_files
@pytest.mark.parametrize(
    ("name", "samples", "seconds", "heart_rate", "speed", "cadence"),
    [
        ("garmin_connect_1hz.gpx", 706, 705, 142.4, 3.17, 184),
        ("garmin_connect_smart_recording.gpx", 142, 608, 158.1, 3.31, 166),
        ("gpxpy_no_type_sparse.gpx", 126, 626, 142.4, 1.88, None),
    ],
)
def test_real_runs_are_read(name, samples, seconds, heart_rate, speed, cadence):
    (workout,) = gpx.read(FILES / name)
    assert (len(workout.t), workout.t[-1], workout.sport) == (samples, seconds, "running")
    assert np.nanmean(workout.heart_rate) == pytest.approx(heart_rate, abs=0.1)
    assert np.nanmedian(workout.speed) == pytest.approx(speed, abs=0.01)
    assert (workout.cadence is None) if cadence is None else np.nanmedian(workout.cadence) == cadence
    assert clean(workout).verdict == "kept"


@needs_files
def test_a_health_route_has_the_devices_speed_and_no_heart_rate():
    (route,) = (FILES / "apple_health_constructed" / "workout-routes").glob("*.gpx")
    (workout,) = gpx.read(route)
    assert workout.heart_rate is None
    assert workout.started_at == datetime(2024, 11, 9, 16, 19, 31, tzinfo=UTC)
    assert workout.speed[:2].tolist() == [3.701232, 4.472430]
    assert clean(workout).reasons[0].code == "no_heart_rate"


@needs_files
def test_the_distance_from_positions_is_the_one_that_the_device_stored():
    (workout,) = gpx.read(FILES / "garmin_connect_smart_recording.gpx")
    # the shared files' positions are shifted: up to 3 % off
    assert np.nansum(workout.speed[1:] * np.diff(workout.t)) == pytest.approx(2036, rel=0.05)


def test_each_track_is_a_workout_and_keeps_its_sport(read):
    first = track(point("2024-05-01T08:00:00Z"), point("2024-05-01T08:00:01Z"), sport="Running")
    second = track(point("2024-05-02T08:00:00Z"), sport="cycling")
    workouts = read(document(first, second, track(point("2024-05-03T08:00:00Z"), sport="9")))
    assert [(w.sport, w.source) for w in workouts] == [("running", ""), ("cycling", "track 2"), ("running", "track 3")]


def test_times_may_have_offsets_fractions_or_no_zone_at_all(read):
    times = ("2024-05-01T10:00:00.25+02:00", "2024-05-01T08:00:01Z", "2024-05-01T08:00:02.5")
    (workout,) = read(document(track(*map(point, times))))
    assert workout.t.tolist() == [0, 0.75, 2.25]
    assert workout.started_at == datetime(2024, 5, 1, 8, 0, 0, 250000, tzinfo=UTC)


def test_points_without_a_time_or_that_go_back_in_it_are_removed_and_counted(read):
    times = ("2024-05-01T08:00:00Z", "", "2024-05-01T08:00:05Z", "2024-05-01T08:00:03Z", "2024-05-01T08:00:05Z")
    (workout,) = read(document(track(*map(point, times))))
    assert (workout.t.tolist(), workout.removed_samples) == ([0, 5], 3)


def test_values_are_found_by_local_name_and_garbage_is_missing(read):
    points = (
        point("2024-05-01T08:00:00Z", "<ele>100.5</ele>" + extension("hr", 120)),
        point("2024-05-01T08:00:01Z", "<ele>high</ele>" + extension("hr", 121, prefix="ns3")),
        point("2024-05-01T08:00:02Z", "<ele>1e400</ele>" + extension("hr", "nan")),
    )
    (workout,) = read(document(track(*points)))
    np.testing.assert_array_equal(workout.heart_rate, [120, 121, np.nan])
    np.testing.assert_array_equal(workout.altitude, [100.5, np.nan, np.nan])


@pytest.mark.parametrize(("counted", "expected"), [(85, 170), (172, 172)])
def test_cadence_of_one_foot_is_doubled(read, counted, expected):
    points = [point(f"2024-05-01T08:00:{s:02d}Z", extension("cad", counted)) for s in range(5)]
    (workout,) = read(document(track(*points)))
    assert workout.cadence.tolist() == [expected] * 5


def test_other_encodings_are_read(read):
    text = document(track(point("2024-05-01T08:00:00Z")), head='<?xml version="1.0" encoding="UTF-16"?>')
    assert gpx.matches(text.encode("utf-16")[:4096])
    assert len(read(text.encode("utf-16"))) == 1


LAUGHS = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 10))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (document(track(point("2024-05-01T08:00:00Z")))[:-20], "broken_xml"),
        (document(), "no_track"),
        (document("<rte><rtept lat='1' lon='1'/></rte>"), "no_track"),
        (document(track(point())), "no_time"),
        (document(track(point("yesterday"))), "bad_time"),
        (document(track(point("2024-05-01T08:00:00." + "0" * 9000))), "bad_time"),
        (document(track(point("0001-01-01T00:00:00+14:00"))), "invalid_workout"),
        (document(track(point("2024-01-01T00:00:00Z"), point("9999-01-01T00:00:00Z"))), "invalid_workout"),
        ("<html><gpx /></html>", "not_gpx"),
        ("<gpx>" + "<a>" * 100_000, "not_gpx"),
        (f'<!DOCTYPE gpx [<!ENTITY l0 "ha">{LAUGHS}]>' + document(track(point("&l9;")), head=""), "dtd_refused"),
        ('<!DOCTYPE gpx SYSTEM "http://127.0.0.1:9/x.dtd">' + document(head=""), "dtd_refused"),
        (
            '<!DOCTYPE gpx [<!ENTITY f SYSTEM "file:///etc/hosts">]>' + document(track(point("&f;")), head=""),
            "dtd_refused",
        ),
        (document(track(point("&undeclared;"))), "broken_xml"),
        (b"<gpx>\xff\xfe\x00</gpx>", "broken_xml"),
    ],
)
def test_damaged_and_hostile_files_are_refused(read, text, code):
    with pytest.raises(InvalidFile) as caught:
        read(text)
    assert caught.value.code == code


def test_an_even_run_north_has_its_speed_from_positions():
    t = np.arange(0, 100.0)
    speed = speed_from_positions(t, 45 + 3.0 * t / METRES_PER_DEGREE, np.full(100, 7.0))
    np.testing.assert_allclose(speed, 3.0, rtol=1e-6)


def test_position_jumps_gaps_and_missing_positions_give_no_speed():
    t = np.concatenate([np.arange(0, 60.0), np.arange(200, 260.0)])
    latitude = 45 + 3.0 * t / METRES_PER_DEGREE
    latitude[30:] += 500 / METRES_PER_DEGREE
    latitude[90] = np.nan
    speed = speed_from_positions(t, latitude, np.full(120, 7.0))
    missing = np.flatnonzero(np.isnan(speed))
    assert set(missing) == {*range(25, 35), 90}
    np.testing.assert_allclose(speed[np.isfinite(speed)], 3.0, rtol=1e-6)


def test_a_lonely_position_has_no_speed():
    assert np.isnan(speed_from_positions(np.array([0.0, 100.0]), np.array([45.0, 45.1]), np.zeros(2))).all()
    assert np.isnan(speed_from_positions(np.array([0.0]), np.array([45.0]), np.zeros(1))).all()
