"""A route as distances and altitudes, and a passage: the route run at planned speeds, in time."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hrmodel.signals.grid import STEP_SECONDS
from hrmodel.workouts.running import COST_ON_SLOPE, FLAT_COST
from hrmodel.workouts.workout import Array, Workout

MAX_POINTS = 2000
MAX_METRES = 100_000.0
SEGMENT_METRES = 500.0
MAX_SEGMENTS = 30
SEGMENT_WORK = 800_000.0  # m: segments times length; every segment is tried on the whole route
EVEN_METRES = 45_000.0  # beyond, one effort is tried for all segments
STEEPEST = 0.3  # the energy cost of slopes was measured up to 0.45; no road is steeper for a whole segment
FASTEST_DOWNHILL = 1.1  # times the speed on the flat: downhill, legs limit the speed more than energy does


@dataclass(frozen=True, kw_only=True, eq=False)
class Route:
    """N points along a way. Raises ValueError unless the distances strictly increase from 0 and all is finite."""

    distance: Array  # (N,) m from the start
    altitude: Array | None = None  # (N,) m; None: not known, taken as flat

    def __post_init__(self) -> None:
        distance = np.asarray(self.distance, dtype=np.float64)
        if distance.ndim != 1 or not 2 <= len(distance) <= MAX_POINTS:
            raise ValueError(f"a route has 2 to {MAX_POINTS} points in one row, not shape {distance.shape}")
        if distance[0] != 0 or not np.isfinite(distance).all() or (np.diff(distance) <= 0).any():
            raise ValueError("distances must be finite and strictly increase from 0")
        if distance[-1] > MAX_METRES:
            raise ValueError(f"a route is at most {MAX_METRES:g} m long, not {distance[-1]:g}")
        object.__setattr__(self, "distance", distance)
        if self.altitude is not None:
            altitude = np.asarray(self.altitude, dtype=np.float64)
            if altitude.shape != distance.shape or not np.isfinite(altitude).all():
                raise ValueError(f"a route of {len(distance)} points needs as many finite altitudes")
            object.__setattr__(self, "altitude", altitude)

    @property
    def metres(self) -> float:
        """The whole length."""
        return float(self.distance[-1])

    def edges(self) -> Array:
        """(K + 1,) m: where K equally long segments begin and end; about 500 m each, more on long routes."""
        most = MAX_SEGMENTS if self.metres > EVEN_METRES else min(MAX_SEGMENTS, SEGMENT_WORK / self.metres)
        count = max(1, math.floor(min(most, self.metres / SEGMENT_METRES + 0.5)))
        return np.linspace(0.0, self.metres, count + 1)

    def climbs(self, edges: Array) -> Array:
        """(K,) m from the beginning to the end of each segment."""
        if self.altitude is None:
            return np.zeros(len(edges) - 1)
        return np.diff(np.interp(edges, self.distance, self.altitude))


@dataclass(frozen=True, kw_only=True, eq=False)
class Passage:
    """A way run at planned speeds, on the 10 s grid: S steps; the last one ends with the way."""

    t: Array  # (S,) s at the step's beginning
    seconds: Array  # (S,) s that the step lasts
    distance: Array  # (S,) m at the step's beginning
    speed: Array  # (S,) m/s
    altitude: Array | None  # (S,) m in the step's middle

    @property
    def workout(self) -> Workout:
        """The same as a workout without heart rate."""
        return Workout(t=self.t, speed=self.speed, altitude=self.altitude)

    def first(self, seconds: float) -> "Passage":
        """The steps that begin before `seconds`."""
        if self.t[-1] < seconds:
            return self
        beginning = slice(int(np.searchsorted(self.t, seconds)))
        return Passage(
            t=self.t[beginning],
            seconds=self.seconds[beginning],
            distance=self.distance[beginning],
            speed=self.speed[beginning],
            altitude=None if self.altitude is None else self.altitude[beginning],
        )

    def touched(self, edges: Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(S,) the segments in which each step begins and ends. `edges`: (K + 1,) m."""
        last = len(edges) - 2
        ends = self.distance + self.speed * self.seconds
        begun = np.searchsorted(edges, self.distance, side="right") - 1
        return np.minimum(begun, last), np.clip(np.searchsorted(edges, ends, side="left") - 1, 0, last)


def run(route: Route, edges: Array, speeds: Array) -> Passage:
    """Run K segments of a route: `edges` (K + 1,) in m, `speeds` (K,) in m/s."""
    at_edge = np.concatenate([[0.0], np.cumsum(np.diff(edges) / speeds)])
    total = at_edge[-1]
    begins = np.arange(max(1, math.ceil(total / STEP_SECONDS - 0.01))) * STEP_SECONDS  # no last step under 0.1 s
    bounds = np.append(begins, total)
    way, seconds = np.interp(bounds, at_edge, edges), np.diff(bounds)
    middle = np.interp(begins + seconds / 2, at_edge, edges)
    return Passage(
        t=begins,
        seconds=seconds,
        distance=way[:-1],
        speed=np.diff(way) / seconds,
        altitude=None if route.altitude is None else np.interp(middle, route.distance, route.altitude),
    )


def slope_factors(slopes: Array) -> Array:
    """(K,) slopes as fractions -> (K,): the speed of equal effort there, as a multiple of the speed on the flat.

    Uphill by the energy cost of running (Minetti et al. 2002, J Appl Physiol 93:1039).
    """
    cost = COST_ON_SLOPE(np.clip(slopes, -STEEPEST, STEEPEST))
    factors: Array = np.minimum(FLAT_COST / cost, FASTEST_DOWNHILL)
    return factors
