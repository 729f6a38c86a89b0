"""From steps back to the samples that the caller sent."""

import numpy as np
from numpy.typing import NDArray

from hrmodel.signals.grid import STEP_SECONDS, GriddedWorkout
from hrmodel.signals.steps import segment_slices, step_bins
from hrmodel.workouts.workout import Array


def step_of_sample(gridded: GriddedWorkout) -> NDArray[np.int64]:
    """(N,) which of the workout's S steps each sample lies in."""
    return np.searchsorted(step_bins(gridded), gridded.bin_of_sample)


def within_step(t: Array, gridded: GriddedWorkout, blind: Array) -> Array:
    """(N,) bpm to add to the own step's value: the blind pass between step centres, minus its value at the own step.

    `t` (N,) s, `blind` (S,) bpm. Zero when samples are no denser than steps. The blind pass reads no heart rate, so the
    shape inside a step gives nothing away, whatever is observed when; a blind request gets plain linear interpolation.
    """
    between = np.diff(t)
    if len(t) < 2 or between.min() >= STEP_SECONDS or np.median(between) >= STEP_SECONDS:
        return np.zeros(len(t))
    step = step_of_sample(gridded)
    centres = (step_bins(gridded) + 0.5) * STEP_SECONDS
    shape = np.empty(len(t))
    for _, part in segment_slices(gridded):
        inside = slice(*np.searchsorted(step, [part.start, part.stop]))
        shape[inside] = np.interp(t[inside], centres[part], blind[part])
    return shape - blind[step]
