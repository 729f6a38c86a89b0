"""The difference of one person's heart rate from the network's answer: a linear response to their own effort, in bpm.

The network describes the average runner; a person differs from them nearly linearly in speed, climb and time: in the
slope of the answer to speed, in warm-up and in drift. Sixteen weights describe the difference, and they are followed
from workout to workout (kalman.py). On people whom the base model never saw they take 0.7 bpm off the blind error,
where following the mean alone leaves 5.5 bpm (docs/explanation/decisions/model.md).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrmodel.signals.contract import FeatureContract
from hrmodel.signals.features import known_or_zero, vertical_speed
from hrmodel.signals.grid import STEP_SECONDS, GriddedWorkout
from hrmodel.signals.scale import SubjectScale
from hrmodel.signals.steps import Rows, channel, elapsed_steps, rows_of, segment_begins
from hrmodel.workouts.running import USUAL_SPREAD, USUAL_STEPS
from hrmodel.workouts.workout import Array

MEMORIES = (30.0, 120.0, 600.0)  # s, of the running means of effort
RISES = (60.0, 300.0)  # s, of the rise at a workout's start
FASTEST = 6.0  # spreads from the usual speed, either way: a wrong speed must not move the whole workout
BLOCK = 32  # steps
BLOCKS = 64  # of a stretch
TIMES = len(RISES) + 1  # features of time: the rises and the drift
WHOLE = 4  # the last features are means over the whole workout
LONGEST = 7200.0  # s: drift is constant beyond it

NAMES = (
    "level",
    "speed",
    *(f"speed_{memory:g}s" for memory in MEMORIES),
    "climb",
    *(f"climb_{memory:g}s" for memory in MEMORIES),
    *(f"rise_{rise:g}s" for rise in RISES),
    "drift",
    "mean_speed",
    "speed_spread",
    "duration",
    "hilliness",
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Response:
    """The bpm added to the network's answer at each step: `response_features @ of_effort`, and what the person's own
    weights read out of the network's last layer, where they are followed.
    """  # fmt: skip

    weights: Array  # (16 + H,) bpm per unit of a feature: in the order of NAMES, the first is the level's offset; then
    # of the last layer's H whitened units, or none
    variance: float  # bpm^2: how unsure the offset is before the next workout

    @property
    def offset(self) -> float:
        """How far the level has moved, bpm."""
        return float(self.weights[0])

    @property
    def of_effort(self) -> Array:
        """(16,) the weights of `response_features`."""
        return self.weights[: len(NAMES)]

    @property
    def of_last_layer(self) -> Array:
        """(H,) the weights of the last layer's whitened units; (0,): none are followed."""
        return self.weights[len(NAMES) :]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: weights by name, and those of the last layer as a list, if any."""
        named: dict[str, Any] = {"weights": dict(zip(NAMES, self.of_effort.tolist(), strict=True))}
        if len(self.of_last_layer):
            named["last_layer"] = self.of_last_layer.tolist()
        return {**named, "variance": self.variance}

    @staticmethod
    def from_dict(values: dict[str, Any]) -> "Response":
        """The inverse of `to_dict`. Raises ValueError for other names than NAMES."""
        named, others = values["weights"], values.get("last_layer", [])
        if set(named) != set(NAMES):
            raise ValueError(f"a response has weights for {', '.join(NAMES)}, not {', '.join(sorted(named))}")
        weights = np.array([*(float(named[name]) for name in NAMES), *map(float, others)])
        return Response(weights=weights, variance=float(values["variance"]))


def response_features(
    gridded: GriddedWorkout, scale: SubjectScale, contract: FeatureContract, climb: Array | None = None
) -> Array:
    """(S, F) features of all S steps in the order of NAMES, each about 1 large; unknown speed and climb count as usual.

    Some are means over the whole workout: speed and route are known ahead. None uses heart rate. `climb` (S,): its
    `vertical_speed`, for a caller that has it.
    """
    if climb is None:
        climb = vertical_speed(channel(gridded, "altitude"), contract, segment_begins(gridded))
    relative_speed = known_or_zero((channel(gridded, "speed") - scale.speed) / contract.population_speed_spread)
    steps = len(climb)
    features = np.empty((len(NAMES), steps))
    features[0] = 1.0
    efforts = features[1 : -WHOLE - TIMES].reshape(2, 1 + len(MEMORIES), steps)  # speed and climb, each with its means
    speed = np.minimum(np.maximum(relative_speed, -FASTEST), FASTEST)
    efforts[0, 0], efforts[1, 0] = speed, climb
    efforts[:, 1:] = segment_means(rows_of(gridded), efforts[:, 0], MEMORIES)
    features[-WHOLE - TIMES : -WHOLE] = _of_time(gridded)
    mean = speed.sum() / steps
    spread = math.sqrt(np.square(speed - mean).sum() / steps)
    features[-4] = mean
    features[-3] = spread * contract.population_speed_spread / USUAL_SPREAD - 1.0
    features[-2] = min(max(2.0 * math.log(steps / USUAL_STEPS), -1.0), 1.0)
    features[-1] = np.abs(climb).sum() / steps - 0.5
    return features.T


def segment_means(rows: Sequence[Rows], values: Array, memories: tuple[float, ...]) -> Array:
    """(C, S) values of a workout's steps -> (C, M, S): their running means, which start anew in each segment."""
    if rows[0].is_whole:
        return running_means(values, memories)
    means = np.empty((len(values), len(memories), values.shape[1]))
    for own in rows:
        taken = own.take(values.T)  # (k, L, C)
        count, steps, columns = taken.shape
        side = running_means(taken.transpose(2, 0, 1).reshape(-1, steps), memories)
        own.put(side.reshape(columns, count, -1, steps).transpose(1, 3, 0, 2), means.transpose(2, 0, 1))
    return means


