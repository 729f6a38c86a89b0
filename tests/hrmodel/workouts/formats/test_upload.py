import gzip
import io
import os
import re
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hrmodel.workouts.errors import InvalidFile
from hrmodel.workouts.formats import archive, zips
from hrmodel.workouts.formats.original import SCALER_FILE
from hrmodel.workouts.formats.upload import FileReport, read_upload
from hrmodel.workouts.sandbox.reading import read_with_format, read_workouts
from hrmodel.workouts.simulate import simulate_runner
from hrmodel.workouts.units import Units
from tests import apple_writer
from tests.original_writer import write_original_dataset

GPX = '<gpx><trk><trkpt lat="1" lon="1"><time>2024-05-01T08:00:00Z</time></trkpt></trk></gpx>'


def zipped(members, path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive_file:
        for name, content in members.items():
            archive_file.writestr(name, content)
    return path


def packed(content, times):
    for _ in range(times):
        content = gzip.compress(content)
    return content


def reports(path):
    found = [one for one in read_upload(path, name="my.zip") if isinstance(one, FileReport)]
    return {report.file: (report.format, report.workouts, report.problem) for report in found}


def uploaded(path, **options):
    """The workouts of an upload."""
    return [one.workout for one in read_upload(path, name="x", **options) if not isinstance(one, FileReport)]


@pytest.fixture
def original_folder(tmp_path):
    runs = simulate_runner(workouts=5)
    write_original_dataset({"train": runs[:3], "val": [runs[3]], "test": [runs[4]]}, tmp_path / "original")
    return tmp_path / "original"


def test_a_single_file_is_found_by_its_content_and_not_by_its_name(tmp_path):
    path = tmp_path / "upload.bin"
    path.write_text(GPX)
    found, report = read_upload(path, name="morning.fit")
    assert (report.file, report.format, report.workouts, report.problem) == ("morning.fit", "gpx", 1, None)
    assert (found.format, found.workout.source) == ("gpx", "morning.fit")


def test_a_bad_member_is_reported_and_the_rest_go_on(tmp_path):
    members = {
        "a/good.gpx": GPX,
        "cut.gpx": GPX[:-9],
        "notes.txt": "hello",
        "zeros.gpx": GPX + " " * 10_000_000,
        "../../escape.gpx": GPX,
        "__MACOSX/a/._good.gpx": "x",
        ".DS_Store": "x",
        "empty.gpx": "",
        "inner.zip": zipped({"x.gpx": GPX}, tmp_path / "inner.zip").read_bytes(),
    }
    found = reports(zipped(members, tmp_path / "upload"))
    assert found["a/good.gpx"] == ("gpx", 1, None)
    assert found["../../escape.gpx"] == ("gpx", 1, None)
    assert found["cut.gpx"][0] == "gpx"
    assert found["cut.gpx"][1] == 1
    assert "ends too early" in found["cut.gpx"][2]
    assert found["no workouts in 1 other file: 1 .txt"] == (None, 0, None)
    assert "200 times" in found["zeros.gpx"][2]
    assert found["inner.zip/x.gpx"] == ("gpx", 1, None)
    assert len(found) == 6
    assert not (tmp_path.parent.parent / "escape.gpx").exists()


def test_a_zip_of_the_originals_files_brings_its_scaler(tmp_path, original_folder):
    members = {f"export/{path.name}": path.read_bytes() for path in original_folder.iterdir()}
    path = zipped(members, tmp_path / "upload")
    assert reports(path) == {
        f"export/{s}.pt": ("original", n, None) for s, n in (("train", 3), ("val", 1), ("test", 1))
    }
    service = {w.digest: (w.split, w.source) for w in uploaded(path)}
    offline = {w.digest: w.split for w in read_workouts(original_folder)}
    assert {digest: split for digest, (split, _) in service.items()} == offline
    assert ("val", "export/val.pt: workout 0") in service.values()


def test_an_export_of_apple_health_without_its_routes_says_what_is_missing_and_how_to_have_it(tmp_path):
    export, route = apple_writer.write(), apple_writer.route(*(apple_writer.point(i, 3.0) for i in range(1200)))
    (tmp_path / "alone").write_bytes(export)
    ((_, workouts, problem),) = reports(tmp_path / "alone").values()
    assert workouts == 1
    assert problem.startswith("routes of runs that are not in this upload: 1;")
    assert problem.endswith("upload the whole export.zip to have both")
    whole = zipped({"a/export.xml": export, "a/workout-routes/route_1.gpx": route}, tmp_path / "whole")
    assert reports(whole) == {"a/export.xml": ("apple_health", 1, None)}
    (tmp_path / "cut").write_bytes(export[:-10])
    (found,) = reports(tmp_path / "cut").values()
    assert re.search("cut off.*; routes of runs that are not in this upload: 1;", found[2])


def test_declared_units_reach_every_member_of_an_upload(tmp_path, original_folder):
    members = {path.name: path.read_bytes() for path in original_folder.iterdir()}
    path = zipped(members, tmp_path / "upload")

    def fastest(units):
        return max(workout.speed.max() for workout in uploaded(path, units=units))

    assert fastest(Units(speed="m/s")) == pytest.approx(3.6 * fastest(None))
    assert fastest(Units(speed="km/h")) == fastest(None)


def test_declared_units_reach_the_files_of_a_folder(original_folder):
    declared = list(read_workouts(original_folder, units=Units(altitude="ft")))
    for changed, usual in zip(declared, read_workouts(original_folder), strict=True):
        assert changed.altitude == pytest.approx(0.3048 * usual.altitude)


def test_each_workout_of_a_folder_comes_with_its_format(original_folder):
    (original_folder / "b.gpx").write_text(GPX)
    names = [found.format for found in read_with_format(original_folder)]
    assert sorted(names) == ["gpx"] + ["original"] * 5


def test_the_originals_files_without_their_scaler_are_refused(tmp_path, original_folder):
    members = {path.name: path.read_bytes() for path in original_folder.iterdir() if path.name != SCALER_FILE}
    found = reports(zipped(members, tmp_path / "upload"))
    assert all("standardised" in problem for _, _, problem in found.values())


def test_a_folder_is_read_whole_and_strange_files_are_passed_over(tmp_path, original_folder):
    (original_folder / "more").mkdir()
    (original_folder / "more" / "b.gpx").write_text(GPX)
    (original_folder / "README.md").write_text("hello")
    zipped({"c.gpx": GPX, "d.txt": "x"}, original_folder / "old.zip")
    sources = [workout.source for workout in read_workouts(original_folder)]
    assert len(sources) == 7
    assert {"more/b.gpx", "old.zip/c.gpx"} < set(sources)


def test_an_error_in_a_folder_names_the_file(tmp_path):
    (tmp_path / "bad.gpx").write_text("<gpx><trk>")
    with pytest.raises(InvalidFile, match=r"^bad\.gpx: line 1: "):
        list(read_workouts(tmp_path))


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "unknown_format"),
        (b"hello", "unknown_format"),
        (b"<gpx><trk>", "broken_xml"),
        (b"PK\x03\x04" + bytes(50), "broken_zip"),
        (b"PK\x05\x06" + bytes(18), "empty_zip"),
    ],
)
def test_an_upload_that_is_nothing_as_a_whole_is_refused(tmp_path, content, code):
    (tmp_path / "upload").write_bytes(content)
    with pytest.raises(InvalidFile) as caught:
        list(read_upload(tmp_path / "upload", name="mine"))
    assert caught.value.code == code
    assert str(caught.value).startswith("mine")


