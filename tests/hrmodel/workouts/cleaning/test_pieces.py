"""Workouts that were recorded in pieces, and copies of one workout under another clock."""

import zipfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from hrmodel.workouts.cleaning.duplicates import duplicates, extent_of
from hrmodel.workouts.cleaning.pieces import join_pieces
from hrmodel.workouts.formats.upload import FileReport, FoundWorkout
from hrmodel.workouts.sandbox.reading import read_workouts
from hrmodel.workouts.workout import Workout
from tests import gpx_writer, tcx_writer

START = datetime(2024, 5, 4, 6, 30, tzinfo=UTC)


def piece(begin, end, *, format_="gpx", name="a.gpx", **changed):
    """A workout of so many seconds after START with a sample each 2 s, whose heart rate tells its time."""
    t = np.arange(0.0, end - begin + 1, 2.0)
    values = {
        "t": t,
        "speed": np.full(len(t), 3.0),
        "heart_rate": 120 + 30 * np.sin((begin + t) / 200),
        "started_at": START + timedelta(seconds=begin),
        "source": name,
    }
    return FoundWorkout(format_, Workout(**(values | changed)))


def joined(*found):
    return [one.workout for one in join_pieces(found)]


def spans(workouts):
    return [(round((one.started_at - START).total_seconds()), float(one.t[-1])) for one in workouts]


def test_pieces_that_follow_each_other_within_two_minutes_are_one_workout():
    (whole,) = joined(piece(0, 600), piece(602, 1200), piece(1318, 1500))
    assert spans([whole]) == [(0, 1500.0)]
    assert len(whole.t) == 301 + 300 + 92
    assert np.allclose(whole.heart_rate, 120 + 30 * np.sin(whole.t / 200))
    assert "3 pieces" in whole.source


@pytest.mark.parametrize(("begin", "workouts"), [(600, 1), (601, 1), (720, 1), (721, 2), (900, 2), (500, 2), (599, 1)])
def test_the_gap_decides(begin, workouts):
    assert len(joined(piece(0, 600), piece(begin, begin + 600))) == workouts


def test_the_order_in_the_upload_does_not_matter_and_reports_come_through():
    report = FileReport("a", "gpx", 1, None)
    found = list(join_pieces([piece(602, 1200), report, piece(0, 600), piece(90_000, 91_000)]))
    assert found[0] is report
    assert sorted(spans([one.workout for one in found[1:]])) == [(0, 1200.0), (90_000, 1000.0)]


@pytest.mark.parametrize(
    "other",
    [
        piece(602, 1200, sport="cycling"),
        piece(602, 1200, format_="fit"),
        piece(602, 1200, person="somebody"),
        piece(602, 1200, started_at=None),
        piece(602, 1200, format_="parquet"),
        piece(602, 90_000),
    ],
    ids=["sport", "format", "person", "clock", "table", "more than a day"],
)
def test_what_is_not_the_same_kind_is_no_piece(other):
    assert len(joined(piece(0, 600), other)) == 2


def test_the_legs_of_a_swimrun_stay_apart():
    legs = [piece(60 * i, 60 * i + 58, sport=("running", "swimming")[i % 2], format_="fit") for i in range(47)]
    assert len(joined(*legs)) == 47


def test_a_whole_recording_beside_its_laps_does_not_keep_them_apart():
    laps = [piece(300 * i, 300 * i + 298) for i in range(5)]
    workouts = joined(piece(1, 1499, name="whole.gpx"), *laps)
    assert sorted(spans(workouts)) == [(0, 1498.0), (1, 1498.0)]


def test_a_copy_of_one_piece_is_a_workout_of_its_own():
    workouts = joined(piece(0, 600), piece(0, 600, name="copy"), piece(602, 1200))
    assert sorted(spans(workouts)) in ([(0, 600.0), (0, 1200.0)],)


def test_channels_that_only_some_pieces_have_are_missing_in_the_others():
    (whole,) = joined(piece(0, 600, heart_rate=None), piece(602, 1200))
    assert np.isnan(whole.heart_rate[:301]).all()
    assert np.isfinite(whole.heart_rate[301:]).all()
    assert whole.altitude is None


def test_what_a_workout_is_told_apart_from_its_numbers_stays():
    one = piece(0, 600, person="p", split="val", removed_samples=3, source="x")
    (back,) = joined(one)
    assert back.digest == one.workout.digest
    assert (back.person, back.split, back.removed_samples, back.source) == ("p", "val", 3, "x")


def test_laps_as_tracks_of_a_gpx_and_one_run_in_two_files_are_one_workout(tmp_path):
    points = [gpx_writer.point("garmin", second) for second in range(0, 900, 2)]
    head, tail = gpx_writer.write(points=2).decode().split("<trk>", 1)[0], "</gpx>"
    laps = [f"<trk><name>Lap {i}</name>{''.join(points[150 * i : 150 * i + 150])}</trk>" for i in range(3)]
    (tmp_path / "laps.gpx").write_text(head + "".join(laps) + tail)
    (run,) = read_workouts(tmp_path / "laps.gpx")
    assert (len(run.t), run.t[-1]) == (450, 898.0)
    with zipfile.ZipFile(tmp_path / "halves.zip", "w") as made:
        for name, half in (("b.gpx", points[200:]), ("a.gpx", points[:190])):
            made.writestr(name, f"{head}<trk>{''.join(half)}</trk>{tail}")
    (run,) = read_workouts(tmp_path / "halves.zip")
    assert (len(run.t), run.t[-1]) == (440, 898.0)


def test_laps_as_activities_of_a_tcx_are_one_workout(tmp_path):
    document = tcx_writer.write(laps=1, points=2).decode()
    before, rest = document.split("<Trackpoint>", 1)
    after = rest.rsplit("</Trackpoint>", 1)[1]
    begin, end = before.index("<Activity Sport"), after.index("</Activity>") + len("</Activity>")
    laps = [
        before[begin:] + "".join(map(tcx_writer.point, range(first, first + 300, 3))) + after[:end]
        for first in (0, 300, 600)
    ]
    (tmp_path / "laps.tcx").write_text(before[:begin] + "".join(laps) + after[end:])
    (run,) = read_workouts(tmp_path / "laps.tcx")
    assert (len(run.t), run.t[-1]) == (300, 897.0)


@pytest.mark.parametrize(
    ("hours", "same"), [(2, True), (-5, True), (5.75, True), (13, True), (0.25, True), (2.1, False), (24, False)]
)
def test_the_same_course_some_quarters_of_an_hour_apart_is_a_copy_under_another_clock(hours, same):
    run = piece(0, 1500).workout
    copy = replace(run, started_at=START + timedelta(hours=hours), altitude=None, source="copy.gpx")
    assert bool(duplicates([extent_of(run), extent_of(copy)])) == same


def test_another_course_of_the_same_length_is_another_workout():
    run = piece(0, 1500).workout
    faster = replace(run, started_at=START + timedelta(hours=2), heart_rate=run.heart_rate + 5)
    slower = replace(run, started_at=START + timedelta(hours=3), speed=run.speed - 0.5)
    longer = piece(0, 1510, started_at=START + timedelta(hours=4)).workout
    steady = [
        replace(run, started_at=START + timedelta(hours=hours), heart_rate=np.full(len(run.t), 150.0))
        for hours in (6, 8)
    ]
    files = [replace(one, source=f"{i}.gpx") for i, one in enumerate((run, faster, slower, longer, *steady))]
    assert duplicates([extent_of(one) for one in files]) == {}
