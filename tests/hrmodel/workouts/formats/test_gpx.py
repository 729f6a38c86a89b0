import re
import resource
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hrmodel.workouts.cleaning.clean import clean
from hrmodel.workouts.errors import InvalidFile
from hrmodel.workouts.formats import gpx, tracks
from hrmodel.workouts.formats.heads import is_gpx
from hrmodel.workouts.formats.source import Source
from tests import gpx_writer

FILES = Path(__file__).resolve().parents[4].parent / "shared" / "data" / "formats"
needs_files = pytest.mark.skipif(not FILES.exists(), reason="the shared sample files are not beside the project")


def shared(name):
    return Source(path=FILES / name, name=name)


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
        return list(gpx.read(Source(path=path, name=path.name)))

    return read_text


@needs_files
@pytest.mark.parametrize(
    ("name", "samples", "seconds", "heart_rate", "speed", "cadence"),
    [
        ("garmin_connect_1hz.gpx", 706, 705, 142.4, 3.14, 184),
        ("garmin_connect_smart_recording.gpx", 142, 608, 158.1, 3.31, 166),
        ("gpxpy_no_type_sparse.gpx", 126, 626, 142.4, 1.88, None),
    ],
)
def test_real_runs_are_read(name, samples, seconds, heart_rate, speed, cadence):
    (workout,) = gpx.read(shared(name))
    assert (len(workout.t), workout.t[-1], workout.sport) == (samples, seconds, "running")
    assert np.nanmean(workout.heart_rate) == pytest.approx(heart_rate, abs=0.1)
    assert np.nanmedian(workout.speed) == pytest.approx(speed, abs=0.01)
    assert (workout.cadence is None) if cadence is None else np.nanmedian(workout.cadence) == cadence
    assert clean(workout).verdict != "dropped"


@needs_files
def test_a_health_route_has_the_devices_speed_and_no_heart_rate():
    (route,) = (FILES / "apple_health_constructed" / "workout-routes").glob("*.gpx")
    (workout,) = gpx.read(Source(path=route, name=route.name))
    assert workout.heart_rate is None
    assert workout.started_at == datetime(2024, 11, 9, 16, 19, 31, tzinfo=UTC)
    assert workout.speed[:2].tolist() == [3.701232, 4.472430]
    assert clean(workout).reasons[0].code == "no_heart_rate"


@needs_files
def test_the_distance_from_positions_is_the_one_that_the_device_stored():
    (workout,) = gpx.read(shared("garmin_connect_smart_recording.gpx"))
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


def test_points_without_a_time_are_removed_and_those_that_go_back_in_it_are_sorted(read):
    times = ("2024-05-01T08:00:00Z", "", "2024-05-01T08:00:05Z", "2024-05-01T08:00:03Z", "2024-05-01T08:00:05Z")
    (workout,) = read(document(track(*map(point, times))))
    assert (workout.t.tolist(), workout.removed_samples) == ([0, 3, 5], 1)


def test_values_are_found_by_local_name_and_garbage_is_missing(read):
    points = (
        point("2024-05-01T08:00:00Z", "<ele>100.5</ele>" + extension("hr", 120)),
        point("2024-05-01T08:00:01Z", "<ele>high</ele>" + extension("hr", 121, prefix="ns3")),
        point("2024-05-01T08:00:02Z", "<ele>1e400</ele>" + extension("hr", "nan")),
    )
    (workout,) = read(document(track(*points)))
    np.testing.assert_array_equal(workout.heart_rate, [120, 121, np.nan])
    np.testing.assert_array_equal(workout.altitude, [100.5, np.nan, np.nan])


