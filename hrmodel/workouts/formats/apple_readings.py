"""The readings of one workout's time, out of all records of an Apple Health export.

A phone, a watch and apps write about the same minutes: in each minute only the best source counts.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hrmodel.workouts.errors import InvalidFile
from hrmodel.workouts.formats.apple_records import BPM, MAX_INTERVAL, MAX_SOURCES, RATE, Packed, Records, SourceKey
from hrmodel.workouts.workout import Array

MINUTE = 60
MAX_LAYERS = 100  # intervals that may cover the same second, on average

Integers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Window:
    """The unix seconds of a workout, and who recorded it."""

    start: int
    end: int
    source: SourceKey


class Readings:
    """All records, sorted by time (in place: they may be 128 MB)."""

    def __init__(self, records: Records) -> None:
        self._sources = records.sources
        self._packed = {name: np.array([], np.uint64) for name in records.packed}
        for name, packed in records.packed.items():
            if packed:
                self._packed[name] = np.frombuffer(packed, np.uint64)
                self._packed[name].sort()

    def heart_rate(self, window: Window) -> tuple[Array, Array]:
        """(N,) s since the window's start, increasing, and (N,) bpm: in each minute those of the best source."""
        found = self._between("heart_rate", window.start, window.end + 1)
        seconds = _bits(found, 32, 32) - window.start
        rank = self._ranks(found, window)
        kept = rank == _best_of_minute(seconds, rank, window.end - window.start)
        seconds, place = np.unique(seconds[kept], return_inverse=True)  # one source may write a second twice
        total = np.bincount(place, _bits(found, 8, 24)[kept] / BPM, len(seconds))
        return seconds.astype(np.float64), total / np.bincount(place, minlength=len(seconds))

    def rate(self, channel: str, window: Window, longest: int = MAX_INTERVAL) -> Array:
        """(S,) m/s or steps/s in each second of the window, NaN where no interval of at most `longest` s covers it."""
        length = window.end - window.start
        found = self._between(channel, window.start - MAX_INTERVAL, window.end)
        found = found[_bits(found, 22, 10) <= longest]
        rank = self._ranks(found, window)
        order = np.argsort(-rank, kind="stable")  # the best source paints last
        found, rank = found[order], rank[order]
        begin = _bits(found, 32, 32) - window.start
        first, last = np.clip(begin, 0, length), np.clip(begin + _bits(found, 22, 10), 0, length)
        if int((last - first).sum()) > MAX_LAYERS * (length + 1):
            raise InvalidFile("too_large", "", f"more than {MAX_LAYERS} {channel} records cover the same second")
        covered, by = _ranges(first, last)
        minutes = length // MINUTE + 1  # the last one is cut at the end
        rates, ranks = np.full(minutes * MINUTE, np.nan), np.full(minutes * MINUTE, MAX_SOURCES + 1, np.int16)
        rates[covered] = (_bits(found, 8, 14) / RATE)[by]
        ranks[covered] = rank[by]
        of_minute = ranks.reshape(minutes, MINUTE)
        rates.reshape(minutes, MINUTE)[of_minute != of_minute.min(axis=1, keepdims=True)] = np.nan
        return rates[:length]

    def _between(self, channel: str, start: int, end: int) -> Packed:
        """Those whose time is in [start, end)."""
        packed = self._packed[channel]
        bounds = np.array([max(start, 0) << 32, max(end, 0) << 32], dtype=np.uint64)
        first, last = np.searchsorted(packed, bounds)
        return packed[first:last]

    def _ranks(self, found: Packed, window: Window) -> Integers:
        """(N,): 0 for the best source. Watches come first, then who recorded the workout, then who has more."""
        sources = _bits(found, 0, 8)
        counts = np.bincount(sources, minlength=MAX_SOURCES)

        def order(source: int) -> tuple[bool, bool, int]:
            key = self._sources[source]
            return not key[1], key != window.source, -int(counts[source])

        ranks = np.zeros(MAX_SOURCES, np.int64)
        for rank, source in enumerate(sorted(np.flatnonzero(counts).tolist(), key=order)):
            ranks[source] = rank
        return ranks[sources]


def _bits(packed: Packed, shift: int, width: int) -> Integers:
    return ((packed >> np.uint64(shift)) & np.uint64((1 << width) - 1)).astype(np.int64)


def _best_of_minute(seconds: Integers, rank: Integers, length: int) -> Integers:
    """(N,) seconds and ranks -> (N,) the best rank of each one's minute of the workout."""
    best = np.full(length // MINUTE + 1, MAX_SOURCES + 1)
    np.minimum.at(best, seconds // MINUTE, rank)
    return best[seconds // MINUTE]


def _ranges(first: Integers, last: Integers) -> tuple[Integers, Integers]:
    """All numbers of the ranges [first, last) one after another, and for each the place of its range."""
    lengths = last - first
    by = np.repeat(np.arange(len(first)), lengths)
    before = np.cumsum(lengths) - lengths
    return np.arange(len(by)) - before[by] + first[by], by
