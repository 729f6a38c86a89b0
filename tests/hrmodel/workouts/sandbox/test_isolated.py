import signal
import subprocess
import time
import zipfile

import numpy as np
import pytest

from hrmodel.workouts.cleaning.pieces import join_pieces
from hrmodel.workouts.errors import InvalidFile
from hrmodel.workouts.formats.upload import FileReport, read_upload
from hrmodel.workouts.sandbox import isolated, landlock, seccomp
from hrmodel.workouts.sandbox.isolated import read_isolated
from hrmodel.workouts.simulate import simulate_runner
from hrmodel.workouts.units import Units
from tests.original_writer import write_original_dataset

POINTS = "".join(
    f'<trkpt lat="1.{i:05d}" lon="1"><time>2024-05-01T08:{i // 60:02d}:{i % 60:02d}Z</time></trkpt>' for i in range(900)
)
GPX = f"<gpx><trk>{POINTS}</trk></gpx>"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "job").mkdir()
    return tmp_path / "job"


@pytest.fixture
def upload(tmp_path):
    def zipped(**members):
        path = tmp_path / "upload"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
            for name, content in members.items():
                made.writestr(name.replace("_", "."), content)
        return path

    return zipped


def test_an_isolated_reader_finds_what_the_reader_finds(tmp_path, folder):
    runs = simulate_runner(workouts=4)
    write_original_dataset({"train": runs[:2], "val": [runs[2]], "test": [runs[3]]}, tmp_path / "original")
    with zipfile.ZipFile(tmp_path / "upload", "w") as made:
        for file in (tmp_path / "original").iterdir():
            made.write(file, file.name)
        made.writestr("a.gpx", GPX)
        made.writestr("notes.txt", "hello")
    units = Units(speed="km/h", altitude="ft")
    inside = list(read_isolated(tmp_path / "upload", name="my.zip", folder=folder, units=units))
    outside = list(join_pieces(read_upload(tmp_path / "upload", name="my.zip", units=units)))
    assert len(inside) == 4 + 1 + 5
    for one, other in zip(inside, outside, strict=True):
        if isinstance(other, FileReport):
            assert one == other
        else:
            assert (one.format, one.workout.source, one.workout.split) == (
                other.format,
                other.workout.source,
                other.workout.split,
            )
            assert one.workout.digest == other.workout.digest
            np.testing.assert_array_equal(one.workout.t, other.workout.t)


def test_a_refused_upload_is_refused_with_its_code(tmp_path, folder):
    (tmp_path / "upload").write_bytes(b"hello")
    with pytest.raises(InvalidFile) as caught:
        list(read_isolated(tmp_path / "upload", name="mine", folder=folder))
    assert (caught.value.code, caught.value.where) == ("unknown_format", "mine")


def test_the_one_who_asks_hears_the_progress_while_it_waits(upload, folder):
    told = []
    list(read_isolated(upload(a_gpx=GPX, b_gpx=GPX), name="x", folder=folder, on_wait=told.append))
    assert told[-1] == 1.0
    assert len(set(told)) >= 3


def test_the_one_who_asks_can_end_the_reading_at_any_time(upload, folder, monkeypatch):
    class Stop(Exception):
        pass

    started = []
    real = subprocess.Popen

    def remembered(*arguments, **options):
        started.append(real(*arguments, **options))
        return started[-1]

    def stop(_):
        raise Stop

    monkeypatch.setattr(isolated.subprocess, "Popen", remembered)
    with pytest.raises(Stop):
        list(read_isolated(upload(a_gpx=GPX), name="x", folder=folder, on_wait=stop))
    assert started[0].poll() == -signal.SIGKILL


def test_a_reader_that_dies_at_a_file_costs_only_that_file(upload, folder, monkeypatch):
    with pretended_reader(monkeypatch, "if 'b.gpx' in label: os.abort()"):
        found = list(read_isolated(upload(a_gpx=GPX, b_gpx=GPX, c_gpx=GPX), name="x", folder=folder))
    reports = {one.file: one for one in found if isinstance(one, FileReport)}
    assert [(name, report.workouts) for name, report in reports.items()] == [("a.gpx", 1), ("b.gpx", 0), ("c.gpx", 1)]
    assert "its reader broke off" in reports["b.gpx"].problem
    assert sum(not isinstance(one, FileReport) for one in found) == 2


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("bytearray(8 << 30)", "too_large"),
        # what a library in Rust and one in C++ do
        ("__import__('safetensors.numpy').numpy.save({'a': __import__('numpy').ones(15_000_000)})", "too_large"),
        ("os.write(2, b\"terminate called after throwing 'std::bad_alloc'\"); os.abort()", "too_large"),
        ("os.kill(os.getpid(), signal.SIGXCPU)", "too_slow"),
        ("raise RuntimeError('a fault of ours')", "reader_failed"),
        ("os.write(3, b'nonsense' * 100)", "reader_failed"),
        ("os.write(3, b'W' + bytes(3) + b'\\x04' + bytes(4))", "reader_failed"),
        ("os.write(3, b'R' + bytes(3) + b'\\x02[]')", "reader_failed"),
    ],
)
def test_a_reader_that_fails_at_the_only_file_refuses_the_upload(tmp_path, folder, monkeypatch, fault, code):
    (tmp_path / "upload").write_text(GPX)
    with pretended_reader(monkeypatch, fault), pytest.raises(InvalidFile) as caught:
        list(read_isolated(tmp_path / "upload", name="mine", folder=folder))
    assert caught.value.code == code
    assert str(caught.value).startswith("mine: ")


