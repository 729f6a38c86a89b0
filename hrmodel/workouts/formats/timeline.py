"""One consistent series out of the records of a file, for every format.

Records of one second are one sample: of two values the first in the file counts, what it lacks comes from the others.
Samples are sorted by time. Records of another clock are placed or left out (`clocks`), and it is told.
"""

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from hrmodel.workouts.formats import clocks
from hrmodel.workouts.formats.clock_blocks import Columns, Shift
from hrmodel.workouts.formats.scalars import odd_instant
from hrmodel.workouts.reasons import Reason
from hrmodel.workouts.workout import Array

MAX_TIME = 40  # characters
LEAP = 0.35  # s after 23:59:59: nobody then runs too fast before or after it
BUDDHIST_YEAR = re.compile(r"2[56]\d\d(?=\D)")  # 543 ahead: that of phones in Thai
LEAP_SECOND = re.compile(r"(?<=:\d\d:)60(?=\D|$)|(?<=T\d{4})60(?=\D|$)")


@dataclass(frozen=True, kw_only=True)
class Series:
    """M samples. `removed`: records without a time, or with one of its own that fits nowhere.

    `reasons`: what else was mended, in words. `shifts`: which clocks were moved.
    """

    times: Array  # (M,) unix s, increasing
    columns: Columns  # (M,) each
    removed: int = 0
    reasons: tuple[Reason, ...] = ()
    shifts: tuple[Shift, ...] = ()


def instant(text: str) -> float:
    """Unix s of an ISO 8601 time with any offset or fraction, UTC without an offset; NaN for what is no time.

    What is written otherwise but clear is read, too. A leap second 23:59:60 lies between the seconds around it, which
    clocks do not number.
    """
    if len(text) > MAX_TIME:  # fromisoformat takes any number of digits for a fraction
        return math.nan
    if BUDDHIST_YEAR.match(text):
        text = f"{int(text[:4]) - 543}{text[4:]}"
    plain = LEAP_SECOND.sub("59", text)
    try:
        parsed = datetime.fromisoformat(plain)
        seconds = (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        seconds = odd_instant(plain)
    return seconds if plain == text else seconds + LEAP * (1.0 - seconds % 1.0)


def build(times: Array, columns: Columns) -> Series:
    """One series out of (N,) records in file order: unix s, NaN without a time, and what was recorded then.

    Without any time the series is empty.
    """
    timed = np.isfinite(times)
    if not timed.all():
        times, columns = times[timed], _chosen(columns, timed)
    missing = int((~timed).sum())
    if clocks.is_even(times) and not _same_second(times).any():
        return Series(times=times, columns=columns, removed=missing)
    placement = clocks.place(times, columns)
    kept = np.flatnonzero(np.isfinite(placement.times))
    order = kept[np.argsort(placement.times[kept], kind="stable")]
    late = _late(placement.times, kept)
    times, columns = placement.times[order], _chosen(columns, order)
    groups = _groups(times, columns)
    first = np.flatnonzero(np.diff(groups, prepend=-1))
    reasons = (*placement.reasons, *_disorder(int(late[order[first]].sum())))
    return Series(
        times=times[first],
        columns={name: _first_known(column, groups, first) for name, column in columns.items()},
        removed=missing + placement.lone,
        reasons=reasons,
        shifts=placement.shifts,
    )


def _chosen(columns: Columns, chosen: NDArray[np.generic]) -> Columns:
    return {name: column[chosen] for name, column in columns.items()}


def _same_second(times: Array) -> NDArray[np.bool_]:
    """(N,) sorted times -> (N - 1,): which share their second with the next."""
    same: NDArray[np.bool_] = np.diff(np.floor(times)) == 0
    return same


def _groups(times: Array, columns: Columns) -> NDArray[np.int64]:
    """(N,) sorted times -> (N,) which records are one sample: the same time, or a second whose records complete each
    other."""
    shared = np.diff(np.round(times - times[0], 3)) == 0 if len(times) else np.empty(0, dtype=bool)
    contradict = np.zeros(len(shared), dtype=bool)
    for column in columns.values():
        known = np.isfinite(column)
        contradict |= known[1:] & known[:-1]
    shared |= _same_second(times) & ~contradict
    return np.concatenate([[0], np.cumsum(~shared)]) if len(times) else np.empty(0, dtype=np.int64)


def _first_known(column: Array, groups: NDArray[np.int64], first: NDArray[np.int64]) -> Array:
    """(N,) values -> (M,): of each group the first that is known."""
    merged = column[first]
    known = np.flatnonzero(np.isfinite(column))
    leading = known[np.flatnonzero(np.diff(groups[known], prepend=-1))]
    merged[groups[leading]] = column[leading]
    return merged


def _late(placed: Array, kept: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(N,): which records come after a later one in the file."""
    late = np.zeros(len(placed), dtype=bool)
    late[kept] = placed[kept] < np.maximum.accumulate(placed[kept])
    return late


def _disorder(count: int) -> tuple[Reason, ...]:
    if not count:
        return ()
    message = f"{count} samples were not in the order of their times, and were sorted"
    return (Reason(code="time_order", samples=count, message=message),)
