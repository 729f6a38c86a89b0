"""The baselines: four predictors without a network, in the same table as the model."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrmodel.evaluation.forecasters import Answer, EvaluationData, Question
from hrmodel.evaluation.protocols import Task
from hrmodel.evaluation.ridge import RidgeFit, fit_ridge
from hrmodel.personal.correction import ObservedState, observed_state
from hrmodel.personal.kalman import OFFSET_VARIANCE
from hrmodel.personal.state import BlindTerms, no_progress
from hrmodel.signals.grid import GriddedWorkout
from hrmodel.signals.steps import elapsed_steps, measured_heart_rate
from hrmodel.workouts.workout import Array

SMOOTH_STEPS = 7
MIN_CURVE_STEPS = 5  # fewer measured steps behind a point of the curve: the last better one is held


@dataclass(frozen=True, kw_only=True, eq=False)
class Baseline:
    """A blind prediction, and its update by observed heart rate."""

    blind: Callable[[GriddedWorkout], Array]  # (S,) bpm
    # blind (S,), the filter's state before each step -> (S,) bpm; None: observations change nothing
    after: Callable[[Array, ObservedState], Array] | None = None
    offset: bool = False  # whether a state follows the level's offset, its only weight

    @property
    def size(self) -> int:
        """One weight, the level's offset, or none."""
        return int(self.offset)

    def blind_terms(self, workouts: Iterable[GriddedWorkout]) -> Iterator[BlindTerms]:
        """See `BlindForecaster`."""
        for workout in workouts:
            rest = self.blind(workout)
            yield BlindTerms(features=np.ones((len(rest), self.size)), rest=rest)

    def answers(self, questions: Iterable[Question]) -> Iterator[list[Answer]]:
        """See `Forecaster`."""
        for question in questions:
            blind = self.blind(question.workout) + question.response.weights.sum()
            # without a followed offset its variance stays as before the first workout
            variance = question.response.variance if self.offset else OFFSET_VARIANCE
            elapsed = elapsed_steps(question.workout)
            yield [Answer(heart_rate=self._answer(elapsed, blind, variance, task)) for task in question.tasks]

    def _answer(self, elapsed: NDArray[np.int64], blind: Array, variance: float, task: Task) -> Array:
        if self.after is None:
            return blind
        return self.after(blind, observed_state(elapsed, task.view - blind, variance, task.horizon))


@dataclass(frozen=True, kw_only=True, eq=False)
class Constant:
    """Predicts the same at every step."""

    heart_rate: float  # bpm

    def __call__(self, workout: GriddedWorkout) -> Array:
        """(S,) bpm."""
        return np.full(len(elapsed_steps(workout)), self.heart_rate)


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """Predicts by the steps since the start; the last value is held."""

    heart_rate: Array  # (K,) bpm

    def __call__(self, workout: GriddedWorkout) -> Array:
        """(S,) bpm."""
        return self.heart_rate[np.minimum(elapsed_steps(workout), len(self.heart_rate) - 1)]


Blind = Constant | Curve | RidgeFit


def training_mean(data: EvaluationData, on_workout: Callable[[], None] = no_progress) -> Baseline:
    """The mean of the training workouts' means; observations do not change it."""
    return Baseline(blind=Constant(heart_rate=mean_heart_rate(data)))


def persistence(data: EvaluationData, on_workout: Callable[[], None] = no_progress) -> Baseline:
    """The last observed value; before any, the training mean."""
    return Baseline(blind=Constant(heart_rate=mean_heart_rate(data)), after=_last_observed)


def elapsed_curve(data: EvaluationData, on_workout: Callable[[], None] = no_progress) -> Baseline:
    """Mean training heart rate by elapsed time, smoothed over 70 s, its last well-founded value held.

    Observed heart rate moves it by the network's corrector. No offset is followed: only training data and this workout
    count.
    """
    return Baseline(blind=Curve(heart_rate=fit_curve(data)), after=_corrected)


def ridge(data: EvaluationData, on_workout: Callable[[], None] = no_progress) -> Baseline:
    """Ridge regression on lagged motion, with the followed offset and the network's corrector."""
    centre = data.level.heart_rate if data.level else mean_heart_rate(data)
    blind = fit_ridge(data.train, data.val, centre, on_workout)
    return Baseline(blind=blind, after=_corrected, offset=data.level is not None)


def _last_observed(blind: Array, past: ObservedState) -> Array:
    return blind + past.residual


def _corrected(blind: Array, past: ObservedState) -> Array:
    return blind + past.correction


# `on_workout` is called as the fitting advances
BASELINES: dict[str, Callable[[EvaluationData, Callable[[], None]], Baseline]] = {
    "training_mean": training_mean,
    "elapsed_curve": elapsed_curve,
    "persistence": persistence,
    "ridge": ridge,
}


_KINDS: dict[str, tuple[type[Blind], Callable[[Array, ObservedState], Array] | None]] = {
    "training_mean": (Constant, None),
    "elapsed_curve": (Curve, _corrected),
    "persistence": (Constant, _last_observed),
    "ridge": (RidgeFit, _corrected),
}


def restored(name: str, fit: Mapping[str, Array], *, offset: bool) -> Baseline:
    """A fitted baseline from the fields of its `blind` as arrays. Raises KeyError or TypeError for other fields."""
    kind, after = _KINDS[name]
    values: dict[str, Any] = {key: value if value.ndim else value.item() for key, value in fit.items()}
    return Baseline(blind=kind(**values), after=after, offset=offset)


def mean_heart_rate(data: EvaluationData) -> float:
    """Mean of the training workouts' means in bpm; without any, the level's. Raises ValueError with neither."""
    means = np.array([workout.mean_heart_rate for workout in data.train])
    means = means[np.isfinite(means)]
    if len(means):
        return float(means.mean())
    if data.level is None:
        raise ValueError("a training mean needs at least one training workout with heart rate, or a level")
    return data.level.heart_rate


def fit_curve(data: EvaluationData) -> Array:
    """(K,) bpm by step since the start; K >= 1."""
    steps = [(elapsed_steps(workout), measured_heart_rate(workout)) for workout in data.train]
    bins = np.concatenate([np.empty(0, dtype=np.int64), *(b[np.isfinite(h)] for b, h in steps)])
    values = np.concatenate([np.empty(0), *(h[np.isfinite(h)] for _, h in steps)])
    window = np.ones(SMOOTH_STEPS)
    counts = np.convolve(np.bincount(bins, minlength=SMOOTH_STEPS), window, mode="same")
    sums = np.convolve(np.bincount(bins, weights=values, minlength=SMOOTH_STEPS), window, mode="same")
    good = np.flatnonzero(counts >= MIN_CURVE_STEPS)
    if not len(good):
        return np.array([mean_heart_rate(data)])
    nearest = good[np.maximum(np.searchsorted(good, np.arange(good[-1] + 1), side="right") - 1, 0)]
    curve: Array = sums[nearest] / counts[nearest]
    return curve
