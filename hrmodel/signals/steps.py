"""A workout's steps side by side: all segments one after the other, S steps in all."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from hrmodel.signals.grid import GriddedWorkout, Segment
from hrmodel.workouts.workout import Array


def step_bins(gridded: GriddedWorkout) -> NDArray[np.int64]:
    """(S,) bin number of every step, strictly increasing; it jumps where a segment ends."""
    if len(gridded.segments) == 1:
        return np.arange(gridded.segments[0].steps) + gridded.segments[0].first_step
    lengths = segment_lengths(gridded)
    first = np.array([segment.first_step for segment in gridded.segments], dtype=np.int64)
    return np.repeat(first, lengths) + np.arange(lengths.sum()) - segment_begins(gridded)


def segment_lengths(gridded: GriddedWorkout) -> NDArray[np.int64]:
    """(n,) steps of each segment."""
    return np.array([segment.steps for segment in gridded.segments], dtype=np.int64)


def segment_begins(gridded: GriddedWorkout) -> NDArray[np.int64]:
    """(S,) for every step the place of the first step of its own segment among the S steps."""
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
