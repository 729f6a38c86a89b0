"""A query on the 10 s grid: the formula's terms that need no network, and the network's inputs and outputs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hrmodel.network.whitening import OwnReading
from hrmodel.personal.bands import Intervals
from hrmodel.personal.response import Response
from hrmodel.signals.features import Features, history_feature
from hrmodel.signals.grid import GriddedWorkout, forward_fill
from hrmodel.signals.scale import SubjectScale
from hrmodel.signals.steps import Rows
from hrmodel.workouts.workout import Array


@dataclass(frozen=True, kw_only=True, eq=False)
class ObservedView:
    """What is observed of a workout's heart rate: each step reads it up to `horizon` steps before."""

    heart_rate: Array  # (S,) bpm, NaN where not observed
    horizon: int = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class StepQuery:
    """One workout of S steps on the grid, to predict once per view of its heart rate.

    `level` None: the checkpoint's scale, else the population's. `response` None: the checkpoint's, else a new person's.
    """

    gridded: GriddedWorkout
    views: Sequence[ObservedView]
    level: SubjectScale | None = None
    response: Response | None = None


class Outputs(NamedTuple):
    """What one pass says of a workout's S steps."""

    network: Array  # (S,) in the subject's scale
    response: Array  # (S,) bpm: the person's, with what their own weights read out of the last layer


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedQuery:
    """One workout of S steps in n segments: all that its prediction needs but the network's passes."""

    gridded: GriddedWorkout
    scale: SubjectScale
    subject_known: bool  # False: the scale is the population's
    response: Array  # (S,) bpm: the part that needs no pass
    reading: OwnReading | None  # the part that is read out of the last layer; None: there is none
    offset_variance: float  # bpm^2, of the level's offset
    intervals: Intervals
    coverage: float
    elapsed: NDArray[np.int64]  # (S,) steps from the workout's start
    begins: NDArray[np.int64]  # (S,) the first step of each step's segment
    motion: Features  # (S, 2)
    rows: list[Rows]  # all segments
    read: Array | None = None  # (S,) bpm, NaN where not observed: what a free run reads; None: none is asked for
    inputs: list[Features] = field(init=False)  # (k, L, 3) of each pass: without heart rate, then those of a free run

    def __post_init__(self) -> None:
        """Build the network's inputs."""
        inputs = self._inputs(np.zeros(len(self.motion), dtype=np.float32))
        if self.read is not None:
            inputs += self._inputs(self._history(self.read))
        object.__setattr__(self, "inputs", inputs)

    @property
    def size(self) -> int:
        """The cost of the query: steps of all passes, and samples."""
        return sum(math.prod(rows.shape[:2]) for rows in self.inputs) + len(self.gridded.bin_of_sample)

    @property
    def unfilled_inputs(self) -> list[Features]:
        """The inputs, in one segment without the steps that fill them up."""
        return [rows[:, : len(self.begins)] for rows in self.inputs] if self.rows[0].is_whole else self.inputs

    def read_outputs(self, outputs: Sequence[Features]) -> tuple[Outputs, Outputs | None]:
        """Outputs (k, L, 1 + H) of the `inputs` -> those without heart rate, and those of the free run, if any."""
        free = outputs[len(self.rows) :]
        return self._read(outputs), self._read(free) if free else None

    def steps_of(self, outputs: Sequence[Features]) -> Features:
        """The (k, L, 1 + H) outputs of a pass, which come first -> (S, 1 + H)."""
        steps = np.empty((len(self.motion), outputs[0].shape[-1]), dtype=np.float32)
        for rows, output in zip(self.rows, outputs, strict=False):
            rows.put(output, steps)
        return steps

    def _read(self, outputs: Sequence[Features]) -> Outputs:
        steps = self.steps_of(outputs)
        response = self.response if self.reading is None else self.response + self.reading.of(steps[:, 1:])
        return Outputs(network=steps[:, 0].astype(np.float64), response=response)

    def _inputs(self, history: Features) -> list[Features]:
        """(k, L, 3) of each pass, with a history (S,)."""
        steps = np.empty((len(self.motion), 3), dtype=np.float32)
        steps[:, :2], steps[:, 2] = self.motion, history
        return [rows.take(steps) for rows in self.rows]

    def _history(self, heart_rate: Array) -> Features:
        """(S,) observed heart rate less the response, forward filled."""
        filled = forward_fill(heart_rate - self.response, self.begins)
        return history_feature(filled, self.scale.heart_rate, self.scale.spread, self.begins)
