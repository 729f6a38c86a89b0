"""The formats that we can read, and how an upload of any of them becomes workouts.

A format is found by a file's first bytes, never by its name or a declared type. A new one is a module beside this one
and a line in `FORMATS`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from hrmodel.workouts.errors import InvalidFile
from hrmodel.workouts.formats import heads
from hrmodel.workouts.formats.foreign import described
from hrmodel.workouts.formats.source import Source
from hrmodel.workouts.workout import Workout

HEAD_BYTES = 4096


@dataclass(frozen=True)
class Format:
    """One file format; `module` reads it. `beside`: patterns of files, relative to its own, that it reads by itself."""

    name: str
    extensions: tuple[str, ...]
    matches: Callable[[bytes], bool]  # of the first 4 KB
    module: str
    beside: tuple[str, ...] = ()

    def read(self, source: Source) -> Iterator[Workout]:
        """The workouts of a file. Raises InvalidFile.

        The module is loaded now: pyarrow, torch and the like are only for those who bring such files.
        """
        workouts: Iterator[Workout] = import_module(self.module).read(source)
        return workouts


FORMATS = (
    Format("parquet", (".parquet",), heads.is_parquet, "hrmodel.workouts.formats.parquet"),
    Format(
        "apple_health",
        (".xml",),
        heads.is_apple_health,
        "hrmodel.workouts.formats.apple_health",
        beside=("workout-routes/*.gpx",),
    ),
    Format("fit", (".fit",), heads.is_fit, "hrmodel.workouts.formats.fit"),
    Format("gpx", (".gpx",), heads.is_gpx, "hrmodel.workouts.formats.gpx"),
    Format("tcx", (".tcx",), heads.is_tcx, "hrmodel.workouts.formats.tcx"),
    Format("endomondo", (".json",), heads.is_endomondo, "hrmodel.workouts.formats.endomondo"),
    Format("original", (".pt",), heads.is_torch, "hrmodel.workouts.formats.original", beside=("scaler_params.json",)),
)


def detect(head: bytes) -> Format | None:
    """The format of a file by its first bytes."""
    return next((format_ for format_ in FORMATS if format_.matches(head)), None)


def head_of(path: Path) -> bytes:
    """As much of a file's beginning as formats are told by."""
    with path.open("rb") as file:
        return file.read(HEAD_BYTES)


def unknown_format(head: bytes = b"") -> InvalidFile:
    """What to say about a file of no known format, by its first bytes."""
    known = ", ".join(f"{format_.name} ({', '.join(format_.extensions)})" for format_ in FORMATS)
    what = described(head) or "no workouts of a known format"
    return InvalidFile("unknown_format", "", f"{what}; known are {known}, and zip, tar and gzip files of them")
