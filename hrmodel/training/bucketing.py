"""Length bucketing: sequences of similar lengths go through a recurrence together, because padding costs time too."""

from collections.abc import Sequence

import numpy as np

STEP_COST = 2.0  # rows: the fixed cost of a step of a recurrence (64 hidden units, one core, both directions)


def buckets_of(lengths: Sequence[int], step_cost: float = STEP_COST) -> list[list[int]]:
    """Rows in buckets of similar lengths, each padded to its own longest: the split that costs least.

    A bucket of B rows and T steps costs T (B + `step_cost`). Rows are sorted by length, so a bucket is a contiguous
    run of rows, and the best cut before each row follows from earlier best cuts (dynamic programming).
    """
    order = np.argsort(-np.asarray(lengths), kind="stable")
    sizes = np.asarray(lengths)[order]
    cheapest, cut = np.zeros(len(sizes) + 1), np.zeros(len(sizes) + 1, dtype=int)
    for end in range(1, len(sizes) + 1):
        starts = np.arange(end)
        costs = cheapest[:end] + sizes[:end] * (end - starts + step_cost)
        cut[end] = costs.argmin()
        cheapest[end] = costs[cut[end]]
    buckets, end = [], len(sizes)
    while end > 0:
        buckets.append(order[cut[end] : end].tolist())
        end = int(cut[end])
    return buckets[::-1]
