"""Reading the user's own files in this process, exactly as the service reads an upload in a sandboxed one."""

import logging
from collections.abc import Iterator
from pathlib import Path

from hrmodel.workouts.cleaning.pieces import join_pieces
from hrmodel.workouts.errors import InvalidFile
from hrmodel.workouts.formats.source import SaidSport
from hrmodel.workouts.formats.upload import FileReport, FoundWorkout, read_upload
from hrmodel.workouts.units import Units
from hrmodel.workouts.workout import Workout

log = logging.getLogger("hrmodel.data")


def read_workouts(path: Path, *, units: Units | None = None, sport: SaidSport | None = None) -> Iterator[Workout]:
    """The workouts of a file of any known format, of an archive of them, or of a folder and all below it.

    A problem with a file is logged as a warning, and the others are read. Raises InvalidFile when nothing can be read.
    """
    return (item.workout for item in read_with_format(path, units=units, sport=sport))


def read_with_format(
    path: Path, *, units: Units | None = None, sport: SaidSport | None = None
) -> Iterator[FoundWorkout]:
    """`read_workouts`, each workout with the format of its file."""
    workouts, problems = 0, list[FileReport]()
    for item in join_pieces(read_upload(path, name=path.name, units=units, sport=sport)):
        if isinstance(item, FoundWorkout):
            workouts += 1
            yield item
        elif item.problem:
            log.warning("%s: %s", item.file, item.problem)
            problems.append(item)
    if not workouts:
        first = f"{problems[0].file}: {problems[0].problem}" if problems else "it holds no workouts"
        raise InvalidFile("no_workouts", "", first)
