"""Archives as people pack them, as programs write them, and as downloads break them."""

import gzip
import io
import lzma
import tarfile
import time
import unicodedata
import zipfile

import pytest

from hrmodel.workouts.errors import InvalidFile
from hrmodel.workouts.formats import archive
from hrmodel.workouts.formats.upload import FileReport, FoundWorkout, read_upload
from tests import apple_writer, fit_writer, gpx_writer, tcx_writer
from tests.hostile_zips import forged, tarred, zipped

GPX = gpx_writer.write(points=100)
TCX = tcx_writer.write(points=50)
DEEP = 5


@pytest.fixture
def read(tmp_path):
    """The workouts of an upload and what is said of its files: those with a problem, and other files."""

    def read_bytes(data, name="export"):
        (tmp_path / "upload").write_bytes(data)
        found = list(read_upload(tmp_path / "upload", name=name))
        workouts = [one.workout for one in found if isinstance(one, FoundWorkout)]
        reports = [one for one in found if isinstance(one, FileReport)]
        said = {one.file: one.problem for one in reports if one.problem or not one.workouts}
        return workouts, said

    return read_bytes


def nested(data, times):
    for number in range(times):
        data = zipped({f"{number}.zip": data})
    return data


@pytest.mark.parametrize("format_", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_tar_files_are_read_packed_or_not(read, format_, mode):
    long = "Takeout/" + "Fit/" * 40 + "Läufe/2024.tcx"
    workouts, said = read(tarred({long: TCX, "./a.gpx": GPX, "b.gpx.gz": gzip.compress(GPX)}, mode, format=format_))
    assert (len(workouts), said) == (3, {})


def test_an_export_of_apple_health_in_a_tar_brings_its_routes(read):
    points = (apple_writer.point(i, 3.0) for i in range(1200))
    members = {"e/export.xml": apple_writer.write(), "e/workout-routes/route_1.gpx": apple_writer.route(*points)}
    ((run,), said) = read(tarred(members, "w:gz"))
    assert said == {}
    assert run.altitude is not None


def test_links_devices_and_holes_in_a_tar_are_no_files(read):
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as file:
        for number, kind in enumerate((tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE)):
            info = tarfile.TarInfo(f"{number}.gpx")
            info.type, info.linkname = kind, "/etc/passwd"
            file.addfile(info)
        for name in ("../../escape.gpx", "/tmp/escape.gpx"):
            info = tarfile.TarInfo(name)
            info.size = len(GPX)
            file.addfile(info, io.BytesIO(GPX))
    workouts, said = read(made.getvalue())
    assert (len(workouts), said) == (2, {})


def test_a_tar_that_claims_more_than_there_is_keeps_what_there_is(read):
    whole = tarred({"a.gpx": GPX, "b.gpx": GPX})
    workouts, said = read(whole[: len(whole) - 10_240 - len(GPX) // 2])
    whole_one, cut_one = (len(workout.t) for workout in workouts)
    assert whole_one == 100
    assert 20 < cut_one < 100
    assert "cut off" in said["b.gpx"]


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_gzip_file_that_is_cut_keeps_the_points_before_the_cut(read, share):
    noisy = gpx_writer.write(points=2000)
    packed = gzip.compress(noisy)
    workouts, said = read(packed[: int(share * len(packed))], "run.gpx.gz")
    ((_, problem),) = said.items()
    assert 2000 * share * 0.5 < len(workouts[0].t) < 2000
    assert "the gzip file ends too early" in problem


# a stored member that was streamed has no end that a reader could find
@pytest.mark.parametrize(
    ("packing", "streamed"),
    [(zipfile.ZIP_STORED, False), (zipfile.ZIP_DEFLATED, False), (zipfile.ZIP_DEFLATED, True)],
)
def test_a_zip_that_is_cut_keeps_the_members_and_the_points_before_the_cut(read, packing, streamed):
    class Stream(io.BytesIO):
        def seekable(self):
            return not streamed

    made = Stream()
    with zipfile.ZipFile(made, "w", packing) as file:
        for name, content in {"a.gpx": GPX, "b.tcx": TCX, "c.gpx": gpx_writer.write(points=2000)}.items():
            file.writestr(name, content)
    end = made.getvalue().index(b"c.gpx") + 5
    cut = made.getvalue()[: end + (made.getvalue().rindex(b"PK\1\2") - end) // 2]
    workouts, said = read(cut, "export.zip")
    assert [len(workout.t) for workout in workouts][:2] == [100, 100]
    assert 200 < len(workouts[2].t) < 1900
    assert "table of contents is missing" in said["export.zip"]
    assert "cut off" in said["c.gpx"]


def test_a_member_whose_bytes_are_damaged_keeps_what_is_before_and_the_others_go_on(read):
    data = bytearray(zipped({"a.gpx": gpx_writer.write(points=3000), "b.gpx": GPX}))
    place = data.index(b"b.gpx") * 2 // 3
    data[place : place + 40] = bytes(40)
    workouts, said = read(bytes(data))
    assert len(workouts[-1].t) == 100
    assert len(workouts[0].t) > 500
    assert "damaged" in said["a.gpx"]


@pytest.mark.parametrize(
    ("magic", "name"),
    [
        (b"7z\xbc\xaf\x27\x1c", "7z"),
        (b"Rar!\x1a\x07\x01\x00", "RAR"),
        (lzma.compress(GPX), "xz"),
        (b"BZh91AY&SY", "bzip2"),
        (b"\x28\xb5\x2f\xfd\x04", "zst"),
    ],
)
def test_an_archive_that_is_not_opened_is_refused_by_its_name_and_with_what_to_do(read, magic, name):
    content = magic + bytes(100)
    with pytest.raises(InvalidFile, match=rf"{name}.*unpack it"):
        read(content)
    workouts, said = read(zipped({"a.gpx": GPX, "more": content}))
    assert len(workouts) == 1
    assert name in said["more"]


def test_other_kinds_of_files_are_refused_by_what_they_are(read):
    for content, word in (
        (b"%PDF-1.7", "PDF"),
        (b"SQLite format 3\0", "database"),
        (b"<?xml version='1.0'?><kml xmlns='x'></kml>", "KML"),
        (b"\n<!DOCTYPE html><html><head>", "web page"),
    ):
        with pytest.raises(InvalidFile, match=word):
            read(content)


def test_archives_in_archives_are_opened_to_a_depth_and_named_beyond(read):
    assert len(read(nested(GPX, DEEP))[0]) == 1
    _, said = read(nested(GPX, DEEP + 1))
    ((_, problem),) = said.items()
    assert f"packed more than {DEEP} times" in problem


@pytest.mark.parametrize(
    ("export", "route"),
    [
        ("apple_health_export\\export.xml", "apple_health_export\\workout-routes\\route_1.gpx"),
        ("./e/export.xml", "./e/workout-routes/route_1.gpx"),
        ("/e/export.xml", "/e/workout-routes/route_1.gpx"),
        ("e//export.xml", "e//workout-routes//route_1.gpx"),
        ("e/export.xml", "e/Workout-Routes/Route_1.GPX"),
        ("Exportieren.xml", "elsewhere/workout-routes/route_1.gpx"),
        ("导出.xml", "workout-routes/route_1.gpx"),
        ("C:\\e\\export.xml", "C:\\e\\workout-routes\\route_1.gpx"),
    ],
)
def test_an_apple_export_finds_its_routes_however_the_names_are_written(read, export, route):
    content = apple_writer.route(*(apple_writer.point(i, 3.0) for i in range(1200)))
    ((run,), said) = read(zipped({route: content, export: apple_writer.write()}))
    assert said == {}
    assert run.altitude is not None


def test_a_route_is_found_though_a_mac_has_taken_its_names_characters_apart(read):
    name = "route_8.55오전.gpx"
    content = apple_writer.route(*(apple_writer.point(i, 3.0) for i in range(1200)))
    run = apple_writer.workout(1200, apple_writer.reference(f"/workout-routes/{name}"))
    apart = unicodedata.normalize("NFD", f"e/workout-routes/{name}")
    ((found,), said) = read(zipped({apart: content, "e/export.xml": apple_writer.write(run)}))
    assert said == {}
    assert found.altitude is not None


def test_the_second_byte_of_a_japanese_character_is_no_backslash(read):
    name = "表.gpx".encode("shift_jis")
    workouts, said = read(zipped({"ab.gpx": GPX}).replace(b"ab.gpx", name))
    assert (b"\\" in name, len(workouts), said) == (True, 1, {})


def test_names_in_old_encodings_cost_nothing(read):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        for number in range(3):
            file.writestr(f"NAME{number}.gpx", GPX)
    data = made.getvalue()
    for old, new in (
        (b"NAME0", "跑步".encode("gbk") + b"0"),
        (b"NAME1", b"L\x84uf1"),
        (b"NAME2", "äö".encode() + b"2"),
    ):
        data = data.replace(old, new)
    workouts, said = read(data)
    assert (len(workouts), said) == (3, {})
    assert any("äö2.gpx" in workout.source for workout in workouts)


def test_what_is_no_workout_in_an_export_is_one_line_and_no_problem(read):
    others = {
        "export_cda.xml": b"<ClinicalDocument/>",
        "ecg.csv": b"a,b",
        "1.jpg": b"x",
        "a.json": b"{}",
        "b.html": b"x",
    }
    settings = fit_writer.FitWriter()
    settings.add("file_id", type=2, manufacturer=1)
    workouts, said = read(zipped({"a.gpx": GPX, "settings.fit": settings.to_bytes(), **others}))
    assert len(workouts) == 1
    ((line, problem),) = said.items()
    assert line.startswith("no workouts in ")
    assert problem is None


def test_a_file_that_is_called_a_workout_and_is_none_is_a_problem(read):
    _, said = read(zipped({"a.gpx": GPX, "b.fit": b"x" * 50, "c.gpx": b"hello", "d.tcx.gz": b"zzz"}))
    assert set(said) == {"b.fit", "c.gpx", "d.tcx.gz"}


def test_only_files_that_look_like_workouts_count_towards_their_bound(read, monkeypatch):
    monkeypatch.setattr(archive, "MAX_FILES", 3)
    many = {f"photos/{number}.jpg": b"x" for number in range(50)} | {f"{number}.txt": b"x" for number in range(50)}
    runs = {f"{number}.gpx": GPX for number in range(3)}
    workouts, said = read(zipped(many | runs))
    assert len(workouts) == 3
    assert list(said) == ["no workouts in 100 other files: 50 .jpg, 50 .txt"]
    workouts, said = read(zipped(runs | {"more.gpx": GPX}))
    assert len(workouts) == 3
    assert "more than 3 files" in said["more.gpx"]


def test_a_takeout_with_tens_of_thousands_of_files_is_read(read):
    photos = [(b"Takeout/Photos/%d.jpg" % number, b"x") for number in range(20_100)]
    workouts, said = read(forged([*photos, (b"Takeout/Fit/a.tcx", TCX)]))
    assert len(workouts) == 1
    assert list(said.values()) == [None]


def test_a_year_of_runs_in_one_tcx_is_read(read):
    workouts, said = read(tcx_writer.write(activities=250, points=20))
    assert (len(workouts), said) == (250, {})


def test_nothing_is_unpacked_any_more_once_an_upload_has_unpacked_to_too_much(read, monkeypatch):
    monkeypatch.setattr(archive, "SMALL_UPLOAD_BYTES", 3 * len(GPX))
    monkeypatch.setattr(archive, "MAX_UPLOAD_RATIO", 0)
    workouts, said = read(zipped({f"{number}.gpx": GPX for number in range(5)} | {"small.gpx": GPX[: len(GPX) // 2]}))
    assert len(workouts) == 3
    assert [*said] == ["3.gpx", "4.gpx", "small.gpx"]
    assert all("unpacks to more than" in problem for problem in said.values())


def test_control_characters_cost_no_more_than_letters(read):
    begun = time.process_time()
    with pytest.raises(InvalidFile, match="damaged"):
        read(b"<gpx>" + bytes(20_000_000))
    assert time.process_time() - begun < 10


def test_archives_that_branch_at_every_depth_end_soon(tmp_path):
    packed = zipped({"a.gpx": b"<gpx/>"})
    for _ in range(4):  # 8 in each of the 8 in each ...
        packed = zipped({f"{number}.zip": packed for number in range(8)})
    (tmp_path / "branching.zip").write_bytes(packed)
    reports = list(read_upload(tmp_path / "branching.zip", name="branching.zip"))
    assert len(reports) < 3000
    assert any("three deep" in (report.problem or "") for report in reports)
