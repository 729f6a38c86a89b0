"""Views of workouts (the observed part of heart rate) and the batches of a training."""

import math
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from hrmodel.signals.contract import FeatureContract
from hrmodel.signals.grid import STEP_SECONDS, GriddedWorkout
from hrmodel.training.batches import Batch, Part, ScaledWorkout, SegmentFeatures, View, assemble, features_of

VIEWS_PER_WORKOUT = 8
SHORTEST_PREFIX = 20.0  # s
BLIND_SHARE, FULL_SHARE, NO_ALTITUDE_SHARE = 0.35, 0.05, 0.20
LONGEST_STRETCH = 32  # batches
_VIEWS, _ORDER = 1, 2  # purposes: each has random numbers of its own

BLIND = View(0.0)
SCORED_VIEWS = (BLIND, View(180.0))  # the views over which the validation loss is averaged


class Views(Protocol):
    """The batches for `fit`. `workouts`: the number of workouts; the length: the number of batches in an epoch."""

    workouts: int

    def __len__(self) -> int: ...

    def batches(self, epoch: int) -> Iterator[Batch]:
        """Give the batches of an epoch, from 1; the same epoch always gives the same batches."""
        ...


def draw_views(durations_s: Sequence[float], seed: int, count: int = VIEWS_PER_WORKOUT) -> list[list[View]]:
    """[workout][view]: 35 % blind, 5 % full, else a prefix log-uniform from 20 s to the duration; 20 % lose altitude.

    Each workout's views depend on the seed and its place only, not on how many follow.
    """
    drawn = []
    for index, duration in enumerate(durations_s):
        rng = np.random.default_rng((seed, _VIEWS, index))
        kinds, places, drops = rng.random((3, count))
        ratio = max(duration / SHORTEST_PREFIX, 1.0)
        drawn.append(
            [
                View(_prefix(kind, place, ratio), bool(drop < NO_ALTITUDE_SHARE))
                for kind, place, drop in zip(kinds, places, drops, strict=True)
            ]
        )
    return drawn


def _prefix(kind: float, place: float, ratio: float) -> float:
    if kind < BLIND_SHARE:
        return 0.0
    if kind < BLIND_SHARE + FULL_SHARE:
        return math.inf
    return float(SHORTEST_PREFIX * ratio**place)


class TrainingViews:
    """Epoch e is one pass over every workout in its view (e - 1) mod 8, in an order drawn from (seed, e)."""

    def __init__(self, workouts: Sequence[ScaledWorkout], contract: FeatureContract, seed: int, batch_size: int):
        self._sequences = features_of(workouts, contract)
        self._views = draw_views([_duration(workout.gridded) for workout in workouts], seed)
        self._seed, self._batch_size = seed, batch_size
        self.workouts = len({sequence.workout for sequence in self._sequences})

    def __len__(self) -> int:
        return math.ceil(len(self._sequences) / self._batch_size)

    def batches(self, epoch: int) -> Iterator[Batch]:
        """Give one pass over every workout, each in one view."""
        view = (epoch - 1) % VIEWS_PER_WORKOUT
        for places in self._draw_batches(np.random.default_rng((self._seed, _ORDER, epoch))):
            chosen = [self._sequences[place] for place in places]
            yield assemble([(sequence, self._views[sequence.workout][view]) for sequence in chosen], "train")

    def _draw_batches(self, rng: Generator) -> list[NDArray[np.int64]]:
        """Random batches of similar lengths: sorted within a stretch of them, so that little padding is computed.

        A stretch is an eighth of the epoch at most: with few batches nothing is sorted and all are as random as can be.
        """
        order = rng.permutation(len(self._sequences))
        stretch = self._batch_size * min(max(len(self) // 8, 1), LONGEST_STRETCH)
        if stretch > self._batch_size:
            lengths = np.array([len(sequence.mask) for sequence in self._sequences])
            parts = [order[start : start + stretch] for start in range(0, len(order), stretch)]
            order = np.concatenate([part[np.argsort(lengths[part], kind="stable")] for part in parts])
        batches = [order[start : start + self._batch_size] for start in range(0, len(order), self._batch_size)]
        return batches if stretch == self._batch_size else [batches[place] for place in rng.permutation(len(batches))]


class FixedViews:
    """The same batches in every epoch. Their keys must differ wherever their inputs do."""

    def __init__(self, batches: Sequence[Batch]):
        self._batches = list(batches)
        self.workouts = len({(key.part, key.workout) for batch in self._batches for key in batch.keys})

    def __len__(self) -> int:
        return len(self._batches)

    def batches(self, epoch: int = 1) -> Iterator[Batch]:
        """Give the same batches in every epoch."""
        return iter(self._batches)


class ValidationViews(FixedViews):
    """Every workout blind and with 180 s observed, in the same batches each time."""

    def __init__(self, workouts: Sequence[ScaledWorkout], contract: FeatureContract, batch_size: int = 32):
        super().__init__(list(_scored(features_of(workouts, contract), batch_size, "val")))


def _duration(gridded: GriddedWorkout) -> float:
    first, last = gridded.segments[0], gridded.segments[-1]
    return (last.first_step + last.steps - first.first_step) * STEP_SECONDS


def _scored(sequences: list[SegmentFeatures], batch_size: int, part: Part) -> Iterator[Batch]:
    longest_first = sorted(sequences, key=lambda sequence: -len(sequence.mask))
    items = [(sequence, view) for sequence in longest_first for view in SCORED_VIEWS]
    for start in range(0, len(items), batch_size):
        yield assemble(items[start : start + batch_size], part)