@pytest.mark.parametrize("dialect", sorted(gpx_writer.DIALECTS))
def test_every_exporters_words_are_understood(read, dialect):
    (workout,) = read(gpx_writer.write(dialect))
    words = gpx_writer.DIALECTS[dialect]
    assert (workout.heart_rate is None) == ("{hr}" not in words)
    assert (workout.cadence is None) == ("{cad}" not in words)
    if workout.heart_rate is not None:
        assert workout.heart_rate[:3].tolist() == [120, 121, 122]
    if workout.cadence is not None:
        assert set(workout.cadence) == {170}
    np.testing.assert_allclose(workout.speed, 3.1 if "{speed}" in words else 3.0, rtol=1e-3)
    assert workout.altitude[0] == 100


def test_segments_of_a_track_are_one_workout_with_a_gap_and_tracks_are_several(read):
    workouts = read(gpx_writer.write(tracks=2, points=20))
    for workout in workouts:
        assert np.flatnonzero(np.diff(workout.t) > 1).tolist() == [9]
        assert workout.t[-1] == 119
        np.testing.assert_allclose(workout.speed, 3.0, rtol=1e-3)  # the pause is in no window
    assert (workouts[1].started_at - workouts[0].started_at).days == 1


@pytest.mark.parametrize("prefix", ["", "g"])
def test_elements_are_known_without_their_prefix(read, prefix):
    text = gpx_writer.write("garmin").decode()
    if prefix:
        text = re.sub(r"<(/?)(gpx|metadata|trk|name|type|trkseg|trkpt|ele|time|extensions)\b", rf"<\1{prefix}:\2", text)
        text = text.replace("xmlns=", f"xmlns:{prefix}=")
    assert is_gpx(text.encode()[:4096])
    assert read(text)[0].digest == read(gpx_writer.write("garmin"))[0].digest


@pytest.mark.parametrize(
    ("written", "sport"), [("9", "running"), ("1", "cycling"), ("Trail Run", "running"), ("", "running")]
)
def test_the_type_is_the_sport_in_words_or_stravas_numbers(read, written, sport):
    assert read(gpx_writer.write(sport=written))[0].sport == sport


def test_the_type_of_a_link_is_no_sport(read):
    link = '<link href="https://example.org"><type>text/html</type></link>'
    assert (
        read(document(f"<trk>{link}<trkseg>{point('2024-05-01T08:00:00Z', link)}</trkseg></trk>"))[0].sport == "running"
    )


def test_elapsed_seconds_survive_the_end_of_summer_time_and_a_change_of_zone(read):
    times = (
        "2024-10-27T02:59:59+02:00",
        "2024-10-27T02:00:00+01:00",
        "2024-10-26T21:00:01-04:00",
        "2024-10-27T01:00:02Z",
    )
    (workout,) = read(document(track(*map(point, times))))
    assert (workout.t.tolist(), workout.removed_samples) == ([0, 1, 2, 3], 0)
    assert workout.started_at == datetime(2024, 10, 27, 0, 59, 59, tzinfo=UTC)


def test_a_speed_in_another_unit_stays_as_written(read):
    points = (point(f"2024-05-01T08:00:{s:02d}Z", extension("speed", 11.2)) for s in range(5))
    assert read(document(track(*points)))[0].speed.tolist() == [11.2] * 5


def handed_over(path, data):
    path.write_bytes(data)
    places, code = [], None
    try:
        for workout in gpx.read(Source(path=path, name=path.name)):
            places.append(workout.source)
    except InvalidFile as error:
        code = error.code
    return places, code


def test_tracks_before_the_damage_are_handed_over(tmp_path):
    data = gpx_writer.write(tracks=3, points=20)
    assert handed_over(tmp_path / "some.gpx", data[:-300]) == (["", "track 2", "track 3"], "broken_xml")


def test_a_planned_track_among_recorded_ones_costs_only_itself(tmp_path):
    planned = track(point(), point())
    recorded = track(point("2024-05-01T08:00:00Z"))
    assert handed_over(tmp_path / "some.gpx", document(planned, recorded).encode()) == (["track 2"], "no_time")