def test_a_reader_that_dies_again_and_again_is_given_up(upload, folder, monkeypatch):
    members = {f"{letter}_gpx": GPX for letter in "abcdefgh"}
    with pretended_reader(monkeypatch, "os.abort()"):
        found = list(read_isolated(upload(**members), name="x", folder=folder))
    assert len(found) == isolated.MAX_DEATHS + 1
    assert "broke off at 5 files" in found[-1].problem


def test_a_silent_reader_is_ended(upload, folder, monkeypatch):
    monkeypatch.setattr(isolated, "SILENT_SECONDS", 3.0)  # a child starts in half a second
    monkeypatch.setattr(isolated, "WAIT_SECONDS", 0.2)
    begun = time.monotonic()
    with pretended_reader(monkeypatch, "import time; time.sleep(60)"):
        (report,) = (
            one
            for one in read_isolated(upload(a_gpx=GPX, b_gpx=""), name="x", folder=folder)
            if isinstance(one, FileReport)
        )
    assert "more time" in report.problem
    assert time.monotonic() - begun < 30


@pytest.mark.skipif(not seccomp.is_available(), reason="this kernel filters no system calls")
@pytest.mark.parametrize(
    ("act", "refused"),
    [
        ("open('new', 'w')", "Operation not permitted"),
        ("os.unlink('../upload')", "Operation not permitted"),
        ("os.fork()", "Operation not permitted"),
        pytest.param(
            "open('../api-key').read()",
            "Permission denied",
            marks=pytest.mark.skipif(not landlock.version(), reason="this kernel or container offers no Landlock"),
        ),
    ],
)
def test_the_reader_is_confined_before_it_begins(upload, folder, monkeypatch, act, refused):
    (folder.parent / "api-key").write_text("secret")
    path = upload(a_gpx=GPX)
    with pretended_reader(monkeypatch, act):
        (report,) = read_isolated(path, name="x", folder=folder)
    assert refused in report.problem
    assert path.exists()


def test_the_folder_of_a_job_holds_nothing_but_the_log_afterwards(upload, folder):
    for _ in range(2):
        assert len(list(read_isolated(upload(a_gpx=GPX, b_gpx=GPX), name="x", folder=folder))) == 4
        assert [path.name for path in folder.iterdir()] == ["reader.log"]


def test_the_reader_sees_no_password_of_the_service(upload, folder, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://secret")
    with pretended_reader(monkeypatch, "raise RuntimeError(os.environ.get('DATABASE_URL'))"):
        (report,) = read_isolated(upload(a_gpx=GPX), name="x", folder=folder)
    assert "RuntimeError: None" in report.problem


def test_the_reader_imports_no_pandas_which_pyarrow_would(upload, folder, monkeypatch):
    with pretended_reader(monkeypatch, "import pandas"):
        (report,) = read_isolated(upload(a_gpx=GPX), name="x", folder=folder)
    assert "import of pandas halted" in report.problem


class pretended_reader:  # noqa: N801
    """Makes the child run `fault` whenever it begins a file, inside its own process."""

    def __init__(self, monkeypatch, fault):
        self.monkeypatch = monkeypatch
        self.program = "\n".join(
            [
                "import os, signal",
                "from hrmodel.workouts.sandbox import reader",
                "real = reader.read_upload",
                "def read(*arguments, on_file, **options):",
                "    def begun(label):",
                "        on_file(label)",
                f"        {fault}",
                "    return real(*arguments, on_file=begun, **options)",
                "reader.read_upload = read",
                "reader.start()",
            ]
        )

    def __enter__(self):
        real = subprocess.Popen

        def start(command, **options):
            assert command[1:] == ["-P", "-m", "hrmodel.workouts.sandbox.reader"]
            return real([command[0], "-P", "-c", self.program], **options)

        self.monkeypatch.setattr(isolated.subprocess, "Popen", start)

    def __exit__(self, *_):
        self.monkeypatch.undo()
