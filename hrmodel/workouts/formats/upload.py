"""From an uploaded file, or a folder, to its workouts and a report of each file."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from hrmodel.workouts.errors import InvalidFile
from hrmodel.workouts.formats.archive import Budget
from hrmodel.workouts.formats.files import Opener, Progress, UploadedFile
from hrmodel.workouts.formats.source import SaidSport
from hrmodel.workouts.units import Units
from hrmodel.workouts.workout import Workout

MAX_UNKNOWN = 20  # files of unknown formats that are named one by one


@dataclass(frozen=True)
class FoundWorkout:
    """A workout and the name of its file's format."""

    format: str
    workout: Workout


@dataclass(frozen=True)
class FileReport:
    """What became of one uploaded file or member of a zip."""

    file: str
    format: str | None  # None: not one that we know
    workouts: int
    problem: str | None  # what is wrong with it and where in it, or missing beside it


def _ignore(_: Any) -> None:
    """Nobody wants to be told."""


def read_workouts(path: Path, *, units: Units | None = None, sport: SaidSport | None = None) -> Iterator[Workout]:
    """The workouts of a file of any known format, of a zip of them, or of a folder and all below it.

    Files of unknown formats in a folder or zip are passed over. Raises InvalidFile for a damaged file, and when
    nothing can be read at all.
    """
    return (found.workout for found in read_with_format(path, units=units, sport=sport))


def read_with_format(
    path: Path, *, units: Units | None = None, sport: SaidSport | None = None
) -> Iterator[FoundWorkout]:
    """`read_workouts`, each workout with the format of its file."""
    known, unknown = 0, InvalidFile("unknown_format", "", "the folder holds no files")
    for file in _opener(path, units, sport, _ignore).files(path, path.name):
        if file.source is None:
            assert file.problem is not None
            if file.problem.code != "unknown_format":
                raise file.problem.inside(file.label)
            unknown = file.problem
            continue
        known += 1
        try:
            yield from _read(file)
        except InvalidFile as error:
            raise error.inside(file.label) from error
    if not known:
        raise unknown.inside(path.name)


def read_upload(
    path: Path,
    *,
    name: str,
    units: Units | None = None,
    sport: SaidSport | None = None,
    skip: frozenset[str] = frozenset(),
    on_file: Callable[[str], None] = _ignore,
    on_progress: Callable[[float], None] = _ignore,
) -> Iterator[FoundWorkout | FileReport]:
    """The workouts of each file of the upload called `name`, and after them the file's report.

    `units` go to the formats that do not fix theirs (None: the format's usual ones); `sport` is that of the files that
    name none. A damaged file is a report with
    its problem and the workouts before the damage; the rest go on. Files whose label is in `skip` are passed over;
    `on_file` hears the label of each file that is begun, `on_progress` the fraction of the upload that has been read.
    Raises InvalidFile when the upload as a whole gives nothing: damaged, unknown, an empty zip.
    """
    unknown: list[str] = []
    for file in _opener(path, units, sport, on_progress).files(path, name):
        if file.label in skip:
            continue
        if file.problem is not None and file.problem.code == "unknown_format" and not file.whole:
            unknown.append(file.label)
            if len(unknown) <= MAX_UNKNOWN:
                yield FileReport(file.label, None, 0, str(file.problem))
            continue
        on_file(file.label)
        yield from _read_file(file)
    if len(unknown) > MAX_UNKNOWN:
        yield _other_files(unknown[MAX_UNKNOWN:])
    on_progress(1.0)


def _read_file(file: UploadedFile) -> Iterator[FoundWorkout | FileReport]:
    workouts, problem, notes = 0, file.problem, list[str]()
    try:
        for found in _read(file, notes.append):
            workouts += 1
            yield found
    except InvalidFile as error:
        problem = error
    if problem is not None and file.whole and not workouts:
        raise problem.inside(file.label)
    problems = [str(problem)] * (problem is not None) + notes
    yield FileReport(file.label, file.format.name if file.format else None, workouts, "; ".join(problems) or None)


def _read(file: UploadedFile, noted: Callable[[str], None] = _ignore) -> Iterator[FoundWorkout]:
    """The workouts of one file, told where they come from."""
    if file.source is None or file.format is None:
        return
    for workout in file.format.read(replace(file.source, noted=noted)):
        place = f"{file.label}: {workout.source}" if workout.source else file.label
        yield FoundWorkout(file.format.name, replace(workout, source=place))


def _other_files(labels: list[str]) -> FileReport:
    """One line for the files of unknown formats that nobody wants to read about one by one."""
    suffixes = Counter(PurePosixPath(label).suffix.lower()[:20] or "no extension" for label in labels)
    listed = ", ".join(f"{count} {suffix}" for suffix, count in suffixes.most_common(10))
    return FileReport(f"{len(labels)} more files", None, 0, f"no workouts of a known format: {listed}")


def _opener(path: Path, units: Units | None, sport: SaidSport | None, on_progress: Callable[[float], None]) -> Opener:
    size = 0 if path.is_dir() else path.stat().st_size
    budget = Budget() if path.is_dir() else Budget.of(size)  # a folder is on our own disk
    return Opener(units=units, sport=sport, progress=Progress(total=size, tell=on_progress), budget=budget)
