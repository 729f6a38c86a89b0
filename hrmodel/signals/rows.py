"""A workout's segments side by side: those of about one length are the rows of one array, so that many cost as few do.

How rows are laid out depends on the times alone, never on what was measured: then neither do the last bits of what is
computed with them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from hrmodel.signals.grid import GriddedWorkout
from hrmodel.signals.steps import segment_lengths

ROUNDED = 16  # steps: torch prepares a pass anew for every length that it has not seen lately, for a millisecond

Number = TypeVar("Number", np.float32, np.float64)


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """k segments of at most L steps each, filled up at the end."""

    segments: NDArray[np.int64]  # (k,) which of the workout's
    places: NDArray[np.int64]  # (k, L) which of the workout's S steps; S where there is none

    def take(self, values: NDArray[Number]) -> NDArray[Number]:
        """(S, ...) values of all steps -> (k, L, ...), 0 where a row is filled up."""
        filled = np.zeros((len(values) + 1, *values.shape[1:]), dtype=values.dtype)
        filled[:-1] = values
        return filled[self.places]

    def put(self, rows: NDArray[Number], into: NDArray[Number]) -> None:
        """Write (k, L, ...) back to the places of their steps in `into` (S, ...)."""
        real = self.places < len(into)
        into[self.places[real]] = rows[real]


def rows_of(gridded: GriddedWorkout) -> list[Rows]:
    """All segments of a workout, the shortest first; rows of one array have the same rounded length."""
    if len(gridded.segments) == 1:
        return _one(gridded.segments[0].steps)
    lengths = segment_lengths(gridded)
    starts, steps = np.cumsum(lengths) - lengths, int(lengths.sum())
    padded = rounded(lengths)
    found = []
    for length in np.unique(padded).tolist():
        segments = np.flatnonzero(padded == length)
        step = np.arange(length)
        places = np.where(step < lengths[segments, None], starts[segments, None] + step, steps)
        found.append(Rows(segments=segments, places=places))
    return found


@lru_cache(maxsize=64)
def _one(steps: int) -> list[Rows]:
    """The usual case."""
    places = np.minimum(np.arange(int(rounded(steps))), steps)[None]
    return [Rows(segments=np.zeros(1, dtype=np.int64), places=places)]


def rounded(lengths: NDArray[np.int64] | Sequence[int] | int) -> NDArray[np.int64]:
    """Lengths of at least 1 step up to the next multiple of 16; below 16 up to the next power of two."""
    lengths = np.asarray(lengths)
    powers = 2 ** np.ceil(np.log2(lengths)).astype(np.int64)
    return np.where(lengths <= ROUNDED, powers, -(-lengths // ROUNDED) * ROUNDED)
