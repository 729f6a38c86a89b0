"""Where the records of a faulty clock belong: the longest run of consistent times is believed, the rest follows it.

A device's clock may be wrong until its first GPS fix, start at 1970 or count from power on, be 1024 weeks late, or be
set anew on the way. What tells is the order in which the records were written.
"""

from itertools import pairwise

import numpy as np

from hrmodel.workouts.formats.clock_blocks import LONGEST_PAUSE, Block, Columns, Placement, Placing, leaps
from hrmodel.workouts.reasons import Reason
from hrmodel.workouts.workout import Array

DISORDER = 10.0  # s (or three steps): what goes back no further was written late
PAUSE = 60.0  # s (or ten steps) between two blocks that follow each other
MAX_BLOCKS = 400
MAX_LEAPS = 3  # back, or one in five records: with more the order says nothing


def usual_step(times: Array) -> float:
    """The median of the steps that are not 0 once the times are sorted, s; 1 when there are none."""
    steps = np.diff(np.sort(times))
    return float(np.median(steps[steps > 0])) if (steps > 0).any() else 1.0


def is_even(times: Array) -> bool:
    """True for (N,) times that never go back and never leap so far that a clock may have been set."""
    steps = np.diff(times)
    return bool((steps >= 0).all() and not leaps(steps, usual_step(times)).any())


def place(times: Array, columns: Columns) -> Placement:
    """Put (N,) unix s without NaN, in file order, onto one clock; `columns` are the (N,) values recorded with them."""
    steps = np.diff(times)
    if (steps < 0).sum() > (steps > 0).sum():  # the newest record comes first
        turned = place(times[::-1], {name: column[::-1] for name, column in columns.items()})
        return Placement(times=turned.times[::-1], lone=turned.lone, reasons=turned.reasons, shifts=turned.shifts)
    usual = usual_step(times)
    orderly = max(DISORDER, 3 * usual)
    back = steps < -orderly
    if back.any() and (np.abs(np.diff(np.sort(times)) - usual) <= usual / 2).all():
        return Placement(times=times)  # every time is there once: they only have to be sorted
    cuts = back | leaps(steps, usual)
    if back.any():
        cuts |= steps > orderly
    if cuts.sum() >= MAX_BLOCKS or back.sum() > max(MAX_LEAPS, len(times) / 5):
        return _without_order(times)
    bounds = [0, *(np.flatnonzero(cuts) + 1).tolist(), len(times)]
    blocks = [
        Block(first=a, last=b, begin=float(times[a:b].min()), end=float(times[a:b].max())) for a, b in pairwise(bounds)
    ]
    if len(blocks) == 1 or _tile(blocks, max(PAUSE, 10 * usual)):
        return Placement(times=times)
    return Placing(times=times, columns=columns, usual=usual, blocks=blocks).placement()


def _tile(blocks: list[Block], gap: float) -> bool:
    """True when the blocks only have to be sorted to follow each other."""
    ordered = sorted(blocks, key=lambda block: block.begin)
    return all(0 < b.begin - a.end <= gap for a, b in pairwise(ordered))


def _without_order(times: Array) -> Placement:
    """The order says nothing: of the times themselves the most that follow each other are kept."""
    order = np.argsort(times, kind="stable")
    cluster = np.concatenate([[0], np.cumsum(np.diff(times[order]) > LONGEST_PAUSE)])
    kept = cluster == np.argmax(np.bincount(cluster))
    placed = times.copy()
    placed[order[~kept]] = np.nan
    count = int((~kept).sum())
    message = f"the clock was wrong in {count} samples, which were left out; their order in the file tells no other"
    reasons = (Reason(code="clock_fault", samples=count, message=message),) if count else ()
    return Placement(times=placed, reasons=reasons)
