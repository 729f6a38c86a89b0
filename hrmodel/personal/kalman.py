"""Follows a person's response from workout to workout: two Kalman filters with different noise, mixed by likelihood.

State: the weights of the response. Between workouts the level's offset decays towards 0 a little and walks at random,
the other weights walk slowly. A workout is one observation of S residuals: heart rate minus prediction. Its noise is
one draw for the whole workout (the day) plus noise of the steps, which is autocorrelated. People differ in how much of
a day's offset lasts. So two filters with different noise run side by side, and each is weighted by how likely it made
the person's recent workouts (a static multiple-model estimator, Bar-Shalom, Li and Kirubarajan 2001, section 11.6.2;
the log-likelihoods are discounted, so that habits may change). Constants were fitted on the people of the population
data (docs/explanation/decisions/model.md names the alternatives).
"""

from dataclasses import dataclass, replace

import numpy as np

from hrmodel.personal.response import NAMES, Response
from hrmodel.workouts.workout import Array

OFFSET_VARIANCE = 36.0  # bpm^2: of the offset before the first workout, when a level is known
UNKNOWN_VARIANCE = 225.0  # bpm^2: the same for a person without a level
WEIGHT_VARIANCE = 4.0  # bpm^2: of every other weight before the first workout
OFFSET_KEPT = 0.97  # share of the offset that lasts to the next workout
WEIGHT_PROCESS_NOISE = 0.05  # bpm^2 per workout
# a weight that is never observed keeps its variance
WEIGHT_KEPT = (1.0 - WEIGHT_PROCESS_NOISE / WEIGHT_VARIANCE) ** 0.5
STEP_VARIANCE = 25.0  # bpm^2: of one step about its day
CORRELATED_STEPS = 12.0  # as many neighbouring steps carry the information of one independent step
OUTLIER = 3.0  # deviations beyond which a step, or a whole day, counts less (Huber)
FORGETTING_FACTOR = 0.98  # of a filter's log-likelihood, per workout
MIN_STEPS = 12

NEW = Response(weights=np.zeros(len(NAMES)), variance=OFFSET_VARIANCE)  # a level is known, no workout was followed
UNKNOWN = Response(weights=np.zeros(len(NAMES)), variance=UNKNOWN_VARIANCE)


@dataclass(frozen=True, kw_only=True)
class NoiseModel:
    """How one filter expects a person's days to differ; variances in bpm^2."""

    process: float  # of the offset's walk from one workout to the next
    day: float  # of a day's own offset, which the next day does not share
    log_prior: float = 0.0  # log of how common such people are


PERSISTENT = NoiseModel(process=4.0, day=16.0)  # offsets last from workout to workout
INDEPENDENT = NoiseModel(process=0.3, day=36.0, log_prior=-3.0)  # each day has its own


@dataclass(frozen=True, kw_only=True, eq=False)
class FilterState:
    """One filter before the next workout. F weights, the first is the offset."""

    noise: NoiseModel
    mean: Array  # (F,) bpm
    covariance: Array  # (F, F) bpm^2
    log_likelihood: float  # of the workouts so far, discounted

    def update(self, features: Array, residuals: Array) -> "FilterState":
        """The state after one more workout: (S, F) features, (S,) heart rate minus prediction with `mean` in bpm."""
        weights = _step_weights(residuals)
        weighted = features * weights[:, None]
        total, sums = weights.sum(), weighted.sum(axis=0)
        # the workout as one number: its mean residual, and that number's predicted variance
        innovation = weights @ residuals / total
        variance = sums @ self.covariance @ sums / total**2 + self.noise.day + 1.0 / total
        outlying = max(innovation**2 / (OUTLIER**2 * variance), 1.0)
        day = self.noise.day * outlying
        # information of all steps, the day's own offset integrated out: the inverse of diag(1 / w) + day 11'
        share = day / (1.0 + day * total)
        information = features.T @ weighted - share * np.outer(sums, sums)
        evidence = weighted.T @ residuals - share * sums * (weights @ residuals)
        covariance = np.linalg.inv(np.linalg.inv(self.covariance) + information)
        log_likelihood = -0.5 * (innovation**2 / (variance * outlying) + np.log(variance))
        return replace(
            self,
            mean=self.mean + covariance @ evidence,
            covariance=(covariance + covariance.T) / 2,
            log_likelihood=FORGETTING_FACTOR * self.log_likelihood + float(log_likelihood),
        )

    def predict(self) -> "FilterState":
        """The state one workout later, before that workout is observed."""
        decay, process = np.full(len(self.mean), WEIGHT_KEPT), np.full(len(self.mean), WEIGHT_PROCESS_NOISE)
        decay[0], process[0] = OFFSET_KEPT, self.noise.process
        covariance = np.outer(decay, decay) * self.covariance + np.diag(process)
        return replace(self, mean=decay * self.mean, covariance=covariance)


