"""From an uploaded file, or a folder, to its workouts and a report of each file."""

from collections import Counter
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hrmodel.workouts.errors import InvalidFile
from hrmodel.workouts.formats.archive import Budget
from hrmodel.workouts.formats.catalog import unknown_format
from hrmodel.workouts.formats.files import Opener, Progress, UploadedFile
from hrmodel.workouts.formats.source import SaidSport
from hrmodel.workouts.units import Units
from hrmodel.workouts.workout import Workout

NOT_WORKOUTS = ("unknown_format", "not_an_activity")  # what is said of files that nobody wants to read about


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

    `units` go to the formats that do not fix theirs (None: the format's usual ones), `sport` is that of files that name
    none. A damaged file is a report with its problem and the workouts that are sound; the rest go on. Files that hold
    no workouts are one line at the end. Files whose label is in `skip` are passed over; `on_file` hears the label of
    each file that is begun, `on_progress` the fraction of the upload that has been read. Raises InvalidFile when the
    upload as a whole gives nothing: damaged, unknown, an empty zip.
    """
    others, readable, unknown = Counter[str](), 0, unknown_format()
    for file in _opener(path, units, sport, on_progress).files(path, name):
        if file.label in skip:
            readable += 1
            continue
        if file.looks_foreign:
            others[_ending(file.label)] += 1
            unknown = file.problem or unknown
            continue
        on_file(file.label)
        if (yield from _read_file(file)):
            others[_ending(file.label)] += 1
        readable += 1
    if not readable:
        raise unknown.inside(name)
    if others:
        yield _other_files(others)
    on_progress(1.0)


def _read_file(file: UploadedFile) -> Generator[FoundWorkout | FileReport, None, bool]:
    """The workouts of a file and its report; True, without one, when it is of those that hold no workouts."""
    workouts, problem, notes = 0, None, list[str]()
    try:
        for found in _read(file, notes.append):
            workouts += 1
            yield found
    except InvalidFile as error:
        problem = error
    if file.whole and not workouts and (whole := file.problem or problem):
        raise whole.inside(file.label)
    if file.problem is None and problem is not None and problem.code in NOT_WORKOUTS and not workouts:
        return True
    problems = [str(one) for one in (file.problem, problem) if one is not None] + notes
    yield FileReport(file.label, file.format.name if file.format else None, workouts, "; ".join(problems) or None)
    return False


def _read(file: UploadedFile, noted: Callable[[str], None] = _ignore) -> Iterator[FoundWorkout]:
    """The workouts of one file, told where they come from."""
    if file.source is None or file.format is None:
        return
    for workout in file.format.read(replace(file.source, noted=noted)):
        place = f"{file.label}: {workout.source}" if workout.source else file.label
        yield FoundWorkout(file.format.name, replace(workout, source=place))


def _ending(label: str) -> str:
    name = label.rpartition("/")[2]
    return f".{name.rpartition('.')[2]}".lower()[:20] if "." in name[1:] else "no extension"


def _other_files(endings: Counter[str]) -> FileReport:
    """One line for the files that hold no workouts, which is no problem."""
    listed = ", ".join(f"{count} {ending}" for ending, count in endings.most_common(10))
    more = ", ..." if len(endings) > 10 else ""
    files = f"{endings.total()} other file{'s' * (endings.total() != 1)}"
    return FileReport(f"no workouts in {files}: {listed}{more}", None, 0, None)


def _opener(path: Path, units: Units | None, sport: SaidSport | None, on_progress: Callable[[float], None]) -> Opener:
    size = 0 if path.is_dir() else path.stat().st_size
    budget = Budget() if path.is_dir() else Budget.of(size)  # a folder is on our own disk
    return Opener(units=units, sport=sport, progress=Progress(total=size, tell=on_progress), budget=budget)
