"""Fits the bands: weighted quantiles of a model's own residuals, of one person or of a population.

Conformal beyond exchangeability (Barber et al. 2023, https://arxiv.org/abs/2202.13415): a model's bands for its next
workout are weighted quantiles of its absolute residuals on earlier workouts, newer ones heavier, beside a prior from
other people. Steps of one workout share that day's offset, so the unit is the workout, not the step.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrmodel.personal.bands import DEFAULT_INTERVALS, REGIMES, STORED_COVERAGES, Intervals, widths_in
from hrmodel.workouts.workout import Array

# One workout: regime -> its steps' lead times in minutes and residuals in bpm, both (n,); signs and NaN are ignored.
Residuals = dict[str, tuple[Array, Array]]

EDGES = (1.0, 3.0, 10.0, 30.0)  # min: where the bins of residuals end; the last has no end
LEAD_MINUTES = (0.5, 2.0, 6.0, 17.0, 45.0)  # min: the bins' middles; half widths are linear between them

# Chosen on 23 people, without the test workouts of those with a personal model, by quantile loss and coverage of the 80
# % and 90 % bands. The loss is flat around here (FORGETTING 0.85..0.98, PRIOR_WORKOUTS 2..10: within 0.5 %); a smaller
# FORGETTING brings the people's coverages closer together. A factor on the widths that follows the coverage (adaptive
# conformal inference) cost 0.5 to 2 %. NEXT_WORKOUT came last, after a first look at the tests; its size is from the
# others.
FORGETTING = 0.9  # weight of a workout relative to the next workout
WINDOW = 50  # workouts: older ones weigh less than 0.9^50 = 0.5 % and are not read
PRIOR_WORKOUTS = 5.0  # the weight of the prior's shape, in new workouts
SCALE_WORKOUTS = 1.0  # ... and of its scale, which a person's first workouts determine sooner
NEXT_WORKOUT = 0.1  # weight of the workout to come, at infinity; 1 guarantees whole workouts, and is far too wide
_PROBABILITIES = (np.arange(200) + 0.5) / 200  # where a prior's quantile function is read


@dataclass(frozen=True, kw_only=True, eq=False)
class _Pool:
    """The absolute residuals of n workouts in one regime, N steps in all."""

    values: Array  # (N,) bpm
    workout: NDArray[np.int64]  # (N,) 0..n-1
    bin: NDArray[np.int64]  # (N,) of lead time
    counts: NDArray[np.int64]  # (n, bins) steps

    def shared(self, weights: Array) -> Array:
        """(n, bins) weights of the workouts in each bin -> (N,): each spread over its workout's steps there."""
        shares: Array = (weights / np.maximum(self.counts, 1))[self.workout, self.bin]
        return shares

    def by_value(self) -> "_Pool":
        """The same, the values ascending: sorting a part of them again takes one pass."""
        return self._steps(np.argsort(self.values, kind="stable"), self.counts)

    def between(self, first: int, end: int) -> "_Pool":
        """The workouts first .. end - 1 alone."""
        pool = self._steps((self.workout >= first) & (self.workout < end), self.counts[first:end])
        return replace(pool, workout=pool.workout - first)

    def _steps(self, which: NDArray[Any], counts: NDArray[np.int64]) -> "_Pool":
        return _Pool(values=self.values[which], workout=self.workout[which], bin=self.bin[which], counts=counts)


def personal_intervals(prior: Intervals, past: Sequence[Residuals]) -> Intervals:
    """Bands for the workout after `past` (time order), each predicted as it was or would have been served.

    Per regime and bin of lead time: quantiles of the past workouts' absolute residuals, weight 0.9^age each, spread
    over its steps there, and of the prior's, weight 5 workouts, rescaled by s = (1 + sum w r) / (1 + sum w), where r is
    a workout's sum of absolute residuals / the sum of the prior's means at the same lead times. So where no workout has
    a step the band is about s times the prior's, and without any workout it is the prior.
    """
    (intervals,) = rolling_intervals(prior, past, [len(past)])
    return intervals


def rolling_intervals(prior: Intervals, past: Sequence[Residuals], counts: Sequence[int]) -> Iterator[Intervals]:
    """`personal_intervals` of the first so many workouts of `past`, for each of `counts`; residuals are sorted once."""
    pools = {regime: _pooled(past, regime).by_value() for regime in REGIMES}
    for count in counts:
        rows: Intervals = {"levels": list(STORED_COVERAGES), "minutes": list(LEAD_MINUTES)}
        for regime, pool in pools.items():
            rows[regime] = _personal_rows(_draws(prior, regime), pool.between(max(0, count - WINDOW), count))
        yield rows if count else prior


