"""`make fuzz`: each reader gets our own writers' files, damaged at random, and must read or refuse them.

Each reader runs in a process of its own that is confined as an import's is: what kills it is a finding too. Execution
number n of a seed always is the same file.
"""

import argparse
import gzip
import json
import os
import random
import re
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from zipfile import ZIP_STORED

from hrmodel.workouts.cleaning.clean import clean
from hrmodel.workouts.errors import InvalidFile
from hrmodel.workouts.formats.catalog import FORMATS
from hrmodel.workouts.formats.original import SCALER_FILE, SCALER_KEYS
from hrmodel.workouts.formats.scratch import open_ahead, temporary_file, writing
from hrmodel.workouts.formats.source import Source
from hrmodel.workouts.formats.upload import FoundWorkout, read_upload
from hrmodel.workouts.sandbox.confinement import Limits, confine
from hrmodel.workouts.sandbox.isolated import MEMORY_BYTES
from hrmodel.workouts.sandbox.reader import UNPACKED, UNPACKED_FILES, packed_workout, unpacked_workout
from hrmodel.workouts.workout import Workout
from tests import apple_writer, endomondo_writer, fit_writer, gpx_writer, hostile_tables, tcx_writer
from tests.hostile_zips import tarred, zipped

Files = tuple[bytes, ...]  # the one that is read, and what lies beside it
ARCHIVES = ("zip", "gzip", "tar", "activities")
READERS = (*(one.name for one in FORMATS), *ARCHIVES)
BESIDE = {
    "apple_health": ("workout-routes/route_1.gpx",),
    "original": (SCALER_FILE,),
    "activities": ("activities/1.gpx", "activities/2.gpx.gz"),
}
NAMES = {"original": "train.pt"}
NUMBER = re.compile(rb"\d+(?:\.\d+)?")
NUMBERS = (
    b"0",
    b"-1",
    b"1e308",
    b"-1e999",
    b"nan",
    b"",
    b" 7 ",
    b"0.1",
    b"99999999999",
    b"9" * 400,
    b"1_0",
    b"12:60",
    b"x",
)
STRAVAS_LIST = (
    b"Activity ID,Activity Date,Activity Type,Filename\n"
    b'1,"Jan 1, 2024","Run",activities/1.gpx\n2,"Jan 2, 2024","Ride",activities/2.gpx.gz\n'
)
READ, REFUSED, OUT_OF_MEMORY = "read", "refused", "out of memory"
EXTREMES = (b"\0" * 4, b"\xff" * 4, b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\xff" * 8, b"\x7f\xf0" + bytes(6), b"\1")
PIECES = (
    *(b"<", b">", b"/>", b"&", b"'", b'"', b"\\", b"]]>", b"<!--", b"<![CDATA[", b"<!DOCTYPE a [", b"&#0;", b"\n"),
    *(
        b"nan",
        b"-inf",
        b"1e999",
        b"-1e308",
        b"-",
        b"",
        b" ",
        b"9" * 400,
        b"0001-01-01T00:00:00+14:00",
        b"1_0",
        b"UTF-16",
    ),
    *(
        b"[",
        b"]",
        b"{",
        b"}",
        b",,",
        b"null",
        b"None",
        b"true",
        b"PK\3\4",
        b"PK\1\2",
        b"PK\5\6",
        b"\x1f\x8b\x08",
        b".FIT",
    ),
)


@dataclass(kw_only=True)
class Outcome:
    """What became of a reader's executions. `faults`: those that neither read nor refused, and why."""

    executions: int = 0
    read: int = 0
    refused: int = 0
    out_of_memory: int = 0  # the confined reader ends then, which an import takes for too_large
    died: int = 0  # inside a library: an import reports the file and goes on behind it
    slowest: float = 0.0  # s
    faults: list[str] = field(default_factory=list)

    def add(self, said: str) -> None:
        """The next execution: seconds, and what `execute` says."""
        seconds, verdict = said.split(" ", 1)
        self.slowest = max(self.slowest, float(seconds))
        self.read += verdict == READ
        self.refused += verdict == REFUSED
        self.out_of_memory += verdict == OUT_OF_MEMORY
        if verdict not in (READ, REFUSED, OUT_OF_MEMORY):
            self.faults.append(f"execution {self.executions}: {verdict}")
        self.executions += 1


@cache
def seeds(reader: str) -> tuple[Files, ...]:
    """Small good files."""
    if reader == "gpx":
        return _and_soup(*((gpx_writer.write(one, tracks=2, points=4),) for one in gpx_writer.DIALECTS))
    if reader == "tcx":
        return _and_soup((tcx_writer.write(activities=2, points=3),))
    if reader == "fit":
        return ((fit_writer.write(10),), (fit_writer.write(3) + fit_writer.write(4, sport=2),))
    if reader == "endomondo":
        two = endomondo_writer.line(points=4), endomondo_writer.line(points=3, speed=...)
        return tuple((endomondo_writer.write(*two, python=python),) for python in (True, False))
    if reader == "apple_health":
        return _and_soup(_apple_health())
    if reader == "parquet":
        return tuple(
            (hostile_tables.written(hostile_tables.table(), compression=how),) for how in ("snappy", "zstd", "none")
        )
    if reader == "original":
        scaler = json.dumps(dict.fromkeys(SCALER_KEYS, 1.0)).encode()
        return ((hostile_tables.saved(hostile_tables.tensors(userId=["a", "b"])), scaler),)
    gpx, fit = gpx_writer.write(points=3), fit_writer.write(3)
    inner = zipped({"a/1.gpx": gpx, "2.fit.gz": gzip.compress(fit, mtime=0), "photo.jpg": b"x"})
    if reader == "activities":
        return ((STRAVAS_LIST, gpx, gzip.compress(gpx, mtime=0)),)
    if reader == "tar":
        members = {"in.zip": inner, f"./{'far/' * 40}b.gpx": gpx}
        kinds = tarfile.PAX_FORMAT, tarfile.GNU_FORMAT
        return *((tarred(members, format=kind),) for kind in kinds), (tarred(members, "w:gz", compresslevel=1),)
    return ((zipped({"in.zip": inner, "b.gpx": gpx}),),) if reader == "zip" else ((gzip.compress(fit, mtime=0),),)


def _and_soup(*files: Files) -> tuple[Files, ...]:
    """The same files, and each once more with what is no XML at its end: the second reader reads all of it."""
    return *files, *((first + b"\n< 3 & more", *beside) for first, *beside in files)


def _apple_health() -> Files:
    record, event = apple_writer.record, apple_writer.event
    moved = record("DistanceWalkingRunning", "km", 0.03, 0, 10) + record("StepCount", "count", 28, 0, 10)
    parts = event("Pause", 30) + event("Resume", 40) + apple_writer.reference("/workout-routes/route_1.gpx")
    beats = apple_writer.heart_rates({5: 140, 8: 141})
    export = apple_writer.write(
        beats, moved, apple_writer.workout(60, parts), doctype="<!DOCTYPE HealthData [<!-- -->]>"
    )
    return export, apple_writer.route(*(apple_writer.point(i, 3.0) for i in range(3)))


def damaged(files: Files, chance: random.Random) -> list[bytes]:
    """A few changes, most of them in the file that is read; some leave it well-formed."""
    changed = [bytearray(one) for one in files]
    for _ in range(chance.choice((1, 1, 1, 2, 3, 5))):
        data = changed[0] if chance.random() < 0.8 else chance.choice(changed)
        if not data:
            continue
        at, end = sorted((chance.randrange(len(data)), chance.randrange(len(data))))
        end = min(end, at + 64)
        match chance.randrange(10):
            case 0:
                data[at] ^= 1 << chance.randrange(8)
            case 1:
                data[at] = chance.randrange(256)
            case 2:
                data[at:end] = b""
            case 3:
                data[at:at] = data[at:end] * chance.randint(1, 4)
            case 4:
                piece = chance.choice(EXTREMES)
                data[at : at + len(piece)] = piece
            case 5:
                data[at : at + chance.randrange(12)] = chance.choice(PIECES)
            case 6:
                data[at:end] = chance.randbytes(end - at)
            case 7 if chance.random() < 0.3:
                del data[at:]
            case 8 | 9 if number := NUMBER.search(data, at):
                data[number.start() : number.end()] = chance.choice(NUMBERS)
    return [bytes(one) for one in changed]


def workouts(reader: str, files: list[bytes]) -> Iterator[Workout]:
    """What the reader finds in the files. Raises InvalidFile."""
    contents = dict(zip(("upload", *BESIDE.get(reader, ())), files, strict=True))
    if reader == "activities":  # damaged inside of a sound archive
        contents = {"upload": zipped({"activities.csv": contents.pop("upload"), **contents}, ZIP_STORED)}
    with ExitStack() as stack:
        paths = {name: stack.enter_context(temporary_file()) for name in contents}
        for name, path in paths.items():
            with writing(path) as file:
                file.write(contents[name])
        if reader in ARCHIVES:
            found = read_upload(paths["upload"], name="upload")
            yield from (one.workout for one in found if isinstance(one, FoundWorkout))
            return
        format_ = next(one for one in FORMATS if one.name == reader)

        def beside(name: str):
            return nullcontext(Source(path=paths[name], name=Path(name).name) if name in paths else None)

        yield from format_.read(Source(path=paths["upload"], name=NAMES.get(reader, ""), beside=beside))


def execute(reader: str, number: int, seed: int) -> str:
    """Read one damaged file, and do with its workouts what an import does."""
    chance = random.Random(f"{seed} {reader} {number}")
    files = damaged(chance.choice(seeds(reader)), chance)
    try:
        for workout in workouts(reader, files):
            clean(unpacked_workout(packed_workout(FoundWorkout(reader, workout))).workout)
        return READ
    except InvalidFile:
        return REFUSED
    except MemoryError:
        return OUT_OF_MEMORY
    except Exception as error:
        return repr(error)[:300].replace("\n", " ")


def _child(reader: str, first: int, executions: int, seed: int) -> None:
    """Confined as an import's reader, in the folder where it was started. Tells of each file at once."""
    out = os.dup(1)
    os.dup2(2, 1)  # whatever a library prints never goes between the lines
    list(workouts(reader, list(seeds(reader)[0])))  # loads what it needs
    unpacked = Path(UNPACKED).absolute()
    open_ahead(unpacked, 1 + len(BESIDE.get(reader, ())) + UNPACKED_FILES)
    # the writers of the files are in this process too, and take 1 GB
    taken = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    confine(Limits(memory=taken + MEMORY_BYTES, cpu_seconds=1_000_000, file_bytes=1 << 30), [unpacked])
    for number in range(first, executions):
        began = time.monotonic()
        verdict = execute(reader, number, seed)
        os.write(out, f"{time.monotonic() - began:.3f} {verdict}\n".encode())


def fuzz(reader: str, executions: int, seed: int) -> Outcome:
    """So many damaged files, in a child; in another one behind a file at which it died."""
    outcome = Outcome()
    options = ["--seed", str(seed), "--reader", reader, "--first"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    while outcome.executions < executions:
        command = [sys.executable, "-m", "tests.fuzz_readers", str(executions), *options, str(outcome.executions)]
        with tempfile.TemporaryDirectory() as folder:
            ended = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)
        for said in ended.stdout.splitlines():
            outcome.add(said)
        if ended.returncode > 0:
            raise RuntimeError(ended.stderr)
        if ended.returncode < 0:
            print(f"{reader} died at execution {outcome.executions}: {ended.stderr.strip()[-200:]}", file=sys.stderr)
            outcome.died += 1
            outcome.executions += 1
    return outcome


def main() -> int:
    """Print a line for each reader; 1 when anything but InvalidFile came out of one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("executions", type=int, help="of all readers together")
    parser.add_argument("--seed", type=int, default=random.randrange(10_000))
    parser.add_argument("--reader", choices=READERS, help="this one alone, confined in this process")
    parser.add_argument("--first", type=int, default=0, help="with --reader: begin with this one")
    asked = parser.parse_args()
    if asked.reader:
        _child(asked.reader, asked.first, asked.executions, asked.seed)
        return 0
    print(f"seed {asked.seed}")
    print(
        f"{'reader':14} {'executions':>10} {'read':>8} {'refused':>8} {'no memory':>10} {'died':>6} {'slowest s':>10}"
    )
    outcomes: dict[str, Outcome] = {}
    for reader in READERS:
        one = outcomes[reader] = fuzz(reader, -(-asked.executions // len(READERS)), asked.seed)
        counts = f"{one.executions:10,} {one.read:8,} {one.refused:8,} {one.out_of_memory:10,} {one.died:6,}"
        print(f"{reader:14} {counts} {one.slowest:10.2f}", flush=True)
    faults = [f"{reader}, {fault}" for reader, one in outcomes.items() for fault in one.faults]
    total = sum(one.executions for one in outcomes.values())
    print(
        f"{total:,} executions; {len(faults)} gave something else than workouts or InvalidFile", *faults[:20], sep="\n"
    )
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
