"""The baselines: four predictors without a network, in the same table as the model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hrmodel.evaluation.forecasters import Answer, EvaluationData
from hrmodel.evaluation.protocols import Task
from hrmodel.evaluation.ridge import fit_ridge
from hrmodel.personal.correction import ObservedState, observed_state
from hrmodel.personal.kalman import OFFSET_VARIANCE
from hrmodel.personal.state import PersonState, no_progress
from hrmodel.signals.grid import GriddedWorkout
from hrmodel.signals.steps import elapsed_steps, measured_heart_rate
from hrmodel.workouts.workout import Array

SMOOTH_STEPS = 7
MIN_CURVE_STEPS = 5  # fewer measured steps behind a point of the curve: the last better one is held


@dataclass(frozen=True, kw_only=True, eq=False)
class Baseline:
    """A blind prediction, and its update by observed heart rate."""

    blind: Callable[[GriddedWorkout], Array]  # (S,) bpm
    after: Callable[[Array, ObservedState], Array]  # blind (S,), the filter's state before each step -> (S,) bpm
    offset: bool = False  # whether a state follows the level's offset, its only weight

    @property
    def size(self) -> int:
        """One weight, the level's offset, or none."""
        return int(self.offset)

    def features(self, workout: GriddedWorkout) -> Array:
        """(S, F) ones."""
        return np.ones((len(elapsed_steps(workout)), self.size))

    def predict_blind(self, workout: GriddedWorkout, state: PersonState) -> Array:
        """See `BlindForecaster`."""
        prediction: Array = self.blind(workout) + state.filter.mean.sum()
        return prediction

    def answers(self, workout: GriddedWorkout, views: Sequence[Array], state: PersonState) -> list[Answer]:
        """See `Forecaster`."""
        blind = self.predict_blind(workout, state)
        return [self._answer(workout, blind, view, state) for view in views]

    def ahead(self, workout: GriddedWorkout, task: Task, state: PersonState) -> Answer:
        """See `Forecaster`."""
        blind = self.predict_blind(workout, state)
        every_step = self._answer(workout, blind, task.view, state, task.horizon)
        return Answer(heart_rate=every_step.heart_rate[task.scored])

    def _answer(
        self, workout: GriddedWorkout, blind: Array, view: Array, state: PersonState, horizon: int = 1
    ) -> Answer:
        # without a followed offset its variance stays as before the first workout
        variance = state.filter.variance if self.offset else OFFSET_VARIANCE
        past = observed_state(elapsed_steps(workout), view - blind, variance, horizon)
        return Answer(heart_rate=self.after(blind, past))


def training_mean(data: EvaluationData, on_workout: Callable[[], None] = no_progress) -> Baseline:
    """The mean of the training workouts' means; observations do not change it."""
    mean = mean_heart_rate(data)
    return Baseline(blind=lambda workout: _constant(workout, mean), after=lambda blind, past: blind)


def persistence(data: EvaluationData, on_workout: Callable[[], None] = no_progress) -> Baseline:
    """The last observed value; before any, the training mean."""
    mean = mean_heart_rate(data)
    return Baseline(blind=lambda workout: _constant(workout, mean), after=lambda blind, past: blind + past.residual)


def elapsed_curve(data: EvaluationData, on_workout: Callable[[], None] = no_progress) -> Baseline:
    """Mean training heart rate by elapsed time, smoothed over 70 s, its last well-founded value held.

    Observed heart rate moves it by the network's corrector. No offset is followed: only training data and this workout
    count.
    """
    curve = fit_curve(data)
    return Baseline(
        blind=lambda workout: curve[np.minimum(elapsed_steps(workout), len(curve) - 1)],
        after=lambda blind, past: blind + past.correction,
    )


def ridge(data: EvaluationData, on_workout: Callable[[], None] = no_progress) -> Baseline:
    """Ridge regression on lagged motion, with the followed offset and the network's corrector (it has no free run)."""
    centre = data.level.heart_rate if data.level else mean_heart_rate(data)
    return Baseline(
        blind=fit_ridge(data.train, data.val, centre, on_workout),
        after=lambda blind, past: blind + past.correction,
        offset=data.level is not None,
    )


# `on_workout` is called as the fitting advances
BASELINES: dict[str, Callable[[EvaluationData, Callable[[], None]], Baseline]] = {
    "training_mean": training_mean,
    "elapsed_curve": elapsed_curve,
    "persistence": persistence,
    "ridge": ridge,
}


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


def _constant(workout: GriddedWorkout, value: float) -> Array:
    return np.full(len(elapsed_steps(workout)), value)
