"""Forecasters: the network and the baselines answer the same tasks, with a person's state followed the same way."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from hrmodel.evaluation.metrics import Scored
from hrmodel.evaluation.protocols import Task
from hrmodel.personal.bands import half_widths
from hrmodel.personal.response import NAMES, response_features
from hrmodel.personal.state import BlindForecaster, PersonState, in_time, no_progress
from hrmodel.prediction.formula import StepPrediction
from hrmodel.prediction.predictor import Predictor
from hrmodel.signals.grid import GriddedWorkout
from hrmodel.signals.scale import SubjectScale
from hrmodel.signals.steps import measured_heart_rate
from hrmodel.workouts.workout import Array

State = TypeVar("State")
COVERAGES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


@dataclass(frozen=True, kw_only=True, eq=False)
class EvaluationData:
    """One subject's workouts, each list in time order, and the static scale (None: people never seen before)."""

    train: Sequence[GriddedWorkout]
    val: Sequence[GriddedWorkout]
    test: Sequence[GriddedWorkout]
    level: SubjectScale | None

    @property
    def workouts(self) -> list[GriddedWorkout]:
        """All of them in time order. After later uploads it is not that of the splits."""
        return in_time([*self.train, *self.val, *self.test])

    def before_tests(self, states: Sequence[State]) -> list[State]:
        """Of the states before each of `workouts` and after all: the state before each test workout, and the last."""
        tests = {id(workout) for workout in self.test}
        before = [state for workout, state in zip(self.workouts, states, strict=False) if id(workout) in tests]
        return [*before, *states[len(self.workouts) :]]

    @property
    def max_heart_rate(self) -> float:
        """The highest step in training and validation, bpm; NaN without any."""
        steps = np.concatenate([np.empty(0), *(measured_heart_rate(w) for w in (*self.train, *self.val))])
        return float(np.nanmax(steps)) if np.isfinite(steps).any() else float("nan")


@dataclass(frozen=True, kw_only=True, eq=False)
class Answer:
    """One prediction of a workout: of its S steps, or of O target steps."""

    heart_rate: Array  # (S,) or (O,) bpm
    half_width: Mapping[str, Array] = field(default_factory=dict)  # by coverage, as long, bpm; baselines have none


class Forecaster(BlindForecaster, Protocol):
    """Predicts workouts blind and after observed heart rate, under a person's state."""

    def answers(self, workout: GriddedWorkout, views: Sequence[Array], state: PersonState) -> list[Answer]:
        """One answer per view, (S,) bpm with NaN where not observed. No step sees its own or a later heart rate."""

    def ahead(self, workout: GriddedWorkout, task: Task, state: PersonState) -> Answer:
        """The O scored steps of the task, each from the view's values at least `task.horizon` steps before it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class NetworkForecaster:
    """A checkpoint as it would serve this subject. A person without a level has no response either."""

    predictor: Predictor
    level: SubjectScale | None

    @property
    def size(self) -> int:
        """All of the response's weights, where there is a level."""
        return 0 if self._scale is None else len(NAMES)

    def features(self, workout: GriddedWorkout) -> Array:
        """The response's features, where there is a level."""
        if self._scale is None:
            return np.empty((len(measured_heart_rate(workout)), 0))
        return response_features(workout, self._scale, self.predictor.checkpoint.contract)

    def predict_blind(self, workout: GriddedWorkout, state: PersonState) -> Array:
        """(S,) bpm."""
        blind = np.full(len(measured_heart_rate(workout)), np.nan)
        return self.predictor.predict_steps(workout, [blind], level=self.level, response=state.response)[0].heart_rate

    def answers(self, workout: GriddedWorkout, views: Sequence[Array], state: PersonState) -> list[Answer]:
        """Predictions with their bands at `COVERAGES`."""
        predicted = self.predictor.predict_steps(workout, views, level=self.level, response=state.response)
        return [self._banded(steps, state) for steps in predicted]

    def ahead(self, workout: GriddedWorkout, task: Task, state: PersonState) -> Answer:
        """The same for one task's scored steps, in one pass however many they are."""
        targets = np.flatnonzero(task.scored)
        steps = self.predictor.predict_ahead(
            workout, task.view, targets, task.horizon, level=self.level, response=state.response
        )
        return self._banded(steps, state)

    @property
    def _scale(self) -> SubjectScale | None:
        return self.level or self.predictor.checkpoint.level

    def _banded(self, steps: StepPrediction, state: PersonState) -> Answer:
        intervals = state.intervals or self.predictor.intervals
        widths = {str(c): half_widths(intervals, steps.regimes, c, steps.lead_minutes) for c in COVERAGES}
        return Answer(heart_rate=steps.heart_rate, half_width=widths)


def score(
    forecaster: Forecaster,
    workout: GriddedWorkout,
    tasks: Sequence[Task],
    *,
    state: PersonState,
    max_heart_rate: float,
    on_task: Callable[[], None] = no_progress,
) -> list[Scored]:
    """Answer every task of one workout, in order; tasks without a horizon share their passes. `on_task` is called
    before each.
    """  # fmt: skip
    truth = measured_heart_rate(workout)
    together = iter(forecaster.answers(workout, [task.view for task in tasks if task.horizon == 1], state))
    scored = []
    for task in tasks:
        on_task()
        if task.horizon == 1:
            scored.append(_scored(next(together), truth, task.scored, max_heart_rate))
        else:
            answer = forecaster.ahead(workout, task, state)
            scored.append(_scored(answer, truth[task.scored], None, max_heart_rate))
    return scored


def _scored(answer: Answer, truth: Array, mask: NDArray[np.bool_] | None, max_heart_rate: float) -> Scored:
    """`mask` None: all steps of the answer count."""
    return Scored(
        prediction=answer.heart_rate,
        truth=truth,
        mask=np.ones(len(truth), dtype=bool) if mask is None else mask,
        max_heart_rate=max_heart_rate,
        half_width=answer.half_width,
    )