def _personal_rows(draws: Array, pool: _Pool) -> list[list[float]]:
    """One row of quantiles for each bin of lead time, of `draws` (bins, 200) from the prior and a pool by value."""
    weights = FORGETTING ** np.arange(len(pool.counts), dtype=np.float64)[::-1]
    prior_weights = np.full(len(_PROBABILITIES), PRIOR_WORKOUTS / len(_PROBABILITIES))
    draws = draws * _scale(draws.mean(axis=1), pool, weights)
    shares = pool.shared(np.repeat(weights[:, None], len(LEAD_MINUTES), axis=1))
    rows = []
    for number, prior_values in enumerate(draws):
        inside = pool.bin == number
        values = np.append(prior_values, pool.values[inside])
        rows.append(_quantiles(values, np.append(prior_weights, shares[inside]), beyond=NEXT_WORKOUT))
    return rows


def population_intervals(people: Iterable[Sequence[Residuals]], fallback: Intervals = DEFAULT_INTERVALS) -> Intervals:
    """The prior: quantiles of many people's absolute residuals. People weigh equally, so do the workouts of each.

    Bins that no workout reached are the fallback's.
    """
    owned = [(person, workout) for person, workouts in enumerate(people) for workout in workouts]
    person = np.array([person for person, _ in owned], dtype=np.int64)
    rows: Intervals = {"levels": list(STORED_COVERAGES), "minutes": list(LEAD_MINUTES)}
    for regime in REGIMES:
        pool = _pooled([workout for _, workout in owned], regime)
        reached = (pool.counts > 0).astype(np.float64)
        per_person = np.array([reached[person == own].sum(axis=0) for own in person]).reshape(reached.shape)
        shares = pool.shared(reached / np.maximum(per_person, 1.0))
        rows[regime] = _table(fallback, regime).tolist()
        for number in np.unique(pool.bin):
            inside = pool.bin == number
            rows[regime][number] = _quantiles(pool.values[inside], shares[inside])
    return rows


def _table(intervals: Intervals, regime: str) -> Array:
    """(bins, coverages) half widths in bpm at our LEAD_MINUTES and STORED_COVERAGES."""
    lead_minutes = np.array(LEAD_MINUTES)
    return np.column_stack([widths_in(regime, intervals, coverage, lead_minutes) for coverage in STORED_COVERAGES])


def _draws(prior: Intervals, regime: str) -> Array:
    """(bins, 200) absolute residuals in bpm with the prior's quantiles; linear to 0 below its lowest coverage."""
    table = _table(prior, regime)
    return np.stack([np.interp(_PROBABILITIES, [0.0, *STORED_COVERAGES], [0.0, *row]) for row in table])


def _pooled(workouts: Sequence[Residuals], regime: str) -> _Pool:
    residuals = [workout.get(regime, (np.empty(0), np.empty(0))) for workout in workouts]
    lead_minutes = np.concatenate([np.empty(0), *(minutes for minutes, _ in residuals)])
    values = np.abs(np.concatenate([np.empty(0), *(values for _, values in residuals)]))
    workout = np.repeat(np.arange(len(residuals)), [len(values) for _, values in residuals])
    finite, bins = np.isfinite(values), len(LEAD_MINUTES)
    own, number = workout[finite], np.searchsorted(EDGES, lead_minutes[finite], side="right")
    counts = np.bincount(own * bins + number, minlength=len(residuals) * bins).reshape(-1, bins)
    return _Pool(values=values[finite], workout=own, bin=number, counts=counts)


def _scale(means: Array, pool: _Pool, weights: Array) -> float:
    """The person's absolute residuals as a multiple of the prior's; `means` (bins,) bpm are the prior's."""
    expected: Array = pool.counts @ means  # (n,) bpm, summed over a workout's steps
    observed = np.bincount(pool.workout, weights=pool.values, minlength=len(expected))
    comparable = expected > 0
    ratios, own = observed[comparable] / expected[comparable], weights[comparable]
    return float((SCALE_WORKOUTS + own @ ratios) / (SCALE_WORKOUTS + own.sum()))


def _quantiles(values: Array, weights: Array, beyond: float = 0.0) -> list[float]:
    """Weighted quantiles at STORED_COVERAGES in bpm, at most the maximum; the weight `beyond` lies above all values."""
    order = np.argsort(values, kind="stable")
    below = np.cumsum(weights[order])
    targets = np.array(STORED_COVERAGES) * (below[-1] + beyond) * (1 - 1e-12)  # 1e-12: rounding errors of the sums
    places = np.minimum(np.searchsorted(below, targets), len(order) - 1)
    return [round(float(value), 3) for value in values[order][places]]