@dataclass(frozen=True, kw_only=True, eq=False)
class ResponseFilter:
    """F weights before the next workout, as a mixture of filters; the first weight is the offset. F = 0: no weights."""

    size: int  # F
    filters: tuple[FilterState, ...]

    @staticmethod
    def start(size: int) -> "ResponseFilter":
        """Before any workout, for `size` weights."""
        variances = np.full(size, WEIGHT_VARIANCE)
        variances[:1] = OFFSET_VARIANCE
        return ResponseFilter(
            size=size,
            filters=tuple(
                FilterState(
                    noise=noise, mean=np.zeros(size), covariance=np.diag(variances), log_likelihood=noise.log_prior
                )
                for noise in (PERSISTENT, INDEPENDENT)
            ),
        )

    @property
    def probabilities(self) -> Array:
        """(H,) of the filters; they sum to 1."""
        log_likelihoods = np.array([state.log_likelihood for state in self.filters])
        likelihoods = np.exp(log_likelihoods - log_likelihoods.max())
        probabilities: Array = likelihoods / likelihoods.sum()
        return probabilities

    @property
    def mean(self) -> Array:
        """(F,) bpm: the expected weights."""
        mean: Array = self.probabilities @ np.array([state.mean for state in self.filters])
        return mean

    @property
    def variance(self) -> float:
        """Of the offset, bpm^2; 0 without weights."""
        if not self.size:
            return 0.0
        means = np.array([state.mean[0] for state in self.filters])
        variances = np.array([state.covariance[0, 0] for state in self.filters])
        probabilities = self.probabilities
        return float(probabilities @ (variances + (means - probabilities @ means) ** 2))

    @property
    def response(self) -> Response:
        """The response for the next workout; it needs all of the response's weights."""
        return Response(weights=self.mean, variance=self.variance)

    def update(self, features: Array, residuals: Array) -> "ResponseFilter":
        """The mixture after one more workout, ready for the next.

        (S, F) features, and (S,) heart rate minus the prediction made with `features @ mean`, NaN where not measured.
        A workout with fewer than 12 measured steps changes nothing.
        """
        measured = np.isfinite(residuals)
        if measured.sum() < MIN_STEPS or not self.size:
            return self
        seen, common = features[measured], residuals[measured] + features[measured] @ self.mean
        updated = (state.update(seen, common - seen @ state.mean).predict() for state in self.filters)
        return replace(self, filters=tuple(updated))


def _step_weights(residuals: Array) -> Array:
    """(S,) information of each step, 1 / bpm^2: outliers get less; all are scaled down for autocorrelation."""
    deviation = max(float(np.median(np.abs(residuals))) * 1.4826, 1.0)  # 1.4826: of a normal variable
    outlying = np.abs(residuals) / (OUTLIER * deviation)
    weights: Array = 1.0 / (STEP_VARIANCE * CORRELATED_STEPS * np.maximum(outlying, 1.0))
    return weights
