"""Follows a person's response from workout to workout: Kalman filters whose gain is what the person's days deserve.

State: the weights of the response. Between workouts the level's offset goes back towards 0 a little and wanders, the
other weights wander slowly. A workout is one observation of S residuals: heart rate minus what was expected, with a
noise that is one draw for the whole workout (the day) plus noise of its steps, whose neighbours are alike. How much of
a day is its own and how much lasts differs between people: two filters that expect different days run side by side,
and each counts as much as it foresaw the person's last workouts (a mixture; its weights fade, so that habits may
change). Constants were fitted on the people of the population data (ARCHITECTURE.md says what else was tried).
"""

from dataclasses import dataclass, replace

import numpy as np

from hrmodel.personal.response import NAMES, Response
from hrmodel.workouts.workout import Array

OFFSET_VARIANCE = 36.0  # bpm^2: of the offset before the first workout, when a level is known
UNKNOWN_VARIANCE = 225.0  # bpm^2: the same for a person without a level
WEIGHT_VARIANCE = 4.0  # bpm^2: of every other weight before the first workout
OFFSET_KEPT = 0.97  # share of the offset that lasts to the next workout
WEIGHT_WANDER = 0.05  # bpm^2 per workout
WEIGHT_KEPT = (
    1.0 - WEIGHT_WANDER / WEIGHT_VARIANCE
) ** 0.5  # a weight that is never observed stays as unsure as it was
STEP_VARIANCE = 25.0  # bpm^2: of one step about its day
STEPS_ALIKE = 12.0  # so many neighbouring steps say what one alone would
OUTLIER = 3.0  # deviations beyond which a step, or a whole day, counts less (Huber)
MEMORY = 0.98  # of how well a filter foresaw, per workout
MIN_STEPS = 12

NEW = Response(weights=np.zeros(len(NAMES)), variance=OFFSET_VARIANCE)  # a level is known, no workout was followed
UNKNOWN = Response(weights=np.zeros(len(NAMES)), variance=UNKNOWN_VARIANCE)


@dataclass(frozen=True, kw_only=True)
class Days:
    """What a filter expects of a person's days, bpm^2."""

    wander: float  # of the offset, from one workout to the next
    own: float  # of a day's own offset, gone the day after
    before: float = 0.0  # log of how likely such a person is, before any workout


USUAL, RANDOM = Days(wander=4.0, own=16.0), Days(wander=0.3, own=36.0, before=-3.0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Belief:
    """One filter before the next workout."""

    days: Days
    mean: Array  # (F,) bpm
    covariance: Array  # (F, F) bpm^2
    foresaw: float  # log-likelihood of the workouts so far, faded

    def after(self, features: Array, residuals: Array) -> "Belief":
        """The belief after one more workout: (S, F) features, (S,) measured heart rate minus what this one expected."""
        weights = _step_weights(residuals)
        weighted = features * weights[:, None]
        total, sums = weights.sum(), weighted.sum(axis=0)
        # the workout as one number: its mean residual, and how far off that was expected to be
        surprise = weights @ residuals / total
        spread = sums @ self.covariance @ sums / total**2 + self.days.own + 1.0 / total
        outlying = max(surprise**2 / (OUTLIER**2 * spread), 1.0)
        own = self.days.own * outlying
        # information of all steps, the day's own offset integrated out: the inverse of diag(1 / w) + own 11'
        share = own / (1.0 + own * total)
        information = features.T @ weighted - share * np.outer(sums, sums)
        evidence = weighted.T @ residuals - share * sums * (weights @ residuals)
        covariance = np.linalg.inv(np.linalg.inv(self.covariance) + information)
        likelihood = -0.5 * (surprise**2 / (spread * outlying) + np.log(spread))
        return replace(
            self,
            mean=self.mean + covariance @ evidence,
            covariance=(covariance + covariance.T) / 2,
            foresaw=MEMORY * self.foresaw + float(likelihood),
        )

    def next_day(self) -> "Belief":
        """The belief a workout later, before it is seen."""
        kept, wander = np.full(len(self.mean), WEIGHT_KEPT), np.full(len(self.mean), WEIGHT_WANDER)
        kept[0], wander[0] = OFFSET_KEPT, self.days.wander
        covariance = np.outer(kept, kept) * self.covariance + np.diag(wander)
        return replace(self, mean=kept * self.mean, covariance=covariance)


@dataclass(frozen=True, kw_only=True, eq=False)
class Tracking:
    """What is believed about F weights before the next workout; the first is the offset. F = 0 follows nothing."""

    size: int  # F
    beliefs: tuple[Belief, ...]

    @staticmethod
    def start(size: int) -> "Tracking":
        """Before any workout, for `size` weights."""
        variances = np.full(size, WEIGHT_VARIANCE)
        variances[:1] = OFFSET_VARIANCE
        return Tracking(
            size=size,
            beliefs=tuple(
                Belief(days=days, mean=np.zeros(size), covariance=np.diag(variances), foresaw=days.before)
                for days in (USUAL, RANDOM)
            ),
        )

    @property
    def shares(self) -> Array:
        """(H,) how much each filter counts; 1 in sum."""
        foresaw = np.array([belief.foresaw for belief in self.beliefs])
        likelihoods = np.exp(foresaw - foresaw.max())
        shares: Array = likelihoods / likelihoods.sum()
        return shares

    @property
    def mean(self) -> Array:
        """(F,) bpm: the expected weights."""
        mean: Array = self.shares @ np.array([belief.mean for belief in self.beliefs])
        return mean

    @property
    def variance(self) -> float:
        """How unsure the offset is, bpm^2; 0 when nothing is followed."""
        if not self.size:
            return 0.0
        means = np.array([belief.mean[0] for belief in self.beliefs])
        own = np.array([belief.covariance[0, 0] for belief in self.beliefs])
        return float(self.shares @ (own + (means - self.shares @ means) ** 2))

    @property
    def response(self) -> Response:
        """What serves the next workout; it needs all of the response's weights."""
        return Response(weights=self.mean, variance=self.variance)

    def after(self, features: Array, residuals: Array) -> "Tracking":
        """The belief after one more workout.

        (S, F) features, and (S,) heart rate minus the prediction made with `features @ mean`, NaN where not measured.
        With fewer than 12 measured steps the workout says nothing.
        """
        measured = np.isfinite(residuals)
        if measured.sum() < MIN_STEPS or not self.size:
            return self
        seen, common = features[measured], residuals[measured] + features[measured] @ self.mean
        followed = (belief.after(seen, common - seen @ belief.mean).next_day() for belief in self.beliefs)
        return replace(self, beliefs=tuple(followed))


def _step_weights(residuals: Array) -> Array:
    """(S,) how much each step counts, 1 / bpm^2: wild ones less, and all as little as their likeness wants."""
    deviation = max(float(np.median(np.abs(residuals))) * 1.4826, 1.0)  # 1.4826: of a normal variable
    outlying = np.abs(residuals) / (OUTLIER * deviation)
    weights: Array = 1.0 / (STEP_VARIANCE * STEPS_ALIKE * np.maximum(outlying, 1.0))
    return weights
