"""Reading an upload in a sandboxed child process, so that a hostile file cannot harm the parent.

The child writes frames to a pipe: a kind, a length, a payload. The parent trusts nothing beyond its shape: a
workout is checked as any stored one. When the child dies at a file, that file is reported and a new child goes on with
the next one.
"""

import json
import os
import select
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hrmodel.workouts.cleaning.pieces import join_pieces
from hrmodel.workouts.errors import InvalidFile
from hrmodel.workouts.formats.archive import Budget
from hrmodel.workouts.formats.source import SaidSport
from hrmodel.workouts.formats.upload import FileReport, FoundWorkout
from hrmodel.workouts.sandbox.confinement import Limits
from hrmodel.workouts.sandbox.reader import (
    BEGUN,
    ENDED,
    FRAME,
    OUT_OF_MEMORY,
    PROGRESS,
    REFUSED,
    REPORT,
    UNPACKED,
    WORKOUT,
    Request,
    unpacked_workout,
)
from hrmodel.workouts.units import Units

MAX_FRAME_BYTES = 256 << 20
MEMORY_BYTES = 256 << 20  # of data; with its libraries a process then stays below 300 MB
MAX_EXTRA_MEMORY = 4 << 30
CPU_SECONDS, CPU_SECONDS_PER_MB = 120, 2
READING_SHARE = 0.7  # of the progress; the rest is handing over
SILENT_SECONDS = 120.0  # readers report their progress at least each MB
WAIT_SECONDS = 1.0
LOG_BYTES = 64 << 10  # of the end of a child's log: backtraces are long
# messages of libraries in Rust, C++ and C before they abort
SIGNS_OF_NO_MEMORY = ("memory allocation of", "bad_alloc", "MemoryError", "annot allocate memory", "ut of memory")
NEEDS_MEMORY = "reading it takes more memory than an import may use; split the file"
LAST_WORDS_SECONDS = 5.0  # between the end of a child's pipe and its own
MAX_DEATHS = 5  # of readers in one upload; then the rest is given up
PACKAGES = Path(__file__).resolve().parents[3]  # the child finds this package, installed or not
KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "SYSTEMROOT")  # no passwords among them


@dataclass
class _Child:
    """The parent's view of one child so far."""

    process: "subprocess.Popen[bytes]"
    file: str | None = None  # the file that it reads
    workouts: int = 0  # of that file
    done: list[str] = field(default_factory=list)
    ended: bool = False
    progress: float = 0.0
    silent: bool = False  # for too long


def read_isolated(
    path: Path,
    *,
    name: str,
    folder: Path,
    units: Units | None = None,
    sport: SaidSport | None = None,
    on_wait: Callable[[float], None] = lambda _: None,
) -> Iterator[FoundWorkout | FileReport]:
    """`read_upload` in a confined process that writes only to temporary files, and its log, below `folder`.

    Workouts that were recorded in pieces are joined. `on_wait` is called at least once a second with the fraction done;
    it may raise to end the reading. Raises InvalidFile as `read_upload` does.
    """
    items = _read(path, name, folder, units, sport, lambda progress: on_wait(READING_SHARE * progress))
    yield from join_pieces(
        items, folder=folder, on_joined=lambda done: on_wait(READING_SHARE + (1 - READING_SHARE) * done)
    )


def _read(
    path: Path,
    name: str,
    folder: Path,
    units: Units | None,
    sport: SaidSport | None,
    on_wait: Callable[[float], None],
) -> Iterator[FoundWorkout | FileReport]:
    """The items of all children: after a child has died at a file, a new one reads on after it. Raises InvalidFile."""
    skip: list[str] = []
    for _ in range(MAX_DEATHS):
        with _started(path, name, folder, units, sport, skip) as child:
            yield from _frames(child, on_wait)
            if child.ended:
                return
            problem = _cause_of_death(child, folder)
        if child.file is None or (child.file == name and not child.workouts and not skip and not child.done):
            raise problem.inside(name)
        yield FileReport(child.file, None, child.workouts, str(problem))
        skip += [*child.done, child.file]
    yield FileReport("the rest", None, 0, f"not read: reading broke off at {MAX_DEATHS} files of this upload")