def test_a_million_points_are_refused_soon(tmp_path):
    times = [f"2024-05-01T{s // 3600:02d}:{s // 60 % 60:02d}:{s % 60:02d}Z" for s in range(10_000)]
    points = "".join(f'<trkpt lat="45" lon="7"><ele>9</ele><time>{when}</time><hr>150</hr></trkpt>' for when in times)
    data = document(track(points * 100)).encode()
    began, used = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert handed_over(tmp_path / "some.gpx", data) == ([], "too_large")
    assert time.process_time() - began < 15  # 5 s is what is wanted; busy machines take longer
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used < 200_000  # kB


def test_many_points_in_several_tracks_are_refused_and_the_tracks_before_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(tracks, "MAX_FILE_POINTS", 100)
    data = gpx_writer.write(tracks=5, points=60)
    assert handed_over(tmp_path / "some.gpx", data) == (["", "track 2"], "too_large")


def test_too_many_tiny_tracks_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tracks, "MAX_TRACKS", 100)
    data = document(*[track(point("2024-05-01T08:00:00Z"))] * 120).encode()
    places, code = handed_over(tmp_path / "some.gpx", data)
    assert (len(places), code) == (100, "too_large")


@pytest.mark.parametrize(("counted", "expected"), [(85, 170), (172, 172)])
def test_cadence_of_one_foot_is_doubled(read, counted, expected):
    points = [point(f"2024-05-01T08:00:{s:02d}Z", extension("cad", counted)) for s in range(5)]
    (workout,) = read(document(track(*points)))
    assert workout.cadence.tolist() == [expected] * 5


def test_other_encodings_are_read(read):
    text = document(track(point("2024-05-01T08:00:00Z")), head='<?xml version="1.0" encoding="UTF-16"?>')
    assert is_gpx(text.encode("utf-16")[:4096])
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
        (document(track(point("&undeclared;"))), "bad_time"),
        (b"<gpx>\xff\xfe\x00</gpx>", "broken_xml"),
    ],
)
def test_damaged_and_hostile_files_are_refused(read, text, code):
    with pytest.raises(InvalidFile) as caught:
        read(text)
    assert caught.value.code == code


VALID = [gpx_writer.write(dialect, tracks=2, points=4) for dialect in sorted(gpx_writer.DIALECTS)]
PIECES = (b"<", b">", b"&", b"\0", b"]]>", b"<!--", b"<![CDATA[", b"<!DOCTYPE a [", b"&#0;", b"\xff", b"1e999", b"-", b"<trk>", b"</trkpt>", b"<time>", b"<trkpt>", b"xmlns:a=''", b"UTF-16", b"idna")  # fmt: skip
mutation = st.tuples(
    st.integers(0, 1500), st.integers(0, 40), st.one_of(st.sampled_from(PIECES), st.binary(max_size=8))
)


ODD = ("", "nan", "-inf", "1e308", "1_0", "-0", "9" * 2000, " 5 ", "<![CDATA[7]]>", "<!-- -->8", "&#49;", "<x/>", "2024-05-01", "2024-05-01T08:00:60Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00")  # fmt: skip


def replaced(data, number, odd):
    """The document with another text in one of its elements."""
    texts = [found.span(1) for found in re.finditer(rb">([^<>]+)<", data)]
    start, end = texts[number % len(texts)]
    return data[:start] + odd.encode() + data[end:]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(VALID), st.lists(st.tuples(st.integers(0, 500), st.sampled_from(ODD)), min_size=1, max_size=5))
def test_odd_values_are_read_or_refused(read, data, changes):
    for number, odd in changes:
        data = replaced(data, number, odd)
    with suppress(InvalidFile):
        for workout in read(data):
            assert workout.speed.shape == workout.t.shape


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(VALID), st.lists(mutation, max_size=4), st.integers(0, 4000))
def test_a_mutated_file_is_read_or_refused(read, data, mutations, end):
    for start, length, piece in mutations:
        data = data[:start] + piece + data[start + length :]
    try:
        workouts = read(data[: len(data) - end] if end < 200 else data)
    except InvalidFile:
        return
    assert all(workout.speed.shape == workout.t.shape for workout in workouts)
