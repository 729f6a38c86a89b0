"""What a reader gets: a file to read, the units to assume, and the files beside it in the upload."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from hrmodel.workouts.units import Units

SaidSport: TypeAlias = Literal["running"]  # what a caller may say of files that name no sport
Beside: TypeAlias = "Callable[[str], AbstractContextManager[Source | None]]"


def nothing_beside(_name: str) -> "AbstractContextManager[Source | None]":
    """For a file that was uploaded alone."""
    return nullcontext(None)


def _ignore(_: object) -> None:
    """Nobody wants to be told."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """One file of an upload.

    `path`: its bytes, perhaps under a name of ours. `name`: its own name without a folder. `beside(name)`: the file at
    this place relative to its folder (`workout-routes/route_1.gpx`) for as long as the context is open, None when there
    is none; raises InvalidFile when it cannot be unpacked. `said_sport`: what the caller says of files that name no
    sport; `listed_sport`: the word for this one in the export's list of activities. Readers tell `advanced` how many
    more bytes they have read; `chunks` does so by itself. `noted` hears, in sentences for the report, what is missing
    though nothing is damaged.
    """

    path: Path
    name: str = ""
    units: Units | None = None
    said_sport: SaidSport | None = None
    listed_sport: str = ""
    beside: Beside = nothing_beside
    advanced: Callable[[float], None] = _ignore
    noted: Callable[[str], None] = _ignore

    def chunks(self, size: int) -> Iterator[bytes]:
        """The file's bytes from its beginning, piece by piece."""
        with self.path.open("rb") as file:
            while chunk := file.read(size):
                self.advanced(len(chunk))
                yield chunk
