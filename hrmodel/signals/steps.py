"""A workout's steps side by side: all segments one after the other, S steps in all."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from hrmodel.signals.grid import GriddedWorkout, Segment
from hrmodel.workouts.workout import Array


def step_bins(gridded: GriddedWorkout) -> NDArray[np.int64]:
    """(S,) bin number of every step, strictly increasing; it jumps where a segment ends."""
    return np.concatenate([np.arange(s.first_step, s.first_step + s.steps) for s in gridded.segments])


def elapsed_steps(gridded: GriddedWorkout) -> NDArray[np.int64]:
    """(S,) steps from the workout's first step to each, gaps included; 0 at the first."""
    bins = step_bins(gridded)
    return bins - bins[0]


def measured_heart_rate(gridded: GriddedWorkout) -> Array:
    """(S,) measured heart rate in bpm, NaN where there is none."""
    return np.concatenate([segment.heart_rate for segment in gridded.segments])


def segment_slices(gridded: GriddedWorkout) -> Iterator[tuple[Segment, slice]]:
    """Each segment with its place among the S steps."""
    start = 0
    for segment in gridded.segments:
        yield segment, slice(start, start + segment.steps)
        start += segment.steps
