"""The formats that we can read, and how an upload of any of them becomes workouts.

A format is found by a file's first bytes, never by its name or a declared type. A new one is a module beside this one
and a line in `FORMATS`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hrmodel.workouts.errors import InvalidFile
from hrmodel.workouts.formats import apple_health, endomondo, fit, gpx, tcx
from hrmodel.workouts.formats.foreign import described
from hrmodel.workouts.formats.source import Source
from hrmodel.workouts.workout import Workout

HEAD_BYTES = 4096


@dataclass(frozen=True)
class Format:
    """One file format. `beside`: patterns of files, relative to its own, that it reads by itself."""

    name: str
    extensions: tuple[str, ...]
    matches: Callable[[bytes], bool]  # of the first 4 KB
    read: Callable[[Source], Iterator[Workout]]
    beside: tuple[str, ...] = ()


def is_parquet(head: bytes) -> bool:
    """True for a Parquet file, by its first bytes."""
    return head.startswith(b"PAR1")


def is_torch(head: bytes) -> bool:
    """True for PyTorch's zip layout, whose first entry is `<name>/data.pkl`."""
    name_length = int.from_bytes(head[26:28], "little")
    return head.startswith(b"PK\x03\x04") and head[30 : 30 + name_length].endswith(b"/data.pkl")


def _read_parquet(source: Source) -> Iterator[Workout]:
    from hrmodel.workouts.formats import parquet  # pyarrow: not for those who bring something else

    return parquet.read(source)


def _read_original(source: Source) -> Iterator[Workout]:
    from hrmodel.workouts.formats import (
        original,  # torch: 200 MB and 2 s, not for those who bring something else
    )

    return original.read(source)


FORMATS: tuple[Format, ...] = (
    Format("parquet", (".parquet",), is_parquet, _read_parquet),
    Format("apple_health", (".xml",), apple_health.matches, apple_health.read, beside=apple_health.BESIDE),
    Format("fit", (".fit",), fit.matches, fit.read),
    Format("gpx", (".gpx",), gpx.matches, gpx.read),
    Format("tcx", (".tcx",), tcx.matches, tcx.read),
    Format("endomondo", (".json",), endomondo.matches, endomondo.read),
    Format("original", (".pt",), is_torch, _read_original, beside=("scaler_params.json",)),
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
