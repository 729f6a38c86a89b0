"""A workout's steps: all segments one after the other, S steps in all; or side by side, as rows of few arrays."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from hrmodel.signals.grid import STEP_SECONDS, GriddedWorkout, Segment
from hrmodel.workouts.workout import Array

ROUNDED = 16  # steps: torch prepares a pass for each new length, which takes a millisecond

Number = TypeVar("Number", np.float32, np.float64)


def step_bins(gridded: GriddedWorkout) -> NDArray[np.int64]:
    """(S,) bin number of every step, strictly increasing; it jumps where a segment ends."""
    if len(gridded.segments) == 1:
        return np.arange(gridded.segments[0].steps) + gridded.segments[0].first_step
    lengths = segment_lengths(gridded)
    first = np.array([segment.first_step for segment in gridded.segments], dtype=np.int64)
    return np.repeat(first, lengths) + np.arange(lengths.sum()) - segment_begins(gridded)


def step_of_sample(gridded: GriddedWorkout) -> NDArray[np.int64]:
    """(N,) the step, 0..S-1, in which each sample lies."""
    if len(gridded.segments) == 1:
        return gridded.bin_of_sample - gridded.segments[0].first_step
    return np.searchsorted(step_bins(gridded), gridded.bin_of_sample)


def segment_lengths(gridded: GriddedWorkout) -> NDArray[np.int64]:
    """(n,) steps of each segment."""
    return np.array([segment.steps for segment in gridded.segments], dtype=np.int64)


def segment_begins(gridded: GriddedWorkout) -> NDArray[np.int64]:
    """(S,) for every step the index of its segment's first step."""
    if len(gridded.segments) == 1:
        return np.zeros(gridded.segments[0].steps, dtype=np.int64)
    lengths = segment_lengths(gridded)
    return np.repeat(np.cumsum(lengths) - lengths, lengths)


def channel(gridded: GriddedWorkout, name: str) -> Array:
    """(S,) `speed`, `altitude` or `heart_rate` of all segments."""
    parts = [getattr(segment, name) for segment in gridded.segments]
    return np.concatenate(parts) if len(parts) > 1 else parts[0]


def elapsed_steps(gridded: GriddedWorkout) -> NDArray[np.int64]:
    """(S,) steps from the workout's first step to each, gaps included; 0 at the first."""
    bins = step_bins(gridded)
    elapsed: NDArray[np.int64] = bins - bins[0]
    return elapsed


def measured_heart_rate(gridded: GriddedWorkout) -> Array:
    """(S,) measured heart rate in bpm, NaN where there is none."""
    return channel(gridded, "heart_rate")


def segment_slices(gridded: GriddedWorkout) -> Iterator[tuple[Segment, slice]]:
    """Each segment with its place among the S steps."""
    start = 0
    for segment in gridded.segments:
        yield segment, slice(start, start + segment.steps)
        start += segment.steps


def within_step(t: Array, gridded: GriddedWorkout, values: Array) -> Array:
    """(N,) difference between each sample's interpolated value and its step's value.

    `t` (N,) s; `values` (S,), interpolated linearly between step centres inside each segment. Zero when samples are no
    denser than steps.
    """
    between = np.diff(t)
    if len(t) < 2 or between.min() >= STEP_SECONDS or np.median(between) >= STEP_SECONDS:
        return np.zeros(len(t))
    step = step_of_sample(gridded)
    centres = (step_bins(gridded) + 0.5) * STEP_SECONDS
    shape = np.empty(len(t))
    for _, part in segment_slices(gridded):
        inside = slice(*np.searchsorted(step, [part.start, part.stop]))
        shape[inside] = np.interp(t[inside], centres[part], values[part])
    return shape - values[step]


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """k segments of at most L steps each, filled up at the end."""

    segments: NDArray[np.int64]  # (k,) which of the workout's
    places: NDArray[np.int64]  # (k, L) which of the workout's S steps; S where there is none
    is_whole: bool = False  # one row of all steps, the usual case: then slices do

    def take(self, values: NDArray[Number]) -> NDArray[Number]:
        """(S, ...) values of all steps -> (k, L, ...), 0 where a row is filled up."""
        if self.is_whole:
            row = np.zeros((*self.places.shape, *values.shape[1:]), dtype=values.dtype)
            row[0, : len(values)] = values
            return row
        filled = np.zeros((len(values) + 1, *values.shape[1:]), dtype=values.dtype)
        filled[:-1] = values
        return filled[self.places]

    def put(self, rows: NDArray[Number], into: NDArray[Number]) -> None:
        """Write (k, L, ...) back to the places of their steps in `into` (S, ...)."""
        if self.is_whole:
            into[:] = rows[0, : len(into)]
            return
        real = self.places < len(into)
        into[self.places[real]] = rows[real]


def rows_of(gridded: GriddedWorkout) -> list[Rows]:
    """All segments of a workout, the shortest first; rows of one array have the same rounded length.

    The layout depends on the times alone, never on measured values: then neither do the last bits of any result.
    """
    if len(gridded.segments) == 1:
        return _single_row(gridded.segments[0].steps)
    lengths = segment_lengths(gridded)
    starts, steps = np.cumsum(lengths) - lengths, int(lengths.sum())
    padded = rounded(lengths)
    arrays = []
    for length in np.unique(padded).tolist():
        segments = np.flatnonzero(padded == length)
        step = np.arange(length)
        places = np.where(step < lengths[segments, None], starts[segments, None] + step, steps)
        arrays.append(Rows(segments=segments, places=places))
    return arrays


@lru_cache(maxsize=64)
def _single_row(steps: int) -> list[Rows]:
    """The usual case."""
    places = np.minimum(np.arange(int(rounded(steps))), steps)[None]
    return [Rows(segments=np.zeros(1, dtype=np.int64), places=places, is_whole=True)]


def rounded(lengths: NDArray[np.int64] | Sequence[int] | int) -> NDArray[np.int64]:
    """Lengths of at least 1 step up to the next multiple of 16; below 16 up to the next power of two."""
    lengths = np.asarray(lengths)
    powers = 2 ** np.ceil(np.log2(lengths)).astype(np.int64)
    return np.where(lengths <= ROUNDED, powers, -(-lengths // ROUNDED) * ROUNDED)
