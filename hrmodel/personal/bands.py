"""Bands around a prediction: half widths in bpm by what is known and for how long nothing was observed.

Conformal beyond exchangeability (Barber et al. 2023, https://arxiv.org/abs/2202.13415): a model's bands for its next
workout are weighted quantiles of its absolute residuals on the workouts before, the newer the heavier, beside a prior
from other people. Steps of one workout share that day's offset, so what counts is workouts, not steps.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrmodel.workouts.workout import Array

# JSON-ready: "levels", "minutes" and per kind one row of half widths (bpm, by level) for each of the minutes.
# A kind may hold one row alone (as before bands knew minutes): it counts at any minute.
Intervals = dict[str, list[Any]]
# One workout: kind -> its steps' minutes and residuals in bpm, both (n,); the residuals' signs and NaN are ignored.
# Minutes: since the last observed heart rate, or since the workout's start when none was.
Residuals = dict[str, tuple[Array, Array]]

KINDS = ("blind", "forecast_60", "forecast_180", "forecast_600", "nowcast")
BLIND, NOWCAST = KINDS.index("blind"), KINDS.index("nowcast")
LEVELS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.99)
MIN_COVERAGE, MAX_COVERAGE = LEVELS[0], LEVELS[-1]
EDGES = (1.0, 3.0, 10.0, 30.0)  # min: where the bins of residuals end; the last has no end
MINUTES = (0.5, 2.0, 6.0, 17.0, 45.0)  # min: the bins' middles; half widths are linear between them

# Chosen on 23 people, without the personal ones' test workouts, by quantile loss and coverage of the 80 % and 90 %
# bands. The loss is flat around here (MEMORY 0.85..0.98, PRIOR_WORKOUTS 2..10: within 0.5 %); a shorter memory brings
# the people's coverages closer together. A factor on the widths that follows the coverage (adaptive conformal
# inference) cost 0.5 to 2 %. NEXT_WORKOUT came last, after a first look at the tests; its size is from the others.
MEMORY = 0.9  # weight of a workout against the one after it
WINDOW = 50  # workouts: older ones weigh less than 0.9^50 = 0.5 % and are not read
PRIOR_WORKOUTS = 5.0  # how many new workouts the prior's shape counts as
SCALE_WORKOUTS = 1.0  # ... and its scale, which a person's first workouts tell apart sooner
NEXT_WORKOUT = 0.1  # weight of the workout to come, at infinity; 1 guarantees whole workouts, and is far too wide
_PLACES = (np.arange(200) + 0.5) / 200  # where a prior's quantile function is read

# Last resort, for a base model that was trained without validation people: Laplace quantiles -MAE ln(1 - q) with round
# errors for a person the model has never seen (blind 12, forecast 8 bpm), on the wide side.
_UNSEEN_MAE = {"blind": 12.0, "forecast_60": 10.0, "forecast_180": 8.5, "forecast_600": 8.0, "nowcast": 3.0}


def _laplace_rows() -> Intervals:
    rows = {kind: [round(-mae * math.log(1 - q), 2) for q in LEVELS] for kind, mae in _UNSEEN_MAE.items()}
    return {"levels": list(LEVELS)} | rows


DEFAULT_INTERVALS = _laplace_rows()


@dataclass(frozen=True, kw_only=True, eq=False)
class _Pool:
    """The absolute residuals of n workouts in one kind, N steps in all."""

    values: Array  # (N,) bpm
    workout: NDArray[np.int64]  # (N,) 0..n-1
    bin: NDArray[np.int64]  # (N,) of minutes
    counts: NDArray[np.int64]  # (n, bins) steps

    def shared(self, weights: Array) -> Array:
        """(n, bins) weights of the workouts in each bin -> (N,): each spread over its workout's steps there."""
        shares: Array = (weights / np.maximum(self.counts, 1))[self.workout, self.bin]
        return shares


def personal_intervals(prior: Intervals, past: Sequence[Residuals]) -> Intervals:
    """Bands for the workout after `past` (time order), each predicted as it was or would have been served.

    Per kind and bin of minutes: quantiles of the past workouts' absolute residuals, weight 0.9^age each, spread over
    its steps there, and of the prior's, weight 5 workouts, rescaled by s = (1 + sum w r) / (1 + sum w), where r is a
    workout's sum of absolute residuals / the sum of the prior's means at the same minutes. So where no workout has a
    step the band is about s times the prior's, and without any workout it is the prior.
    """
    recent = past[-WINDOW:]
    if not recent:
        return prior
    weights = MEMORY ** np.arange(len(recent), dtype=np.float64)[::-1]
    prior_weights = np.full(len(_PLACES), PRIOR_WORKOUTS / len(_PLACES))
    rows: Intervals = {"levels": list(LEVELS), "minutes": list(MINUTES)}
    for kind in KINDS:
        pool, draws = _pooled(recent, kind), _draws(prior, kind)
        draws *= _scale(draws.mean(axis=1), pool, weights)
        shares = pool.shared(np.repeat(weights[:, None], len(MINUTES), axis=1))
        rows[kind] = []
        for b, other in enumerate(draws):
            here = pool.bin == b
            values, shared = np.append(other, pool.values[here]), np.append(prior_weights, shares[here])
            rows[kind].append(_quantiles(values, shared, beyond=NEXT_WORKOUT))
    return rows


