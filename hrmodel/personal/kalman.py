"""Follows a person's response from workout to workout with one Kalman filter.

State: the weights of the response. Between workouts the level's offset decays towards 0 a little and walks at random,
the farther the more days pass; the other weights walk slowly. A workout is one observation of S residuals: heart rate
minus prediction. Its noise is one draw for the whole workout (the day) plus noise of the steps, which is
autocorrelated. The constants were chosen on people of the population's larger data
(docs/explanation/decisions/model.md has the measurements and the alternatives).
"""

import math
from dataclasses import dataclass

import numpy as np

from hrmodel.personal.response import NAMES, Response
from hrmodel.workouts.workout import Array

OFFSET_VARIANCE = 36.0  # bpm^2: of the offset before the first workout, when a level is known
UNKNOWN_VARIANCE = 225.0  # bpm^2: the same for a person without a level
WEIGHT_VARIANCE = 4.0  # bpm^2: of every other weight before the first workout
OFFSET_KEPT = 0.97  # share of the offset that lasts to the next workout
OFFSET_PROCESS_NOISE = 2.0  # bpm^2 per workout, and of the days between two:
DAILY_PROCESS_NOISE = 0.5  # bpm^2 per day at first,
MEMORY_DAYS = 100.0  # ... and at most 50 bpm^2: a person who comes back after years is nearly a new one
WEIGHT_PROCESS_NOISE = 0.05  # bpm^2 per workout
# a weight that is never observed keeps its variance
WEIGHT_KEPT = (1.0 - WEIGHT_PROCESS_NOISE / WEIGHT_VARIANCE) ** 0.5
LAST_LAYER_VARIANCE = 0.05  # bpm^2: of each weight of the network's last layer before the first workout
LAST_LAYER_PROCESS_NOISE = 0.001  # bpm^2 per workout
DAY_VARIANCE = 16.0  # bpm^2: of a day's own offset, which the next day does not share
STEP_VARIANCE = 25.0  # bpm^2: of one step about its day
CORRELATED_STEPS = 12.0  # as many neighbouring steps carry the information of one independent step
OUTLIER = 3.0  # deviations beyond which a step, or a whole day, counts less (Huber)
MIN_STEPS = 12

NEW = Response(weights=np.zeros(len(NAMES)), variance=OFFSET_VARIANCE)  # a level is known, no workout was followed
UNKNOWN = Response(weights=np.zeros(len(NAMES)), variance=UNKNOWN_VARIANCE)


@dataclass(frozen=True, kw_only=True, eq=False)
class ResponseFilter:
    """A normal distribution of F weights: the response's, of which the first is the offset, then the last layer's.

    F = 0: no weights.
    """

    mean: Array  # (F,) bpm
    covariance: Array  # (F, F) bpm^2

    @staticmethod
    def start(size: int) -> "ResponseFilter":
        """Before any workout, for `size` weights."""
        variances = np.full(size, WEIGHT_VARIANCE)
        variances[:1], variances[len(NAMES) :] = OFFSET_VARIANCE, LAST_LAYER_VARIANCE
        return ResponseFilter(mean=np.zeros(size), covariance=np.diag(variances))

    @property
    def size(self) -> int:
        """F."""
        return len(self.mean)

    @property
    def variance(self) -> float:
        """Of the offset, bpm^2; 0 without weights."""
        return float(self.covariance[0, 0]) if self.size else 0.0

    @property
    def response(self) -> Response:
        """The expected weights, and how unsure the offset is."""
        return Response(weights=self.mean, variance=self.variance)

    def predict(self, days: float) -> "ResponseFilter":
        """Before the next workout, which begins so many days after the last; a negative number counts as 0."""
        if not self.size:
            return self
        kept, process = np.full(self.size, WEIGHT_KEPT), np.full(self.size, WEIGHT_PROCESS_NOISE)
        passed = 1.0 - math.exp(-max(days, 0.0) / MEMORY_DAYS)
        kept[len(NAMES) :], process[len(NAMES) :] = 1.0, LAST_LAYER_PROCESS_NOISE
        kept[0], process[0] = OFFSET_KEPT, OFFSET_PROCESS_NOISE + DAILY_PROCESS_NOISE * MEMORY_DAYS * passed
        return ResponseFilter(
            mean=kept * self.mean, covariance=np.outer(kept, kept) * self.covariance + np.diag(process)
        )

    def update(self, features: Array, residuals: Array) -> "ResponseFilter":
        """After a workout that was predicted with this filter.

        (S, F) features, and (S,) heart rate minus the prediction made with `features @ mean`, NaN where not measured.
        A workout with fewer than 12 measured steps changes nothing.
        """
        measured = np.isfinite(residuals)
        if measured.sum() < MIN_STEPS or not self.size:
            return self
        return self._observe(features[measured], residuals[measured])

    def _observe(self, features: Array, residuals: Array) -> "ResponseFilter":
        weights = _step_weights(residuals)
        weighted = features * weights[:, None]
        total, sums = weights.sum(), weighted.sum(axis=0)
        # the workout as one number: its mean residual, and that number's predicted variance
        innovation = weights @ residuals / total
        variance = sums @ self.covariance @ sums / total**2 + DAY_VARIANCE + 1.0 / total
        day = DAY_VARIANCE * max(innovation**2 / (OUTLIER**2 * variance), 1.0)
        # information of all steps, the day's own offset integrated out: the inverse of diag(1 / w) + day 11'
        share = day / (1.0 + day * total)
        information = features.T @ weighted - share * np.outer(sums, sums)
        evidence = weighted.T @ residuals - share * sums * (weights @ residuals)
        covariance = np.linalg.inv(np.linalg.inv(self.covariance) + information)
        return ResponseFilter(mean=self.mean + covariance @ evidence, covariance=(covariance + covariance.T) / 2)


def _step_weights(residuals: Array) -> Array:
    """(S,) information of each step, 1 / bpm^2: outliers get less; all are scaled down for autocorrelation."""
    deviation = max(float(np.median(np.abs(residuals))) * 1.4826, 1.0)  # 1.4826: of a normal variable
    outlying = np.abs(residuals) / (OUTLIER * deviation)
    weights: Array = 1.0 / (STEP_VARIANCE * CORRELATED_STEPS * np.maximum(outlying, 1.0))
    return weights
