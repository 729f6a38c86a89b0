"""The same workout in two formats or from two devices: found by its time, and the better recording stays.

A program that writes local time as UTC moves a copy by whole quarters of an hour: then the equal course shows it. Only
workouts of different files count as copies: two workouts of one file, such as intervals, both stay however alike.
"""

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import log2

import numpy as np

from hrmodel.workouts.workout import Array, Workout

FIRST_CLOCK = datetime(1990, 1, 2, tzinfo=UTC)  # before: days counted from 1970, or a FIT device's unset clock
OVERLAP = 0.5  # of the shorter one
PARTS = 24  # of a workout, whose means are its course
QUARTER = 900.0  # s: time zones differ by whole quarters of an hour
MAX_CLOCK = 14 * 3600.0  # s between two time zones
CLOSE = 2.0  # s that lengths and starts may differ by
SAME_BPM, SAME_SPEED = 1.0, 0.2  # bpm in every part; m/s in half of them
CHANGE = 1.0  # bpm: a heart rate that changes less has no course
MAX_LOOKS = 50  # at workouts of the same length
PLACE_IN_FILE = re.compile(r": \w+ \d+(?: and what follows it, .*)?$")  # at the end of a source


@dataclass(frozen=True, kw_only=True)
class Extent:
    """When a workout was and how well it was recorded."""

    started_at: datetime | None
    seconds: float
    heart_rate_readings: int
    samples: int
    source: str
    course: Array | None = field(default=None, compare=False, repr=False)  # (2, PARTS) mean bpm and m/s, if known

    @property
    def has_clock(self) -> bool:
        """False when the start is no instant: two workouts can then not be compared in time."""
        return self.started_at is not None and self.started_at >= FIRST_CLOCK and self.seconds > 0

    @property
    def interval(self) -> tuple[float, float]:
        """Begin and end, s since 1970."""
        begin = self.started_at.timestamp() if self.started_at else 0.0
        return begin, begin + self.seconds

    @property
    def quality(self) -> tuple[int, int]:
        """Heart-rate readings a minute, then samples: more is better; both are rounded, so that close counts are equal.

        A recording with a route may lack some samples, from before the first fix.
        """
        per_minute = 60.0 * self.heart_rate_readings / self.seconds if self.seconds > 0 else 0.0
        return round(per_minute), round(2.0 * log2(max(1, self.samples)))

    @property
    def file(self) -> str:
        """The file of the recording."""
        return PLACE_IN_FILE.sub("", self.source)


def extent_of(workout: Workout) -> Extent:
    """The extent from the workout's start to its last sample."""
    readings = 0 if workout.heart_rate is None else int(np.isfinite(workout.heart_rate).sum())
    return Extent(
        started_at=workout.started_at,
        seconds=float(workout.t[-1]),
        heart_rate_readings=readings,
        samples=len(workout.t),
        source=workout.source,
        course=_course(workout),
    )


def _course(workout: Workout) -> Array | None:
    if workout.heart_rate is None or workout.t[-1] <= 0:
        return None
    part = np.minimum((workout.t / workout.t[-1] * PARTS).astype(np.int64), PARTS - 1)
    rows = []
    for values in (workout.heart_rate, workout.speed):
        measured = np.isfinite(values)
        counts = np.bincount(part[measured], minlength=PARTS)
        total = np.bincount(part[measured], values[measured], PARTS)
        rows.append(np.divide(total, counts, out=np.full(PARTS, np.nan), where=counts > 0))
    return np.array(rows)


def same_workout(a: Extent, b: Extent) -> bool:
    """True when both have a clock and overlap for more than half of the shorter workout."""
    if not (a.has_clock and b.has_clock):
        return False
    (begin_a, end_a), (begin_b, end_b) = a.interval, b.interval
    return min(end_a, end_b) - max(begin_a, begin_b) > OVERLAP * min(a.seconds, b.seconds)