def population_intervals(people: Iterable[Sequence[Residuals]], fallback: Intervals = DEFAULT_INTERVALS) -> Intervals:
    """The prior: quantiles of many people's absolute residuals. People weigh equally, so do the workouts of each.

    Bins that nobody reached are the fallback's.
    """
    owned = [(person, workout) for person, theirs in enumerate(people) for workout in theirs]
    person = np.array([person for person, _ in owned], dtype=np.int64)
    rows: Intervals = {"levels": list(LEVELS), "minutes": list(MINUTES)}
    for kind in KINDS:
        pool = _pooled([workout for _, workout in owned], kind)
        reached = (pool.counts > 0).astype(np.float64)
        theirs = np.array([reached[person == own].sum(axis=0) for own in person]).reshape(reached.shape)
        shares = pool.shared(reached / np.maximum(theirs, 1.0))
        rows[kind] = _table(fallback, kind).tolist()
        for b in np.unique(pool.bin):
            here = pool.bin == b
            rows[kind][b] = _quantiles(pool.values[here], shares[here])
    return rows


def half_widths(intervals: Intervals, kinds: NDArray[np.int64], coverage: float, minutes: Array) -> Array:
    """(S,) half widths in bpm, linear between the stored levels and minutes. Raises ValueError outside 0.5..0.99.

    `kinds` (S,): index into KINDS; `minutes` (S,): as in Residuals.
    """
    if not MIN_COVERAGE <= coverage <= MAX_COVERAGE:
        raise ValueError(f"coverage must be within {MIN_COVERAGE}..{MAX_COVERAGE}, not {coverage}")
    if len(kinds) and (kinds[0] == kinds).all():
        return _widths(intervals, KINDS[kinds[0]], coverage, minutes)
    widths = np.empty(len(kinds))
    for kind in np.flatnonzero(np.bincount(kinds)):
        here = kinds == kind
        widths[here] = _widths(intervals, KINDS[kind], coverage, minutes[here])
    return widths


def half_width(intervals: Intervals, kind: str, coverage: float, minutes: float = 0.0) -> float:
    """Half width in bpm of one step. Raises ValueError outside 0.5..0.99."""
    return float(half_widths(intervals, np.array([KINDS.index(kind)]), coverage, np.array([minutes]))[0])


def _widths(intervals: Intervals, kind: str, coverage: float, minutes: Array) -> Array:
    """(S,) minutes -> (S,) half widths in bpm of one kind."""
    rows = np.atleast_2d(np.array(intervals[kind], dtype=np.float64))
    by_minute = _at(coverage, intervals["levels"], rows)
    if len(rows) == 1:
        return np.full(len(minutes), by_minute[0])
    return np.interp(minutes, intervals["minutes"], by_minute)


def _at(coverage: float, levels: Sequence[float], rows: Array) -> Array:
    """(bins, levels) half widths -> (bins,): what np.interp gives for each row, for all at once."""
    if len(levels) == 1:
        return rows[:, 0]
    above = min(max(bisect_left(levels, coverage), 1), len(levels) - 1)
    low, high = levels[above - 1], levels[above]
    share = min(max((coverage - low) / (high - low), 0.0), 1.0)
    between: Array = rows[:, above - 1] + share * (rows[:, above] - rows[:, above - 1])
    return between


def _table(intervals: Intervals, kind: str) -> Array:
    """(bins, levels) half widths in bpm at our MINUTES and LEVELS."""
    return np.column_stack([_widths(intervals, kind, level, np.array(MINUTES)) for level in LEVELS])


def _draws(prior: Intervals, kind: str) -> Array:
    """(bins, 200) absolute residuals in bpm with the prior's quantiles; linear to 0 below its lowest level."""
    return np.stack([np.interp(_PLACES, [0.0, *LEVELS], [0.0, *row]) for row in _table(prior, kind)])


def _pooled(workouts: Sequence[Residuals], kind: str) -> _Pool:
    parts = [workout.get(kind, (np.empty(0), np.empty(0))) for workout in workouts]
    minutes = np.concatenate([np.empty(0), *(minutes for minutes, _ in parts)])
    values = np.abs(np.concatenate([np.empty(0), *(residuals for _, residuals in parts)]))
    workout = np.repeat(np.arange(len(parts)), [len(residuals) for _, residuals in parts])
    finite = np.isfinite(values)
    own, bins = workout[finite], np.searchsorted(EDGES, minutes[finite], side="right")
    counts = np.bincount(own * len(MINUTES) + bins, minlength=len(parts) * len(MINUTES)).reshape(-1, len(MINUTES))
    return _Pool(values=values[finite], workout=own, bin=bins, counts=counts)


def _scale(means: Array, pool: _Pool, weights: Array) -> float:
    """How many times the prior's the person's absolute residuals are; `means` (bins,) bpm are the prior's."""
    expected: Array = pool.counts @ means  # (n,) bpm, summed over a workout's steps
    observed = np.bincount(pool.workout, weights=pool.values, minlength=len(expected))
    known = expected > 0
    ratios, own = observed[known] / expected[known], weights[known]
    return float((SCALE_WORKOUTS + own @ ratios) / (SCALE_WORKOUTS + own.sum()))


def _quantiles(values: Array, weights: Array, beyond: float = 0.0) -> list[float]:
    """Weighted quantiles at LEVELS in bpm, where the weight `beyond` lies above all values; the highest is the most."""
    order = np.argsort(values, kind="stable")
    below = np.cumsum(weights[order])
    wanted = np.array(LEVELS) * (below[-1] + beyond) * (1 - 1e-12)  # 1e-12: rounding errors of the sums
    places = np.minimum(np.searchsorted(below, wanted), len(order) - 1)
    return [round(float(value), 3) for value in values[order][places]]