@pytest.mark.parametrize(
    ("place", "name", "limit"),
    [(archive, "MAX_ENTRIES", 2), (archive, "MAX_TOTAL_BYTES", 100), (zips, "MAX_TABLE_BYTES", 0)],
)
def test_an_archive_over_a_bound_is_refused_before_anything_is_unpacked(tmp_path, monkeypatch, place, name, limit):
    monkeypatch.setattr(place, name, limit)
    path = zipped({f"{i}.gpx": GPX for i in range(3)}, tmp_path / "upload")
    with pytest.raises(InvalidFile) as caught:
        list(read_upload(path, name="mine"))
    assert caught.value.code == "too_large"


def test_an_encrypted_member_is_reported(tmp_path):
    content = bytearray(zipped({"a.gpx": GPX}, tmp_path / "upload").read_bytes())
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "upload").write_bytes(content)
    assert "encrypted" in reports(tmp_path / "upload")["a.gpx"][2]


def test_a_member_without_a_name_is_passed_over(tmp_path):
    content = zipped({"a.gpx": GPX, "b.gpx": GPX}, tmp_path / "upload").read_bytes()
    (tmp_path / "upload").write_bytes(content.replace(b"b.gpx", b"\0.gpx"))
    assert list(reports(tmp_path / "upload")) == ["a.gpx"]


