"""The search for the fastest speeds under a heart-rate cap, by bisection (plan.py defines a plan)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hrmodel.planning.route import EVEN_METRES, Passage, Route, run, slope_factors
from hrmodel.prediction.predictor import Prediction
from hrmodel.workouts.workout import Array, Workout

Predict = Callable[[Workout], Prediction]  # blind: the workout has no heart rate
MAX_SECONDS = 16 * 3600.0  # of a plan; a try is only evaluated up to here


class Blind(Protocol):
    """Blind heart rates of the many workouts that a search tries."""

    def many(self, workouts: Sequence[Workout]) -> list[Array]:
        """(S,) bpm for each workout."""

    def until(self, workout: Workout, seconds: float) -> Array:
        """(S,) bpm of the steps that begin before `seconds`."""


@dataclass(frozen=True)
class ByPrediction:
    """Tries by whole predictions."""

    predict: Predict

    def many(self, workouts: Sequence[Workout]) -> list[Array]:
        """(S,) bpm for each workout."""
        return [self.predict(workout).heart_rate for workout in workouts]

    def until(self, workout: Workout, seconds: float) -> Array:
        """(S,) bpm of all steps."""
        return self.predict(workout).heart_rate


EFFORTS = 9  # evenly tried from the slowest up: only the first crossing of the cap counts
AT_ONCE = 4  # efforts that are tried together between two of them
PRECISION = 0.02  # m/s, where bisection ends: 3 s per km at an easy pace
FINE_METRES, COARSEST = 20_000.0, 4.0  # longer routes are planned less finely: each try costs more
WARM_UP_SECONDS = 300.0
HEADROOM = 1.15
CARRY_ON_SECONDS = 60.0
TOLERANCE = 0.5  # bpm over the cap that a plan may be
REPAIRS, REPAIR = 8, 0.98


def fastest_speeds(blind: Blind, route: Route, edges: Array, cap: float, *, slowest: float, fastest: float) -> Array:
    """(K,) m/s for the K segments between `edges` (K + 1,) in m, so that the heart rate keeps the cap (bpm).

    Greedy alone would sprint while heart rate still rises and pay for it later. So the same effort everywhere (equal
    energy on slopes, the fastest that keeps the cap all the way) is found first. No segment is faster than that in the
    first 5 minutes, nor ever by more than 15 %. A speed tried in a segment must be possible for one more minute, at
    most at the even effort: a heart rate that still rises at a segment's end would turn the next one into a walk. A
    route of more than 45 km is run at the even effort: trying each segment of hours anew costs more than it gives.
    """
    search = _Search(blind, route, edges, cap, slowest, fastest)
    even = search.even_effort()
    if route.metres > EVEN_METRES or np.sum(search.lengths / even) > HEADROOM * MAX_SECONDS:
        return even  # it takes too long for a plan at any speed
    speeds = even.copy()
    for segment in np.flatnonzero(~search.hopeless).tolist():
        speeds[segment] = search.fastest_in(segment, speeds, even)
    return search.repaired(speeds)


class _Search:
    """Speeds of K segments, tried by predicting the whole route: means over a workout may count in a prediction."""

    def __init__(self, blind: Blind, route: Route, edges: Array, cap: float, slowest: float, fastest: float) -> None:
        self.blind, self.route, self.edges, self.cap = blind, route, edges, cap
        self.slowest, self.fastest = slowest, fastest
        self.lengths = np.diff(edges)
        self.precision = PRECISION * min(max(1.0, route.metres / FINE_METRES), COARSEST)
        self.factors = slope_factors(route.climbs(edges) / self.lengths)
        # (K,) where even the slowest speed is over the cap
        self.hopeless: NDArray[np.bool_] = self._highest(np.full(len(self.lengths), slowest)) > cap

    def even_effort(self) -> Array:
        """(K,) m/s: one effort for the whole route, the fastest that is under the cap wherever that can be."""
        if self.hopeless.all():
            return self._at(self.slowest)
        best = self.slowest
        efforts = np.linspace(self.slowest, self.fastest, EFFORTS)[1:].tolist()
        for begin in range(0, len(efforts), AT_ONCE):
            tried = efforts[begin : begin + AT_ONCE]
            for effort, keeps in zip(tried, self._keep(tried), strict=True):
                if not keeps:
                    return self._at(self._between(best, effort))
                best = effort
        return self._at(best)

    def _between(self, low: float, high: float) -> float:
        """As `_bisect`, several efforts at once."""
        while high - low > self.precision:
            efforts = np.linspace(low, high, AT_ONCE + 2)[1:-1].tolist()
            for below, effort, keeps in zip([low, *efforts], efforts, self._keep(efforts), strict=False):
                if not keeps:
                    low, high = below, effort
                    break
            else:
                low = efforts[-1]
        return low

    def fastest_in(self, segment: int, speeds: Array, even: Array) -> float:
        """The fastest speed (m/s) of a segment, with earlier segments planned; the slowest where none keeps the cap."""
        usual = float(even[segment])
        warm = self._reached(segment, speeds) >= WARM_UP_SECONDS
        top = min(self.fastest, usual * HEADROOM) if warm else usual
        steps = sorted({self.slowest, max(self.slowest, usual / HEADROOM), usual, top}, reverse=True)
        # after the segments before, heart rate may be a little over the cap at any speed
        for limit in (self.cap, self.cap + TOLERANCE):

            def keeps(speed: float, limit: float = limit) -> bool:
                return self._keeps_in(segment, speed, speeds, even, limit)

            for place, speed in enumerate(steps):
                if keeps(speed):
                    return _bisect(keeps, speed, steps[place - 1], self.precision) if place else speed
        return self.slowest

    def repaired(self, speeds: Array) -> Array:
        """Slow down the segments that are over the cap now that the later segments are planned, too."""
        for _ in range(REPAIRS):
            over = (self._highest(speeds) > self.cap + TOLERANCE) & (speeds > self.slowest)
            if not over.any():
                break
            speeds = np.where(over, np.maximum(self.slowest, REPAIR * speeds), speeds)
        return speeds

    def _at(self, effort: float) -> Array:
        speeds: Array = np.clip(effort * self.factors, self.slowest, self.fastest)
        return np.where(self.hopeless, self.slowest, speeds)

    def _keep(self, efforts: Sequence[float]) -> list[bool]:
        """Whether each even effort keeps the cap in all segments in which a speed can."""
        passages = [self._passage(self._at(effort)) for effort in efforts]
        rates = self.blind.many([passage.workout for passage in passages])
        highest = [self._by_segment(passage, rate) for passage, rate in zip(passages, rates, strict=True)]
        return [bool((heart_rates[~self.hopeless] <= self.cap).all()) for heart_rates in highest]

    def _keeps_in(self, segment: int, speed: float, speeds: Array, even: Array, limit: float) -> bool:
        """Whether a speed keeps the limit in the segment and a minute beyond, the rest at the even effort."""
        tried, following = speeds.copy(), segment + 1
        tried[segment] = speed
        begins, ends = self._reached(segment, tried), self._reached(following, tried)
        if following < len(tried) and not self.hopeless[following]:
            tried[following] = max(self.slowest, even[following] * min(1.0, speed / even[segment]))
            ends += CARRY_ON_SECONDS
        passage = self._passage(tried)
        heart_rate = self.blind.until(passage.workout, ends)
        return bool((heart_rate[(passage.t >= begins) & (passage.t < ends)] <= limit).all())

    def _highest(self, speeds: Array) -> Array:
        """(K,) highest heart rate in bpm among the steps that touch each segment."""
        passage = self._passage(speeds)
        return self._by_segment(passage, self.blind.until(passage.workout, np.inf))

    def _by_segment(self, passage: Passage, heart_rate: Array) -> Array:
        highest = np.zeros(len(self.lengths))
        for touched in passage.touched(self.edges):
            np.maximum.at(highest, touched, heart_rate)
        return highest

    def _reached(self, segment: int, speeds: Array) -> float:
        """Seconds until the segment begins."""
        return float(np.sum(self.lengths[:segment] / speeds[:segment]))

    def _passage(self, speeds: Array) -> Passage:
        return run(self.route, self.edges, speeds).first(MAX_SECONDS)


def _bisect(keeps: Callable[[float], bool], low: float, high: float, precision: float) -> float:
    """The fastest speed seen to keep the cap between `low`, which does, and `high`, which does not."""
    while high - low > precision:
        middle = (low + high) / 2
        if keeps(middle):
            low = middle
        else:
            high = middle
    return low