def _of_time(gridded: GriddedWorkout) -> Array:
    """(TIMES, S): the rises and the drift."""
    if len(gridded.segments) == 1:
        return _of_first_steps(gridded.segments[0].steps)
    return _rise_and_drift(elapsed_steps(gridded))


@lru_cache(maxsize=64)
def _of_first_steps(steps: int) -> Array:
    return _rise_and_drift(np.arange(steps))


def _rise_and_drift(elapsed: NDArray[np.int64]) -> Array:
    seconds = elapsed * STEP_SECONDS
    return np.stack([*(np.exp(-seconds / rise) for rise in RISES), np.minimum(seconds, LONGEST) / 1800.0 - 1.0])


def running_mean(values: Array, memory: float) -> Array:
    """(T,) -> (T,): exponential mean that forgets with `memory` in s; 0, the usual, before the segment."""
    means: Array = running_means(values[None], (memory,))[0, 0]
    return means


def running_means(values: Array, memories: tuple[float, ...]) -> Array:
    """(C, T) -> (C, M, T): the running means of every row with every memory in s.

    Matrix products compute the recurrence block-wise: one within all blocks, one from block to block of a stretch.
    The stretches run one after another, so that time and memory grow with T alone.
    """
    stretch = BLOCK * BLOCKS
    parts: list[Array] = []
    for start in range(0, max(values.shape[1], 1), stretch):
        before = parts[-1][:, :, -1] if start else None
        parts.append(_stretch_means(values[:, start : start + stretch], memories, before))
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)


def _stretch_means(values: Array, memories: tuple[float, ...], before: Array | None) -> Array:
    """The same for at most BLOCK * BLOCKS steps; `before` (C, M) are the means of the step before the first."""
    columns, steps = values.shape
    count = -(-steps // BLOCK)
    within, fade, between = _recurrence(memories, count)
    blocks = np.zeros((columns, count * BLOCK))
    blocks[:, :steps] = values
    means: Array = blocks.reshape(columns, 1, count, BLOCK) @ within  # (C, M, count, BLOCK)
    ends = (between @ means[..., -1:])[..., 0]  # (C, M, count): of the step before each block
    if before is not None:
        ends += fade[:, -1:] ** np.arange(count) * before[:, :, None]
    means += ends[..., None] * fade[:, None]
    return means.reshape(columns, len(memories), count * BLOCK)[:, :, :steps]


@lru_cache(maxsize=32)
def _recurrence(memories: tuple[float, ...], count: int) -> tuple[Array, Array, Array]:
    """The weights of a block's steps in each later step's mean (M, BLOCK, BLOCK), of the step before a block in each
    of its steps (M, BLOCK), and of the ends of blocks in the steps before later blocks (M, count, count).
    """  # fmt: skip
    keep = np.exp(-STEP_SECONDS / np.array(memories))[:, None, None]
    later = np.arange(BLOCK) - np.arange(BLOCK)[:, None]
    within = np.where(later >= 0, (1 - keep) * keep ** np.maximum(later, 0), 0.0)
    behind = np.arange(count)[:, None] - np.arange(count) - 1
    between = np.where(behind >= 0, keep ** (BLOCK * np.maximum(behind, 0)), 0.0)
    return within, keep[:, 0] ** np.arange(1, BLOCK + 1), between
