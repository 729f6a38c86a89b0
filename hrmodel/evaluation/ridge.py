"""The strongest easy predictor: closed-form ridge regression on lagged speed and climb."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hrmodel.personal.response import segment_means
from hrmodel.signals.contract import FeatureContract
from hrmodel.signals.features import vertical_speed
from hrmodel.signals.grid import STEP_SECONDS, GriddedWorkout
from hrmodel.signals.steps import channel, elapsed_steps, measured_heart_rate, rows_of, segment_begins
from hrmodel.workouts.workout import Array

SPEED_LAGS = tuple(range(13))  # steps
CLIMB_LAGS = (0, 1, 2, 3, 6, 9, 12)
MEMORIES = (30.0, 60.0, 120.0, 300.0, 600.0)  # s, of the running means
PENALTIES = (1.0, 10.0, 100.0, 1e3, 1e4, 1e5)  # tried on validation, in units of one standardised step
WIDTH = len(SPEED_LAGS) + len(CLIMB_LAGS) + 2 * len(MEMORIES) + 3  # F
DEFAULT_PENALTY = 1e3  # without validation workouts
CONTRACT = FeatureContract()


@dataclass(frozen=True, kw_only=True, eq=False)
class RidgeFit:
    """Heart rate as a linear function of the features."""

    centre: float  # bpm
    mean: Array  # (F,) of the features
    weights: Array  # (F,) bpm per unit of a feature

    def __call__(self, workout: GriddedWorkout) -> Array:
        """(S,) bpm."""
        prediction: Array = self.centre + (motion_table(workout) - self.mean) @ self.weights
        return prediction


def fit_ridge(
    train: Sequence[GriddedWorkout],
    val: Sequence[GriddedWorkout],
    centre: float,
    on_workout: Callable[[], None] = lambda: None,
) -> RidgeFit:
    """Fit heart rate minus `centre` (bpm) on `train`; the penalty with the lowest squared error on `val` stays.

    Without a training step all weights are 0. One workout's features at a time are in memory; `on_workout` is called
    after each.
    """
    moments = _Moments()
    for features, target in _tables(train, centre, on_workout):
        moments.add(features, target)
    if not moments.count:
        return RidgeFit(centre=centre, mean=np.zeros(WIDTH), weights=np.zeros(WIDTH))
    mean, base, gram, moment = moments.central()
    deviation = np.sqrt(np.diag(gram) / moments.count)
    deviation[deviation < 1e-9] = 1.0
    gram, moment = gram / np.outer(deviation, deviation), moment / deviation
    fits = {penalty: np.linalg.solve(gram + penalty * np.eye(WIDTH), moment) for penalty in PENALTIES}
    weights = fits[_best_penalty(fits, mean, deviation, base, _tables(val, centre, on_workout))]
    return RidgeFit(centre=centre + base, mean=mean, weights=weights / deviation)


@dataclass
class _Moments:
    """Sums over all steps, of features and target about a point near their means: then differences stay exact."""

    count: int = 0
    point: Array = field(default_factory=lambda: np.zeros(WIDTH + 1))
    sums: Array = field(default_factory=lambda: np.zeros(WIDTH + 1))
    products: Array = field(default_factory=lambda: np.zeros((WIDTH + 1, WIDTH + 1)))

    def add(self, features: Array, target: Array) -> None:
        """(S, F) features, (S,) target in bpm."""
        if not len(target):
            return
        columns = np.column_stack([features, target])
        if not self.count:
            self.point = columns.mean(axis=0)
        columns -= self.point
        self.count += len(target)
        self.sums += columns.sum(axis=0)
        self.products += columns.T @ columns

    def central(self) -> tuple[Array, float, Array, Array]:
        """The means of features (F,) and target; about them the features' products (F, F), and with the target (F,)."""
        mean = self.sums / self.count
        products = self.products - self.count * np.outer(mean, mean)
        mean = mean + self.point
        return mean[:-1], float(mean[-1]), products[:-1, :-1], products[:-1, -1]


def _best_penalty(
    fits: Mapping[float, Array], mean: Array, deviation: Array, base: float, tables: Iterable[tuple[Array, Array]]
) -> float:
    """The penalty with the lowest squared error over all steps; the default without any."""
    columns, errors, steps = np.stack(list(fits.values()), axis=1), np.zeros(len(fits)), 0
    for features, target in tables:
        error = (features - mean) / deviation @ columns + base - target[:, None]
        errors, steps = errors + (error**2).sum(axis=0), steps + len(target)
    return list(fits)[int(np.argmin(errors))] if steps else DEFAULT_PENALTY


def motion_table(workout: GriddedWorkout) -> Array:
    """(S, F) features of all steps; before a segment's start the person stood still."""
    begins = segment_begins(workout)
    speed = _filled(channel(workout, "speed"), begins)
    climb = CONTRACT.vertical_speed_scale * vertical_speed(channel(workout, "altitude"), CONTRACT, begins)
    elapsed = elapsed_steps(workout) * STEP_SECONDS
    distance = np.cumsum(speed)
    table = np.empty((len(speed), WIDTH))
    lagged = [*((speed, lag) for lag in SPEED_LAGS), *((climb, lag) for lag in CLIMB_LAGS)]
    for column, (values, lag) in enumerate(lagged):
        table[:, column] = _lagged(values, lag, begins)
    means = segment_means(rows_of(workout), np.stack([speed, climb]), MEMORIES)
    table[:, len(lagged) : -3] = means.reshape(-1, len(speed)).T
    table[:, -3] = np.log1p(elapsed / 60.0)
    table[:, -2] = elapsed
    table[:, -1] = (distance - (distance - speed)[begins]) * STEP_SECONDS
    return table


def _filled(speed: Array, begins: NDArray[np.int64]) -> Array:
    """(S,) speed, where it is not known the segment's mean, 0 without any."""
    known = np.isfinite(speed)
    if known.all():
        return speed
    counts = np.bincount(begins, weights=known, minlength=len(speed))
    sums = np.bincount(begins[known], weights=speed[known], minlength=len(speed))
    return np.where(known, speed, (sums / np.maximum(counts, 1.0))[begins])


def _lagged(values: Array, lag: int, begins: NDArray[np.int64]) -> Array:
    """(S,) of `lag` steps before, 0 before the segment."""
    if not lag:
        return values
    lagged = np.zeros(len(values))
    lagged[lag:] = np.where(begins[lag:] <= np.arange(len(values) - lag), values[:-lag], 0.0)
    return lagged


def _tables(
    workouts: Sequence[GriddedWorkout], centre: float, on_workout: Callable[[], None]
) -> Iterator[tuple[Array, Array]]:
    """Features and target of the measured steps of each workout."""
    for workout in workouts:
        truth = measured_heart_rate(workout)
        measured = np.isfinite(truth)
        yield motion_table(workout)[measured], truth[measured] - centre
        on_workout()