@contextmanager
def _started(
    path: Path, name: str, folder: Path, units: Units | None, sport: SaidSport | None, skip: list[str]
) -> Iterator[_Child]:
    size = path.stat().st_size
    limits = Limits(
        memory=MEMORY_BYTES + min(size, MAX_EXTRA_MEMORY),
        cpu_seconds=CPU_SECONDS + CPU_SECONDS_PER_MB * (size >> 20),
        file_bytes=Budget.of(size).left,
    )
    request = Request(
        path=str(path.resolve()),
        name=name,
        units=asdict(units) if units else None,
        sport=sport,
        skip=skip,
        limits=asdict(limits),
    )
    environment = {key: value for key in KEPT_VARIABLES if (value := os.environ.get(key)) is not None}
    environment |= {
        "PYTHONPATH": str(PACKAGES),
        "TMPDIR": str(folder.resolve()),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",
        "RUST_BACKTRACE": "0",
    }
    with (folder / "reader.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "hrmodel.workouts.sandbox.reader"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment,
            cwd=folder,
        )
    try:
        assert process.stdin is not None
        process.stdin.write(json.dumps(asdict(request)).encode())
        process.stdin.close()
        yield _Child(process)
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
        shutil.rmtree(folder / UNPACKED, ignore_errors=True)


def _frames(child: _Child, on_wait: Callable[[float], None]) -> Iterator[FoundWorkout | FileReport]:
    """The child's workouts and file reports, until it ends. Raises InvalidFile when it refuses the upload."""
    for kind, payload in _pieces(child, lambda: on_wait(child.progress)):
        try:
            message = unpacked_workout(payload) if kind == WORKOUT else json.loads(payload)
            item = _take_message(child, kind, message)
        except (ValueError, KeyError, TypeError, struct.error):
            return  # not a message of our reader
        if isinstance(item, InvalidFile):
            raise item
        if item is not None:
            yield item
        on_wait(child.progress)


def _take_message(child: _Child, kind: bytes, message: Any) -> FoundWorkout | FileReport | InvalidFile | None:
    """Update the parent's view of the child; return a workout, a report or an error, None for other messages."""
    if kind == WORKOUT:
        child.workouts += 1
        workout: FoundWorkout = message
        return workout
    if kind == BEGUN:
        child.file, child.workouts = str(message), 0
    elif kind == PROGRESS:
        child.progress = min(max(float(message), 0.0), 1.0)
    elif kind == REPORT:
        report = FileReport(**message)
        child.done.append(report.file)
        return report
    elif kind == REFUSED:
        child.ended = True
        return InvalidFile(**message)
    elif kind == ENDED:
        child.ended = True
    return None


def _pieces(child: _Child, on_wait: Callable[[], None]) -> Iterator[tuple[bytes, bytes]]:
    """Frames as they come; ends when the child closes its pipe, is silent for too long or sends an impossible frame."""
    assert child.process.stdout is not None
    pipe = child.process.stdout.fileno()
    buffer = bytearray()
    last_frame = time.monotonic()
    while True:
        ready, _, _ = select.select([pipe], [], [], WAIT_SECONDS)
        if ready:
            data = os.read(pipe, 1 << 20)
            if not data:
                return
            buffer += data
            last_frame = time.monotonic()
        elif time.monotonic() - last_frame > SILENT_SECONDS:
            child.silent = True
            return
        else:
            on_wait()
        while len(buffer) >= FRAME.size:
            kind, size = FRAME.unpack_from(buffer)
            if size > MAX_FRAME_BYTES:
                return
            if len(buffer) < FRAME.size + size:
                break
            payload = bytes(buffer[FRAME.size : FRAME.size + size])
            del buffer[: FRAME.size + size]
            yield kind, payload


def _cause_of_death(child: _Child, folder: Path) -> InvalidFile:
    """Why a child ended before its work was done."""
    with suppress(subprocess.TimeoutExpired):
        if not child.silent:
            child.process.wait(LAST_WORDS_SECONDS)
    status = child.process.poll()
    if status in (OUT_OF_MEMORY, -signal.SIGKILL):  # the kernel's way when the whole machine is short of it
        return InvalidFile("too_large", "", NEEDS_MEMORY)
    if child.silent or status == -signal.SIGXCPU:
        return InvalidFile("too_slow", "", "reading it takes more time than an import may use; split the file")
    words = _last_words(folder / "reader.log")
    if any(sign in words for sign in SIGNS_OF_NO_MEMORY):
        return InvalidFile("too_large", "", NEEDS_MEMORY)
    hint = f"its reader broke off ({_last_line(words)}); please report it with the file"
    return InvalidFile("reader_failed", "", hint)


def _last_words(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - LOG_BYTES))
        return file.read().decode(errors="replace")


def _last_line(words: str) -> str:
    lines = [line for line in words.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "without a word"
