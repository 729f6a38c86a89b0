"""The search for the fastest speeds under a heart-rate cap, by bisection (plan.py says what a plan is)."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hrmodel.prediction.predictor import Prediction
from hrmodel.prediction.route import Passage, Route, run, slope_factors
from hrmodel.workouts.workout import Array, Workout

Predict = Callable[[Workout], Prediction]  # blind: the workout has no heart rate

EFFORTS = 9  # evenly tried from the slowest up: only the first crossing of the cap is believed
PRECISION = 0.02  # m/s, where bisection ends: 3 s per km at an easy pace
WARM_UP_SECONDS = 300.0
HEADROOM = 1.15
CARRY_ON_SECONDS = 60.0
TOLERANCE = 0.5  # bpm over the cap that a plan may be
REPAIRS, REPAIR = 8, 0.98


def fastest_speeds(
    predict: Predict, route: Route, edges: Array, cap: float, *, slowest: float, fastest: float
) -> Array:
    """(K,) m/s for the K segments between `edges` (K + 1,) in m, so that the heart rate keeps the cap (bpm).

    Greedy alone would sprint while heart rate still rises and pay for it later. So the same effort everywhere (equal
    energy on slopes, the fastest that keeps the cap all the way) is found first. Nobody runs faster than that in the
    first 5 minutes, nor ever by more than 15 %, and what is tried in a segment must be possible for one more minute (at
    most at the even effort): a heart rate that still rises at a segment's end would turn the next one into a walk.
    """
    search = _Search(predict, route, edges, cap, slowest, fastest)
    even = search.even_effort()
    speeds = even.copy()
    for segment in np.flatnonzero(~search.hopeless).tolist():
        speeds[segment] = search.fastest_in(segment, speeds, even)
    return search.repaired(speeds)


class _Search:
    """Speeds of K segments, tried by predicting the whole route: means over a workout may count in a prediction."""

    def __init__(
        self, predict: Predict, route: Route, edges: Array, cap: float, slowest: float, fastest: float
    ) -> None:
        self.predict, self.route, self.edges, self.cap = predict, route, edges, cap
        self.slowest, self.fastest = slowest, fastest
        self.lengths = np.diff(edges)
        self.factors = slope_factors(route.climbs(edges) / self.lengths)
        # (K,) where even the slowest speed is over the cap
        self.hopeless: NDArray[np.bool_] = self._highest(np.full(len(self.lengths), slowest)) > cap

    def even_effort(self) -> Array:
        """(K,) m/s: one effort for the whole route, the fastest that is under the cap wherever that can be."""
        if self.hopeless.all():
            return self._at(self.slowest)
        best = self.slowest
        for effort in np.linspace(self.slowest, self.fastest, EFFORTS)[1:].tolist():
            if not self._keeps(effort):
                return self._at(_bisect(self._keeps, best, effort))
            best = effort
        return self._at(best)

    def fastest_in(self, segment: int, speeds: Array, even: Array) -> float:
        """The fastest speed (m/s) of a segment, given those before it; the slowest where none keeps the cap."""
        usual = float(even[segment])
        warm = self._reached(segment, speeds) >= WARM_UP_SECONDS
        top = min(self.fastest, usual * HEADROOM) if warm else usual
        steps = sorted({self.slowest, max(self.slowest, usual / HEADROOM), usual, top}, reverse=True)
        # what the segments before left behind may be a little over the cap at any speed
        for limit in (self.cap, self.cap + TOLERANCE):

            def keeps(speed: float, limit: float = limit) -> bool:
                return self._keeps_in(segment, speed, speeds, even, limit)

            for place, speed in enumerate(steps):
                if keeps(speed):
                    return _bisect(keeps, speed, steps[place - 1]) if place else speed
        return self.slowest

    def repaired(self, speeds: Array) -> Array:
        """Slow segments down that are over the cap now that what comes after them is planned, too."""
        for _ in range(REPAIRS):
            over = (self._highest(speeds) > self.cap + TOLERANCE) & (speeds > self.slowest)
            if not over.any():
                break
            speeds = np.where(over, np.maximum(self.slowest, REPAIR * speeds), speeds)
        return speeds

    def _at(self, effort: float) -> Array:
        speeds: Array = np.clip(effort * self.factors, self.slowest, self.fastest)
        return np.where(self.hopeless, self.slowest, speeds)

    def _keeps(self, effort: float) -> bool:
        """Whether an even effort keeps the cap wherever that can be."""
        return bool((self._highest(self._at(effort))[~self.hopeless] <= self.cap).all())

    def _keeps_in(self, segment: int, speed: float, speeds: Array, even: Array, limit: float) -> bool:
        """Whether a speed keeps the limit in the segment and a minute beyond, the rest at the even effort."""
        tried, following = speeds.copy(), segment + 1
        tried[segment] = speed
        begins, ends = self._reached(segment, tried), self._reached(following, tried)
        if following < len(tried) and not self.hopeless[following]:
            tried[following] = max(self.slowest, even[following] * min(1.0, speed / even[segment]))
            ends += CARRY_ON_SECONDS
        passage, heart_rate = self._predicted(tried)
        return bool((heart_rate[(passage.t >= begins) & (passage.t < ends)] <= limit).all())

    def _highest(self, speeds: Array) -> Array:
        """(K,) highest heart rate in bpm among the steps that touch each segment."""
        passage, heart_rate = self._predicted(speeds)
        highest = np.zeros(len(speeds))
        for touched in passage.touched(self.edges):
            np.maximum.at(highest, touched, heart_rate)
        return highest

    def _reached(self, segment: int, speeds: Array) -> float:
        """Seconds until the segment begins."""
        return float(np.sum(self.lengths[:segment] / speeds[:segment]))

    def _predicted(self, speeds: Array) -> tuple[Passage, Array]:
        passage = run(self.route, self.edges, speeds)
        return passage, self.predict(passage.workout).heart_rate


def _bisect(keeps: Callable[[float], bool], low: float, high: float) -> float:
    """The fastest speed seen to keep the cap between `low`, which does, and `high`, which does not."""
    while high - low > PRECISION:
        middle = (low + high) / 2
        if keeps(middle):
            low = middle
        else:
            high = middle
    return low
