"""The formats that we can read, and how a file, a folder or a zip of them becomes workouts.

A format is found by a file's first bytes, never by its name or a declared type. A new one is a module beside this one
and a line in `FORMATS`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from zipfile import ZipFile, ZipInfo

from hrmodel.workouts.errors import InvalidFile
from hrmodel.workouts.formats import archive, gpx, parquet, seed, tcx
from hrmodel.workouts.units import Units
from hrmodel.workouts.workout import Workout

HEAD_BYTES = 4096


@dataclass(frozen=True)
class Format:
    """One file format. `read` takes units for formats that do not fix theirs (None: the format's usual ones)."""

    name: str
    extensions: tuple[str, ...]
    matches: Callable[[bytes], bool]  # of the first 4 KB
    read: Callable[[Path, Units | None], Iterator[Workout]]


FORMATS: tuple[Format, ...] = (
    Format("parquet", (".parquet",), parquet.matches, parquet.read),
    Format("gpx", (".gpx",), gpx.matches, gpx.read),
    Format("tcx", (".tcx",), tcx.matches, tcx.read),
    Format("seed", (".pt",), seed.matches, seed.read),
)


@dataclass(frozen=True)
class FileReport:
    """What became of one uploaded file or member of a zip."""

    file: str
    format: str | None  # None: not one that we know
    workouts: int
    problem: str | None  # what is wrong with it, and where in it


def read_workouts(path: Path, *, units: Units | None = None) -> Iterator[Workout]:
    """The workouts of a file of any known format, of a zip of them, or of a folder and all below it.

    Files of unknown formats in a folder or zip are passed over. Raises InvalidFile for a damaged file, and when
    nothing can be read at all.
    """
    return (workout for _, workout in read_with_format(path, units=units))


def read_with_format(path: Path, *, units: Units | None = None) -> Iterator[tuple[Format, Workout]]:
    """`read_workouts`, each workout with the format of its file."""
    found = False
    for file, format_, source in _known_files(path):
        found = True
        for workout in _located(source, format_, file, units):
            yield format_, workout
    if not found:
        raise _unknown_format(path.name)


def read_upload(path: Path, *, name: str, units: Units | None = None) -> Iterator[tuple[FileReport, list[Workout]]]:
    """One report per file: of the upload called `name`, or of each member if it is a zip.

    `units` go to the formats that do not fix theirs (None: the format's usual ones). A bad member is a report with its
    problem and no workouts; the rest go on. Raises InvalidFile when the upload as a whole is damaged, unknown or an
    empty zip.
    """
    head = _head(path)
    format_ = _detect(head)
    if format_ is not None:
        workouts = list(_located(path, format_, name, units))
        yield FileReport(name, format_.name, len(workouts), None), workouts
    elif archive.is_zip(head):
        yield from _read_members(path, name, units)
    else:
        raise _unknown_format(name)


def _located(path: Path, format_: Format, file: str, units: Units | None) -> Iterator[Workout]:
    """The workouts of one file; problems are told with the file's name."""
    try:
        yield from _read(path, format_, file, units)
    except InvalidFile as error:
        raise error.inside(file) from error


def _read(path: Path, format_: Format, file: str, units: Units | None) -> Iterator[Workout]:
    """The workouts of one file, told where they come from."""
    for workout in format_.read(path, units):
        yield replace(workout, source=f"{file}: {workout.source}" if workout.source else file)


def _known_files(path: Path) -> Iterator[tuple[str, Format, Path]]:
    """Name, format and place of each readable file in a folder, a zip, or of the one file."""
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if not file.is_file():
            continue
        name = file.relative_to(path).as_posix() if path.is_dir() else file.name
        head = _head(file)
        format_ = _detect(head)
        if format_ is not None:
            yield name, format_, file
        elif archive.is_zip(head):
            yield from _known_members(file, name)


def _known_members(path: Path, name: str) -> Iterator[tuple[str, Format, Path]]:
    for member, unpacked in _members(path, name):
        if isinstance(unpacked, InvalidFile):
            raise unpacked.inside(f"{name}/{member}")
        format_ = _detect(_head(unpacked))
        if format_ is not None:
            yield f"{name}/{member}", format_, unpacked


def _read_members(path: Path, name: str, units: Units | None) -> Iterator[tuple[FileReport, list[Workout]]]:
    found = False
    for member, unpacked in _members(path, name):
        found = True
        if isinstance(unpacked, InvalidFile):
            yield FileReport(member, None, 0, str(unpacked)), []
            continue
        format_ = _detect(_head(unpacked))
        if format_ is None:
            yield FileReport(member, None, 0, _unknown_format(member).hint), []
            continue
        try:
            workouts = list(_read(unpacked, format_, member, units))
        except InvalidFile as error:
            yield FileReport(member, format_.name, 0, str(error)), []
        else:
            yield FileReport(member, format_.name, len(workouts), None), workouts
    if not found:
        raise InvalidFile("empty_zip", name, "the zip file holds no files")


def _members(path: Path, name: str) -> Iterator[tuple[str, Path | InvalidFile]]:
    """Each member of a zip, unpacked for as long as the caller looks at it, or why it cannot be."""
    try:
        zip_file = archive.open_archive(path)
    except InvalidFile as error:
        raise error.inside(name) from error
    with zip_file:
        for entry in archive.entries(zip_file):
            if PurePosixPath(entry.filename).name == seed.SCALER_FILE:
                continue  # read together with the split files beside it
            member = archive.label(entry)
            with archive.temporary_folder() as folder:
                try:
                    unpacked = _unpack(zip_file, entry, Path(folder))
                except InvalidFile as error:
                    yield member, error
                else:
                    yield member, unpacked


def _unpack(zip_file: ZipFile, entry: ZipInfo, folder: Path) -> Path:
    """The member as a file; only a split file of the seed keeps its name, and brings its scaler along."""
    own_name = PurePosixPath(entry.filename).name
    is_split = own_name in {f"{split}.pt" for split in seed.SPLITS}
    target = folder / (own_name if is_split else "member")
    archive.unpack(zip_file, entry, target)
    scaler = archive.sibling(zip_file, entry, seed.SCALER_FILE) if is_split else None
    if scaler is not None:
        archive.unpack(zip_file, scaler, folder / seed.SCALER_FILE)
    return target


def _detect(head: bytes) -> Format | None:
    return next((format_ for format_ in FORMATS if format_.matches(head)), None)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD_BYTES)


def _unknown_format(file: str) -> InvalidFile:
    known = ", ".join(f"{format_.name} ({', '.join(format_.extensions)})" for format_ in FORMATS)
    return InvalidFile("unknown_format", file, f"no workouts of a known format; known are {known}, and zips of them")
