"""Runs of equal samples (spells) and sudden changes (jumps), for the detectors of sensor faults."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from hrmodel.workouts.workout import Array

Mask = NDArray[np.bool_]
Index = NDArray[np.int64]

MAX_SHIFT = 64  # samples that one sudden change may take: all of 5 s up to 12 samples a second


@dataclass(frozen=True)
class Jump:
    """A sudden change from sample `before` to sample `after`, `size` large and signed."""

    before: int
    after: int
    size: float


def spells(same: Mask) -> tuple[Index, Index]:
    """(N-1,): whether sample i + 1 continues sample i -> the first samples of all spells, and one past their last."""
    starts = np.concatenate([[0], np.flatnonzero(~same) + 1])
    return starts, np.append(starts[1:], len(same) + 1)


def spells_of(chosen: Mask, t: Array, max_gap: float) -> tuple[Index, Index]:
    """The spells of chosen samples without a gap over `max_gap` s: first samples, and one past the last."""
    if not chosen.any():
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    starts, ends = spells((chosen[1:] == chosen[:-1]) & (np.diff(t) <= max_gap))
    return starts[chosen[starts]], ends[chosen[starts]]


def durations(t: Array, longest: float) -> Array:
    """(N,) s from each sample to the next, at most `longest`; the last gap is taken as long as the gap before."""
    gaps = np.minimum(np.diff(t), longest)
    return np.append(gaps, gaps[-1:] if len(gaps) else 0.0)


def jumps(t: Array, values: Array, *, size: float, seconds: float, rate: float) -> list[Jump]:
    """Changes of at least `size` within `seconds`, in time order; samples further apart must differ by `rate` a second.

    (N,) t in s, values without NaN. A change over several samples is one jump, from where it began to where it ended.
    """
    gaps = np.diff(t)
    longest = int(min(MAX_SHIFT, len(gaps), max(1.0, seconds // gaps.min(initial=seconds))))
    if _wanders_less(values, size, longest):
        return []
    sign = np.zeros(len(values), dtype=np.int8)  # sign of the change that ends here
    began = np.zeros(len(values), dtype=np.int64)
    for shift in range(1, longest + 1):
        change, gap = values[shift:] - values[:-shift], t[shift:] - t[:-shift]
        near = gap <= seconds
        if shift == 1:
            near |= np.abs(change) >= rate * gap
        ends = np.flatnonzero(near & (np.abs(change) >= size) & (sign[shift:] == 0)) + shift
        sign[ends], began[ends] = np.sign(change[ends - shift]), ends - shift
    return _merged(values, sign, began)


def _wanders_less(values: Array, size: float, samples: int) -> bool:
    """Whether all changes over so many samples add up to less than `size` everywhere: most recordings, found fast."""
    way = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(values)))])
    return samples == 0 or bool((way[samples:] - way[:-samples]).max() < size)


def _merged(values: Array, sign: NDArray[np.int8], began: Index) -> list[Jump]:
    """One jump for neighbouring samples that end changes of one sign."""
    ends = np.flatnonzero(sign)
    if not len(ends):
        return []
    first = np.concatenate([[True], (np.diff(ends) > 1) | (np.diff(sign[ends]) != 0)])
    cuts = np.append(np.flatnonzero(first), len(ends)).tolist()
    merged = []
    for a, b in pairwise(cuts):
        group = ends[a:b]
        # the change was over at the first of the samples that have the latest beginning
        after = int(group[np.argmax(began[group])])
        before = int(began[group[0]])
        merged.append(Jump(before, after, float(values[after] - values[before])))
    return merged


def on_measured(t: Array, values: Array | None, find: Callable[[Array, Array], Mask]) -> Mask:
    """(N,): `find` on the samples that hold a value; False at the others."""
    bad = np.zeros(len(t), dtype=bool)
    if values is None:
        return bad
    measured = np.isfinite(values)
    if measured.all():
        return find(t, values) if len(t) >= 2 else bad
    places = np.flatnonzero(measured)
    if len(places) >= 2:
        bad[places] = find(t[places], values[places])
    return bad
