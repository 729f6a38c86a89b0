"""The child that reads an upload: `python -m hrmodel.workouts.sandbox.reader`.

Its input is a request, its output are frames.

A frame is a kind, a length and a payload: JSON, or a workout as it is stored.
"""

import json
import os
import struct
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any

from hrmodel.workouts.errors import InvalidFile
from hrmodel.workouts.formats.scratch import open_ahead
from hrmodel.workouts.formats.source import SaidSport
from hrmodel.workouts.formats.upload import FileReport, FoundWorkout, read_upload
from hrmodel.workouts.reasons import Reason
from hrmodel.workouts.sandbox.confinement import Limits, confine
from hrmodel.workouts.units import Units
from hrmodel.workouts.workout import Workout

BEGUN, WORKOUT, REPORT, PROGRESS, REFUSED, ENDED = b"B", b"W", b"R", b"P", b"X", b"E"
FRAME = struct.Struct(">cI")
PROGRESS_STEP = 0.002  # of the upload
OUT_OF_MEMORY = 77  # exit status
UNPACKED = "unpacked"  # the folder of temporary files, below the child's working directory
UNPACKED_FILES = 16  # at once: an archive in an archive in an archive, and the files beside


@dataclass(frozen=True, kw_only=True)
class Request:
    """The child's input: the upload to read, and its limits."""

    path: str
    name: str
    units: dict[str, Any] | None
    sport: SaidSport | None
    skip: list[str]
    limits: dict[str, int]


def packed_workout(item: FoundWorkout) -> bytes:
    """A frame's payload."""
    workout = item.workout
    facts = {
        "format": item.format,
        "person": workout.person,
        "source": workout.source,
        "split": workout.split,
        "sport_source": workout.sport_source,
        "removed_samples": workout.removed_samples,
        "mended": [asdict(reason) for reason in workout.mended],
    }
    header = json.dumps(facts).encode()
    return struct.pack(">I", len(header)) + header + workout.to_bytes()


def unpacked_workout(payload: bytes) -> FoundWorkout:
    """The inverse. Raises ValueError, KeyError or struct.error for any other payload."""
    (size,) = struct.unpack_from(">I", payload)
    facts = json.loads(payload[4 : 4 + size])
    workout = Workout.from_bytes(
        payload[4 + size :], person=facts["person"], source=facts["source"], split=facts["split"]
    )
    mended = tuple(Reason(**reason) for reason in facts["mended"])
    removed, sport_source = int(facts["removed_samples"]), str(facts["sport_source"])
    complete = replace(workout, removed_samples=removed, sport_source=sport_source, mended=mended)
    return FoundWorkout(facts["format"], complete)


def _main(out: IO[bytes], request: Request) -> None:
    """The child's work: read the upload, send its workouts and file reports."""

    def send(kind: bytes, payload: bytes) -> None:
        out.write(FRAME.pack(kind, len(payload)))
        out.write(payload)
        out.flush()

    sent = -1.0

    def progress(fraction: float) -> None:
        nonlocal sent
        if fraction - sent >= PROGRESS_STEP:
            sent = fraction
            send(PROGRESS, json.dumps(fraction).encode())

    try:
        for item in read_upload(
            Path(request.path),
            name=request.name,
            units=Units(**request.units) if request.units else None,
            sport=request.sport,
            skip=frozenset(request.skip),
            on_file=lambda label: send(BEGUN, json.dumps(label).encode()),
            on_progress=progress,
        ):
            if isinstance(item, FileReport):
                send(REPORT, json.dumps(asdict(item)).encode())
            else:
                send(WORKOUT, packed_workout(item))
        send(ENDED, b"null")
    except InvalidFile as error:
        facts = {"code": error.code, "where": error.where, "hint": error.hint}
        send(REFUSED, json.dumps(facts).encode())


def start() -> None:
    """Confine this process, then read."""
    request = Request(**json.loads(sys.stdin.buffer.read()))
    # output of libraries goes to the log, never between the frames
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    unpacked = Path(UNPACKED).absolute()
    sys.modules["pandas"] = None  # type: ignore[assignment]  # pyarrow would import it if installed: 40 MB
    open_ahead(unpacked, UNPACKED_FILES)
    tempfile.tempdir = str(unpacked)  # else Python tries every folder when a library asks for it
    confine(Limits(**request.limits), [Path(request.path), unpacked])
    try:
        _main(out, request)
    except MemoryError:
        os._exit(OUT_OF_MEMORY)
    os._exit(0)  # at once: each frame is sent, and there is nothing to tidy up


if __name__ == "__main__":
    start()
