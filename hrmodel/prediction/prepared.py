"""A query on the 10 s grid: the formula's terms that need no network, and the network's inputs and outputs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

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
    targets: NDArray[np.intp] | None = (
        None  # (O,) increasing, the only steps to predict; None: all, with a horizon of 1
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class StepQuery:
    """One workout of S steps on the grid, to predict once per view of its heart rate.

    `level` None: the checkpoint's scale, else the population's. `response` None: the checkpoint's, else a new person's.
    """

    gridded: GriddedWorkout
    views: Sequence[ObservedView]
    level: SubjectScale | None = None
    response: Response | None = None

    @property
    def cost(self) -> int:
        """The steps of its passes, about."""
        return sum(segment.steps for segment in self.gridded.segments) * (1 + len(self.views))


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedQuery:
    """One workout of S steps in n segments, with V views of its heart rate: the part that each forecast may read."""

    gridded: GriddedWorkout
    views: Sequence[Array]  # V of (S,) bpm, NaN where not observed
    scale: SubjectScale
    subject_known: bool  # False: the scale is the population's
    response: Array  # (S,) bpm
    offset_variance: float  # bpm^2, of the level's offset
    intervals: Intervals
    coverage: float
    correct: bool
    elapsed: NDArray[np.int64]  # (S,) steps from the workout's start
    begins: NDArray[np.int64]  # (S,) the first step of each step's segment
    motion: Features  # (S, 2)
    rows: list[Rows]  # all segments
    has_history: NDArray[np.bool_] = field(init=False)  # (V, n): in which segments a view's free run reads heart rate
    inputs: list[Features] = field(init=False)  # (rows, L, 3) of each pass: blind passes, then free runs

    def __post_init__(self) -> None:
        """Build the network's inputs."""
        object.__setattr__(self, "has_history", self._find_history())
        object.__setattr__(self, "inputs", [*self._blind_inputs(), *self._free_inputs()])

    @property
    def size(self) -> int:
        """The cost of the query: steps of all passes, and samples."""
        return sum(math.prod(rows.shape[:2]) for rows in self.inputs) + len(self.gridded.bin_of_sample)

    def read_outputs(self, outputs: Sequence[Array]) -> tuple[Array, Array]:
        """Outputs (rows, L) of the `inputs` -> (S,) without heart rate and (V, S) of the free runs.

        A free run equals the output without heart rate in segments in which its view holds none.
        """
        network = self.read_blind(outputs)
        if len(outputs) == len(self.rows):
            return network, np.broadcast_to(network, (len(self.views), len(network)))
        unread = iter(outputs[len(self.rows) :])
        free = np.array([network] * len(self.views))
        for rows in self.rows:
            if views := self._views_with_history(rows):
                output = next(unread)
                for view, own in zip(views, output.reshape(len(views), -1, output.shape[1]), strict=True):
                    rows.put(own, free[view], only=self.has_history[view, rows.segments])
        return network, free

    def read_blind(self, outputs: Sequence[Array]) -> Array:
        """The first outputs, without heart rate -> (S,)."""
        network = np.empty(len(self.motion))
        for rows, output in zip(self.rows, outputs, strict=False):
            rows.put(output, network)
        return network

    def _find_history(self) -> NDArray[np.bool_]:
        """Without a subject's scale the free run is not mixed in: its history would be in the population's scale."""
        segments = len(self.gridded.segments)
        if (self.correct and not self.subject_known) or not self.views:
            return np.zeros((len(self.views), segments), dtype=np.bool_)
        starts = np.flatnonzero(np.arange(len(self.begins)) == self.begins) if segments > 1 else [0]
        observed: NDArray[np.bool_] = np.logical_or.reduceat(np.isfinite(self.views), starts, axis=1)
        return observed

    def _views_with_history(self, rows: Rows) -> list[int]:
        """Views of which all segments are run: the shape of a pass must not depend on where heart rate is observed."""
        own = self.has_history if rows.is_whole else self.has_history[:, rows.segments]
        return [view for view, segments in enumerate(own.tolist()) if True in segments]

    def _blind_inputs(self) -> list[Features]:
        return [with_history(rows.take(self.motion), 0.0) for rows in self.rows]

    def _free_inputs(self) -> list[Features]:
        """(V' * k, L, 3) for each group of k rows and the V' views with history there."""
        inputs: list[Features] = []
        histories: dict[int, Features] = {}
        for rows in self.rows:
            if views := self._views_with_history(rows):
                histories.update((view, self._history(view)) for view in views if view not in histories)
                motion = rows.take(self.motion)
                inputs.append(np.concatenate([with_history(motion, rows.take(histories[view])) for view in views]))
        return inputs

    def _history(self, view: int) -> Features:
        """(S,) observed heart rate less the response, forward filled."""
        filled = forward_fill(self.views[view] - self.response, self.begins)
        return history_feature(filled, self.scale.heart_rate, self.scale.spread, self.begins)


def with_history(motion: Features, history: Array | Features | float) -> Features:
    """(..., T, 2) motion and (B, T) or (T,) history, or one number for all steps -> (..., T, 3) inputs."""
    steps = motion.shape[:-1] if isinstance(history, float) else np.broadcast_shapes(motion.shape[:-1], history.shape)
    inputs = np.empty((*steps, 3), dtype=np.float32)
    inputs[..., :2] = motion
    inputs[..., 2] = history
    return inputs