def test_what_strava_and_garmin_nest_is_found(tmp_path):
    inner = zipped({"part/2.gpx": GPX}, tmp_path / "inner").read_bytes()
    members = {"activities/1.gpx.gz": gzip.compress(GPX.encode()), "UploadedFiles_0.zip": inner}
    assert reports(zipped(members, tmp_path / "upload")) == {
        "activities/1.gpx.gz": ("gpx", 1, None),
        "UploadedFiles_0.zip/part/2.gpx": ("gpx", 1, None),
    }


def test_a_single_gzip_file_is_an_upload_too(tmp_path):
    (tmp_path / "upload").write_bytes(gzip.compress(GPX.encode()))
    assert reports(tmp_path / "upload") == {"my.zip": ("gpx", 1, None)}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (gzip.compress(GPX.encode())[:-9], "too early"),
        (b"\x1f\x8b" + bytes(40), "cannot be unpacked"),
        (gzip.compress(bytes(50_000_000)), "200 times"),
        (packed(GPX.encode(), 6), "packed more than 5 times"),
    ],
    ids=["cut", "zeros", "bomb", "six deep"],
)
def test_a_damaged_or_hostile_gzip_file_is_its_own_problem(tmp_path, content, problem):
    found = reports(zipped({"a.gpx.gz": content, "b.gpx": GPX}, tmp_path / "upload"))
    assert problem in found["a.gpx.gz"][2]
    assert found["b.gpx"] == ("gpx", 1, None)


def test_members_that_share_bytes_are_refused(tmp_path):
    content = bytearray(zipped({"a.gpx": GPX, "b.gpx": GPX}, tmp_path / "upload").read_bytes())
    second = content.rindex(b"PK\x01\x02")
    content[second + 42 : second + 46] = bytes(4)  # where its data lies: where the first one's does
    (tmp_path / "upload").write_bytes(content)
    with pytest.raises(InvalidFile) as caught:
        list(read_upload(tmp_path / "upload", name="mine"))
    assert caught.value.code in ("overlapping", "broken_zip")  # newer zipfile modules see it first


def test_a_symbolic_link_is_passed_over(tmp_path):
    link = zipfile.ZipInfo("link.gpx")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "upload", "w") as made:
        made.writestr(link, "/etc/passwd")
        made.writestr("a.gpx", GPX)
    assert list(reports(tmp_path / "upload")) == ["a.gpx"]


def test_many_strange_files_are_one_line_of_the_report(tmp_path):
    members = {f"media/{i}.jpg": "x" for i in range(300)} | {"a.gpx": GPX}
    found = reports(zipped(members, tmp_path / "upload"))
    assert found == {
        "a.gpx": ("gpx", 1, None),
        "no workouts in 300 other files: 300 .jpg": (None, 0, None),
    }


def test_the_progress_rises_to_one_over_the_bytes_of_the_upload(tmp_path):
    told = []
    members = {f"{i}.gpx": GPX + " " * 200_000 for i in range(5)}
    path = zipped(members, tmp_path / "upload")
    list(read_upload(path, name="x", on_progress=told.append))
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert sum(0.1 < share < 0.9 for share in told) >= 3


def test_files_to_skip_are_not_read_again(tmp_path):
    path = zipped({"a.gpx": GPX, "b.gpx": GPX}, tmp_path / "upload")
    begun = []
    found = list(read_upload(path, name="x", skip=frozenset({"a.gpx"}), on_file=begun.append))
    assert begun == ["b.gpx"]
    assert len(found) == 2


WHOLE = io.BytesIO()
with zipfile.ZipFile(WHOLE, "w", zipfile.ZIP_DEFLATED) as made:
    made.writestr("a.gpx", GPX)
    made.writestr("b.gpx", os.fsencode(GPX))


@given(st.data())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_flipped_byte_in_a_zip_never_raises_anything_but_an_invalid_file(tmp_path, data):
    content = bytearray(WHOLE.getvalue())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "flipped").write_bytes(content)
    try:
        found = list(read_upload(tmp_path / "flipped", name="mine"))
        reported = [one.workouts for one in found if isinstance(one, FileReport)]
        assert sum(reported) == len(found) - len(reported)
    except InvalidFile:
        pass
