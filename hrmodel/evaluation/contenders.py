"""Whatever predicts: the network and the baselines answer the same tasks, under the same tracking."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from hrmodel.evaluation.metrics import Scored
from hrmodel.evaluation.protocols import Task
from hrmodel.personal.bands import Intervals, half_widths
from hrmodel.personal.kalman import Tracking
from hrmodel.personal.response import NAMES, Response, response_features
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
        """Of the states before each of `workouts` and after them all: those before each test workout, and the last."""
        tests = {id(workout) for workout in self.test}
        before = [state for workout, state in zip(self.workouts, states, strict=False) if id(workout) in tests]
        return [*before, *states[len(self.workouts) :]]

    @property
    def max_heart_rate(self) -> float:
        """The highest step in training and validation, bpm; NaN without any."""
        steps = np.concatenate([np.empty(0), *(measured_heart_rate(w) for w in (*self.train, *self.val))])
        return float(np.nanmax(steps)) if np.isfinite(steps).any() else float("nan")


@dataclass(frozen=True, kw_only=True, eq=False)
class Known:
    """What earlier workouts have taught before the next one."""

    tracking: Tracking
    intervals: Intervals | None = None  # None: the contender's own bands, if it has any

    def to_dict(self) -> dict[str, Any] | None:
        """JSON-ready `response` and `intervals`; None where no response is followed."""
        if self.response is None:
            return None
        return {"response": self.response.to_dict(), "intervals": self.intervals}

    @property
    def response(self) -> Response | None:
        """The response for the next workout, where one is followed."""
        return self.tracking.response if len(self.tracking.mean) == len(NAMES) else None


@dataclass(frozen=True, kw_only=True, eq=False)
class Answer:
    """One prediction of a workout: of its S steps, or of the O steps that were asked for."""

    heart_rate: Array  # (S,) or (O,) bpm
    half_width: Mapping[str, Array] = field(default_factory=dict)  # by coverage, as long, bpm; baselines have none


class Contender(Protocol):
    """Predicts workouts."""

    def features(self, workout: GriddedWorkout) -> Array:
        """(S, F) what its tracking follows; F = 0: nothing."""

    def answers(self, workout: GriddedWorkout, views: Sequence[Array], known: Known) -> list[Answer]:
        """One answer per view, (S,) bpm with NaN where not known. No step sees its own or a later heart rate."""

    def ahead(self, workout: GriddedWorkout, task: Task, known: Known) -> Answer:
        """The O scored steps of the task, each with what the view holds `task.horizon` steps before it and earlier."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Network:
    """A checkpoint as it would serve this subject. A person without a level has no tracking either."""

    predictor: Predictor
    level: SubjectScale | None

    def features(self, workout: GriddedWorkout) -> Array:
        """The response's features, where there is a level."""
        level = self.level or self.predictor.checkpoint.level
        if level is None:
            return np.empty((len(measured_heart_rate(workout)), 0))
        return response_features(workout, level, self.predictor.checkpoint.contract)

    def answers(self, workout: GriddedWorkout, views: Sequence[Array], known: Known) -> list[Answer]:
        """Predictions with their bands at `COVERAGES`."""
        predicted = self.predictor.predict_steps(workout, views, level=self.level, response=known.response)
        return [self._banded(steps, known) for steps in predicted]

    def ahead(self, workout: GriddedWorkout, task: Task, known: Known) -> Answer:
        """The same for one task's scored steps, in one pass however many they are."""
        targets = np.flatnonzero(task.scored)
        steps = self.predictor.predict_ahead(
            workout, task.view, targets, task.horizon, level=self.level, response=known.response
        )
        return self._banded(steps, known)

    def _banded(self, steps: StepPrediction, known: Known) -> Answer:
        intervals = known.intervals or self.predictor.intervals
        widths = {str(c): half_widths(intervals, steps.regimes, c, steps.lead_minutes) for c in COVERAGES}
        return Answer(heart_rate=steps.heart_rate, half_width=widths)


def nothing() -> None:
    """Do nothing: the default of `on_workout`."""


def in_time(workouts: Iterable[GriddedWorkout]) -> list[GriddedWorkout]:
    """In the order in which they were done."""
    return sorted(workouts, key=lambda workout: workout.sort_key)


def replay(
    contender: Contender, workouts: Sequence[GriddedWorkout], on_workout: Callable[[], None] = nothing
) -> list[Tracking]:
    """The tracking before each workout, and last the one after them all: n + 1 of them.

    Each workout is predicted blind with the tracking before it, and only then followed; `on_workout` is called after
    each, and may raise.
    """
    trackings: list[Tracking] = []
    for workout in workouts:
        features = contender.features(workout)
        if not trackings:
            trackings.append(Tracking.start(features.shape[1]))
        truth = measured_heart_rate(workout)
        blind = contender.answers(workout, [np.full(len(truth), np.nan)], Known(tracking=trackings[-1]))[0]
        trackings.append(trackings[-1].after(features, truth - blind.heart_rate))
        on_workout()
    return trackings or [Tracking.start(0)]


def score(
    contender: Contender,
    workout: GriddedWorkout,
    tasks: Sequence[Task],
    *,
    known: Known,
    max_heart_rate: float,
    on_task: Callable[[], None] = nothing,
) -> list[Scored]:
    """Answer every task of one workout, in its order; those without a horizon share their passes. `on_task` is called
    before each.
    """  # fmt: skip
    truth = measured_heart_rate(workout)
    together = iter(contender.answers(workout, [task.view for task in tasks if task.horizon == 1], known))
    scored = []
    for task in tasks:
        on_task()
        if task.horizon == 1:
            scored.append(_scored(next(together), truth, task.scored, max_heart_rate))
        else:
            answer = contender.ahead(workout, task, known)
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
