"""Whatever predicts: the network and the baselines answer the same tasks, under the same level tracking."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from hrmodel.evaluation.metrics import Scored
from hrmodel.evaluation.protocols import Task
from hrmodel.prediction.intervals import half_widths
from hrmodel.prediction.predictor import Predictor
from hrmodel.prediction.steps import measured_heart_rate
from hrmodel.signals.grid import GriddedWorkout
from hrmodel.signals.level import Level, track
from hrmodel.workouts.workout import Array

COVERAGES = (0.8, 0.9)
BATCH = 16  # free runs of one workout side by side: more saves no time on a CPU


@dataclass(frozen=True, kw_only=True, eq=False)
class EvaluationData:
    """One subject's workouts, each list in time order, and the static level. Level None: people never seen before."""

    train: Sequence[GriddedWorkout]
    val: Sequence[GriddedWorkout]
    test: Sequence[GriddedWorkout]
    level: Level | None

    @property
    def max_heart_rate(self) -> float:
        """The highest step in training and validation, bpm; NaN without any."""
        steps = np.concatenate([np.empty(0), *(measured_heart_rate(w) for w in (*self.train, *self.val))])
        return float(np.nanmax(steps)) if np.isfinite(steps).any() else float("nan")


@dataclass(frozen=True, kw_only=True, eq=False)
class Answer:
    """One view's prediction of a workout of S steps."""

    heart_rate: Array  # (S,) bpm
    half_width: Mapping[str, Array] = field(default_factory=dict)  # by coverage, (S,) bpm; baselines have none


class Contender(Protocol):
    """Predicts workouts."""

    @property
    def tracked(self) -> bool:
        """Whether its level follows the workouts."""

    def answers(self, workout: GriddedWorkout, views: Sequence[Array], offset: float) -> list[Answer]:
        """One answer per view, (S,) bpm with NaN where not known; `offset` in bpm is added to the level."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Network:
    """A checkpoint as it would serve this subject. A person without a level has no tracking either."""

    predictor: Predictor
    level: Level | None

    @property
    def tracked(self) -> bool:
        """The level is tracked where there is one."""
        return (self.level or self.predictor.checkpoint.level) is not None

    def answers(self, workout: GriddedWorkout, views: Sequence[Array], offset: float) -> list[Answer]:
        """Predictions with their bands at `COVERAGES`."""
        return [
            Answer(
                heart_rate=steps.heart_rate,
                half_width={str(c): half_widths(self.predictor.intervals, steps.kinds, c) for c in COVERAGES},
            )
            for steps in self.predictor.predict_steps(workout, views, level=self.level, offset=offset)
        ]


def replay(contender: Contender, workouts: Sequence[GriddedWorkout], gain: float) -> list[float]:
    """The level's offset before each workout, and last the one after them all: n + 1 numbers in bpm, the first is 0.

    Each workout is predicted blind with the offset before it, then moves it by gain * median residual.
    """
    offsets = [0.0]
    for workout in workouts:
        truth = measured_heart_rate(workout)
        if contender.tracked:
            blind = contender.answers(workout, [np.full(len(truth), np.nan)], offsets[-1])[0].heart_rate
            offsets.append(track(offsets[-1], truth - blind, gain))
        else:
            offsets.append(0.0)
    return offsets


def score(
    contender: Contender, workout: GriddedWorkout, tasks: Sequence[Task], *, offset: float, max_heart_rate: float
) -> list[Scored]:
    """Answer every task of one workout, in its order."""
    truth = measured_heart_rate(workout)
    answers: list[Answer] = []
    for start in range(0, len(tasks), BATCH):
        answers += contender.answers(workout, [task.view for task in tasks[start : start + BATCH]], offset)
    return [
        Scored(
            prediction=answer.heart_rate,
            truth=truth,
            mask=task.scored,
            max_heart_rate=max_heart_rate,
            half_width=answer.half_width,
        )
        for task, answer in zip(tasks, answers, strict=True)
    ]


def pooled(parts: Sequence[Scored]) -> Scored:
    """Several tasks of one workout as one: their scored steps side by side. Raises IndexError for none."""
    levels = parts[0].half_width
    return Scored(
        prediction=np.concatenate([part.prediction[part.mask] for part in parts]),
        truth=np.concatenate([part.truth[part.mask] for part in parts]),
        mask=np.ones(sum(int(part.mask.sum()) for part in parts), dtype=bool),
        max_heart_rate=parts[0].max_heart_rate,
        half_width={c: np.concatenate([part.half_width[c][part.mask] for part in parts]) for c in levels},
    )