def same_under_another_clock(a: Extent, b: Extent) -> bool:
    """True when the two, of different files, have one length and course, and start some quarters of an hour apart."""
    if a.course is None or b.course is None or not (a.has_clock and b.has_clock) or (a.source and a.file == b.file):
        return False
    apart = abs(a.interval[0] - b.interval[0])
    rest = abs(apart - QUARTER * round(apart / QUARTER))
    if not QUARTER - CLOSE <= apart <= MAX_CLOCK + CLOSE or rest > CLOSE or abs(a.seconds - b.seconds) > CLOSE:
        return False
    bpm, speed = np.abs(a.course - b.course)
    measured = np.isfinite(bpm)
    if measured.sum() < PARTS / 2 or np.ptp(a.course[0][measured]) < CHANGE or bpm[measured].max() > SAME_BPM:
        return False
    speed = speed[np.isfinite(speed)]
    return not len(speed) or bool(np.median(speed) <= SAME_SPEED)


class _ByLength:
    """Workouts by their length and by their start modulo a quarter of an hour."""

    def __init__(self, extents: Sequence[Extent]) -> None:
        self._extents = extents
        self._places: dict[tuple[int, int], list[int]] = defaultdict(list)

    def _place(self, i: int) -> tuple[int, int]:
        extent = self._extents[i]
        return round(extent.seconds / (2 * CLOSE)), int(extent.interval[0] % QUARTER / (2 * CLOSE))

    def add(self, i: int) -> None:
        """Workout number i stays."""
        self._places[self._place(i)].append(i)

    def same(self, i: int) -> int | None:
        """A workout that is the same as number i under another clock."""
        length, start = self._place(i)
        starts = round(QUARTER / (2 * CLOSE))
        for nearby in ((length + a, (start + b) % starts) for a in (0, -1, 1) for b in (0, -1, 1)):
            for earlier in self._places.get(nearby, ())[-MAX_LOOKS:]:
                if same_under_another_clock(self._extents[earlier], self._extents[i]):
                    return earlier
        return None


def duplicates(extents: Sequence[Extent]) -> dict[int, int]:
    """Index of a workout to drop -> index of the recording that stays instead; O(n log n).

    The best recordings are taken first (the earlier in the list of equal ones), and each recording of the same
    workout as a taken one is dropped: of a long recording and two short ones inside it, either the long or both short
    ones stay.
    """
    begins: list[float] = []  # of the staying workouts, in time order
    staying: list[int] = []
    dropped: dict[int, int] = {}
    by_length = _ByLength(extents)
    clocked = [i for i, extent in enumerate(extents) if extent.has_clock]
    for i in sorted(clocked, key=lambda i: (tuple(-q for q in extents[i].quality), i)):
        begin, end = extents[i].interval
        better = _first_same(extents, staying, bisect_left(begins, end), i)
        better = by_length.same(i) if better is None else better
        if better is not None:
            dropped[i] = better
        else:
            by_length.add(i)
            place = bisect_left(begins, begin)
            begins.insert(place, begin)
            staying.insert(place, i)
    return dropped


def _first_same(extents: Sequence[Extent], staying: list[int], place: int, i: int) -> int | None:
    """A staying recording that begins before `place` and is the same workout as number i.

    No staying recording lies inside another, so they end in the order in which they begin, and at most two of them
    share any moment: of the recordings that overlap number i, all but a few lie inside it; the first ends the search.
    """
    begin, _ = extents[i].interval
    for k in range(place - 1, -1, -1):
        if extents[staying[k]].interval[1] <= begin:
            return None
        if same_workout(extents[staying[k]], extents[i]):
            return staying[k]
    return None


def why_dropped(worse: Extent, better: Extent) -> str:
    """The message for a recording that is dropped for a better one."""
    if worse.has_clock and not same_workout(worse, better):
        apart = abs(worse.interval[0] - better.interval[0]) / 3600
        return f"the same workout as {better.source}, which stays, but {apart:.3g} h apart: one clock was not UTC"
    return f"recorded at the same time as {better.source}, which stays"
