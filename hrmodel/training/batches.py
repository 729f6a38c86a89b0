"""Workouts as sequences that the network reads, and sequences as padded batches."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hrmodel.signals.contract import FeatureContract
from hrmodel.signals.features import history_feature, motion_features
from hrmodel.signals.grid import STEP_SECONDS, GriddedWorkout, Segment, forward_fill
from hrmodel.signals.scale import SubjectScale
from hrmodel.signals.steps import segment_slices
from hrmodel.workouts.workout import Array

Part = Literal["train", "val"]


@dataclass(frozen=True)
class View:
    """Heart rate is observed for the first `prefix_seconds` of the workout: 0 blind, inf all of it."""

    prefix_seconds: float
    drop_altitude: bool = False


class Key(NamedTuple):
    """Names one sequence of a fit: one segment of one workout in one view."""

    part: Part
    workout: int
    segment: int
    view: View


@dataclass(frozen=True, kw_only=True, eq=False)
class ScaledWorkout:
    """A workout and the scale of the person who did it."""

    gridded: GriddedWorkout
    level: SubjectScale
    response: Array | None = None  # (S,) bpm that the person's tracked response adds to the network's answer; None: 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """B sequences padded at the end to the longest, T steps. Where `mask` is False, target is 0 and unscored."""

    inputs: Tensor  # (B, T, 3) float32: speed, vertical speed, history
    target: Tensor  # (B, T) float32: (bpm - response - level) / spread
    mask: Tensor  # (B, T) bool: heart rate was measured in this step
    keys: tuple[Key, ...]
    lengths: tuple[int, ...]

    def to(self, device: torch.device) -> "Batch":
        """Give the same batch on a device."""
        if self.inputs.device == device:
            return self
        moved = {name: getattr(self, name).to(device) for name in ("inputs", "target", "mask")}
        return replace(self, **moved)


@dataclass(frozen=True, kw_only=True, eq=False)
class SegmentFeatures:
    """One segment's features, made once. `offset`: steps between the workout's start and the segment's."""

    workout: int
    segment: int
    offset: int
    motion: NDArray[np.float32]  # (T, 2)
    history: NDArray[np.float32]  # (T,) as if all heart rate were observed; it looks back only
    target: NDArray[np.float32]  # (T,)
    mask: NDArray[np.bool_]  # (T,)

    def known_steps(self, view: View) -> int:
        """Steps of the history input that may be non-zero: up to the step after the last observed step."""
        if view.prefix_seconds <= 0:
            return 0
        ended = int(min(view.prefix_seconds, 1e12) // STEP_SECONDS) - self.offset
        return ended + 1 if ended > 0 else 0


def features_of(workouts: Sequence[ScaledWorkout], contract: FeatureContract) -> list[SegmentFeatures]:
    """Features of every segment that has a measured step: without one it could only cost time."""
    return [
        _features(workout, index, number, segment, part, contract)
        for index, workout in enumerate(workouts)
        for number, (segment, part) in enumerate(segment_slices(workout.gridded))
        if np.isfinite(segment.heart_rate).any()
    ]


def _features(
    workout: ScaledWorkout, index: int, number: int, segment: Segment, part: slice, contract: FeatureContract
) -> SegmentFeatures:
    scale = workout.level
    measured = np.isfinite(segment.heart_rate)
    heart_rate = segment.heart_rate if workout.response is None else segment.heart_rate - workout.response[part]
    scaled = (heart_rate - scale.heart_rate) / scale.spread
    return SegmentFeatures(
        workout=index,
        segment=number,
        offset=segment.first_step - workout.gridded.segments[0].first_step,
        motion=motion_features(segment, scale, contract),
        history=history_feature(forward_fill(heart_rate), scale.heart_rate, scale.spread),
        target=np.where(measured, scaled, 0.0).astype(np.float32),
        mask=measured,
    )


def assemble(items: Sequence[tuple[SegmentFeatures, View]], part: Part) -> Batch:
    """Pad sequences, each in its view, to one batch."""
    lengths = tuple(len(sequence.mask) for sequence, _ in items)
    shape = (len(items), max(lengths))
    inputs, target = torch.zeros(*shape, 3), torch.zeros(shape)
    mask = torch.zeros(shape, dtype=torch.bool)
    x, y, m = inputs.numpy(), target.numpy(), mask.numpy()  # the same memory: numpy's slicing costs a tenth
    for row, (sequence, view) in enumerate(items):
        steps, with_history = lengths[row], sequence.known_steps(view)
        x[row, :steps, :2] = sequence.motion
        x[row, : min(with_history, steps), 2] = sequence.history[:with_history]
        if view.drop_altitude:
            x[row, :, 1] = 0.0
        y[row, :steps] = sequence.target
        m[row, :steps] = sequence.mask
    keys = tuple(Key(part, sequence.workout, sequence.segment, view) for sequence, view in items)
    return Batch(inputs=inputs, target=target, mask=mask, keys=keys, lengths=lengths)
