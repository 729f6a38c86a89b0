"""The same workout in two formats or from two devices: found by its time, and the better recording stays."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import log2

import numpy as np

from hrmodel.workouts.workout import Workout

FIRST_CLOCK = datetime(1990, 1, 2, tzinfo=UTC)  # before: days counted from 1970, or a FIT device's unset clock
OVERLAP = 0.5  # of the shorter one


@dataclass(frozen=True, kw_only=True)
class Extent:
    """When a workout was and how well it was recorded."""

    started_at: datetime | None
    seconds: float
    heart_rate_readings: int
    samples: int
    source: str

    @property
    def has_clock(self) -> bool:
        """False when the start is no instant: nothing can then be said about the same time."""
        return self.started_at is not None and self.started_at >= FIRST_CLOCK and self.seconds > 0

    @property
    def interval(self) -> tuple[float, float]:
        """Begin and end, s since 1970."""
        begin = self.started_at.timestamp() if self.started_at else 0.0
        return begin, begin + self.seconds

    @property
    def quality(self) -> tuple[int, int]:
        """Heart-rate readings a minute, then samples: more is better; nearly as many are as many.

        One with a route may have some samples fewer than one without, from before the first fix.
        """
        per_minute = 60.0 * self.heart_rate_readings / self.seconds if self.seconds > 0 else 0.0
        return round(per_minute), round(2.0 * log2(max(1, self.samples)))


def extent_of(workout: Workout) -> Extent:
    """The extent from the workout's start to its last sample."""
    readings = 0 if workout.heart_rate is None else int(np.isfinite(workout.heart_rate).sum())
    return Extent(
        started_at=workout.started_at,
        seconds=float(workout.t[-1]),
        heart_rate_readings=readings,
        samples=len(workout.t),
        source=workout.source,
    )


def same_workout(a: Extent, b: Extent) -> bool:
    """True when both have a clock and share more than half of the shorter one's time."""
    if not (a.has_clock and b.has_clock):
        return False
    (begin_a, end_a), (begin_b, end_b) = a.interval, b.interval
    return min(end_a, end_b) - max(begin_a, begin_b) > OVERLAP * min(a.seconds, b.seconds)


def duplicates(extents: Sequence[Extent]) -> dict[int, int]:
    """Index of a workout to drop -> index of the one that stays instead; O(n log n).

    The best recordings are taken first (the earlier in the list of equal ones), and each one that is the same workout
    as a taken one is dropped: of a long recording and two short ones inside it either the long one stays, or both.
    """
    begins: list[float] = []  # of those that stay, in time order
    staying: list[int] = []
    dropped: dict[int, int] = {}
    clocked = [i for i, extent in enumerate(extents) if extent.has_clock]
    for i in sorted(clocked, key=lambda i: (tuple(-q for q in extents[i].quality), i)):
        begin, end = extents[i].interval
        better = _first_same(extents, staying, bisect_left(begins, end), i)
        if better is not None:
            dropped[i] = better
        else:
            place = bisect_left(begins, begin)
            begins.insert(place, begin)
            staying.insert(place, i)
    return dropped


def _first_same(extents: Sequence[Extent], staying: list[int], place: int, i: int) -> int | None:
    """One of those that stay and begin before `place` that is the same workout as number i.

    None of those that stay lies inside another, so they end in the order in which they begin, and at most two of them
    share any moment: of those that overlap number i all but a few lie inside it, and the first such ends the search.
    """
    begin, _ = extents[i].interval
    for k in range(place - 1, -1, -1):
        if extents[staying[k]].interval[1] <= begin:
            return None
        if same_workout(extents[staying[k]], extents[i]):
            return staying[k]
    return None
