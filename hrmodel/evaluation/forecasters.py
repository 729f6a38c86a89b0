"""Forecasters: the network and the baselines answer the same tasks, with a person's state followed the same way."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np

from hrmodel.evaluation.metrics import Scored
from hrmodel.evaluation.protocols import Task
from hrmodel.network.whitening import Whitening
from hrmodel.personal.bands import Intervals, half_widths
from hrmodel.personal.response import NAMES, Response, response_features
from hrmodel.personal.state import BlindForecaster, BlindTerms, PersonState, in_time
from hrmodel.prediction.formula import HIGHEST, LOWEST, StepPrediction
from hrmodel.prediction.predictor import Predictor
from hrmodel.prediction.prepared import ObservedView, StepQuery
from hrmodel.signals.features import Features
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
    """One prediction of a workout's S steps; of a task with a horizon only the scored steps count."""

    heart_rate: Array  # (S,) bpm
    half_width: Mapping[str, Array] = field(default_factory=dict)  # by coverage, (S,) bpm; baselines have none


@dataclass(frozen=True, kw_only=True, eq=False)
class Question:
    """One workout, what is known of the person right before it, and the tasks to answer."""

    workout: GriddedWorkout
    response: Response
    intervals: Intervals | None  # the person's own bands; None: the forecaster's
    tasks: Sequence[Task]

    @staticmethod
    def of(workout: GriddedWorkout, state: PersonState, tasks: Sequence[Task]) -> "Question":
        """With what a state says right before the workout."""
        response = state.before(workout.started_at).response
        return Question(workout=workout, response=response, intervals=state.intervals, tasks=tasks)


class Forecaster(BlindForecaster, Protocol):
    """Predicts workouts blind and after observed heart rate, under a person's state."""

    def answers(self, questions: Iterable[Question]) -> Iterator[list[Answer]]:
        """For each question one answer per task; many are computed at once.

        No step sees its own or a later heart rate, nor of a task that of its last `horizon - 1` steps.
        """


@dataclass(frozen=True, kw_only=True, eq=False)
class NetworkForecaster:
    """A checkpoint as it would serve this subject. A person without a level has no response either."""

    predictor: Predictor
    level: SubjectScale | None

    @property
    def size(self) -> int:
        """All of the response's weights, where there is a level."""
        own = len(NAMES) + (0 if self._whitening is None else len(self._whitening.mean))
        return 0 if self._scale is None else own

    def blind_terms(self, workouts: Iterable[GriddedWorkout]) -> Iterator[BlindTerms]:
        """See `BlindForecaster`."""
        ordered = list(workouts)
        outputs = self.predictor.blind_outputs(ordered, self.level)
        for workout, (scale, network, hidden) in zip(ordered, outputs, strict=True):
            rest = scale.heart_rate + scale.spread * network
            yield BlindTerms(features=self._features(workout, scale, hidden), rest=rest, bounds=(LOWEST, HIGHEST))

    def answers(self, questions: Iterable[Question]) -> Iterator[list[Answer]]:
        """Predictions with their bands at `COVERAGES`."""
        ordered = list(questions)
        for question, steps in zip(ordered, self.predictor.predict_steps(map(self._query, ordered)), strict=True):
            yield [self._banded(step, question.intervals) for step in steps]

    def _query(self, question: Question) -> StepQuery:
        views = [ObservedView(heart_rate=task.view, horizon=task.horizon) for task in question.tasks]
        response = question.response if self.size else None
        return StepQuery(gridded=question.workout, views=views, level=self.level, response=response)

    def _features(self, workout: GriddedWorkout, scale: SubjectScale, hidden: Features) -> Array:
        """(S, F) of the response, then of the last layer where a person's weights of it are followed."""
        features, whitening = response_features(workout, scale, self.predictor.checkpoint.contract), self._whitening
        return features if whitening is None else np.hstack([features, whitening.features(hidden)])

    @property
    def _whitening(self) -> Whitening | None:
        return self.predictor.checkpoint.last_layer

    @property
    def _scale(self) -> SubjectScale | None:
        return self.level or self.predictor.checkpoint.level

    def _banded(self, steps: StepPrediction, intervals: Intervals | None) -> Answer:
        intervals = intervals or self.predictor.intervals
        widths = {str(c): half_widths(intervals, steps.regimes, c, steps.lead_minutes) for c in COVERAGES}
        return Answer(heart_rate=steps.heart_rate, half_width=widths)


def score(forecaster: Forecaster, questions: Iterable[Question], max_heart_rate: float) -> Iterator[list[Scored]]:
    """For each question its answers beside the truth, task by task."""
    ordered = list(questions)
    for question, answers in zip(ordered, forecaster.answers(ordered), strict=True):
        truth = measured_heart_rate(question.workout)
        yield [
            Scored(
                prediction=answer.heart_rate,
                truth=truth,
                mask=task.scored,
                max_heart_rate=max_heart_rate,
                half_width=answer.half_width,
            )
            for answer, task in zip(answers, question.tasks, strict=True)
        ]
