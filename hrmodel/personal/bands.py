"""Bands around a prediction: half widths in bpm by information regime, lead time and coverage.

band_fitting.py fits them to a person's residuals.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrmodel.workouts.workout import Array

# JSON-ready: "levels" (coverages), "minutes" (lead times), and per regime one row of half widths (bpm, by coverage) for
# each lead time. A regime may hold one row alone (as before bands knew lead times): it counts at any lead time.
Intervals = dict[str, list[Any]]

REGIMES = ("blind", "forecast_60", "forecast_180", "forecast_600", "nowcast")
BLIND, NOWCAST = REGIMES.index("blind"), REGIMES.index("nowcast")
STORED_COVERAGES = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.99)
MIN_COVERAGE, MAX_COVERAGE = STORED_COVERAGES[0], STORED_COVERAGES[-1]

# Last resort, for a base model that was trained without validation people: Laplace quantiles -MAE ln(1 - q) with round
# errors for a person the model has never seen (blind 12, forecast 8 bpm), on the wide side.
_UNSEEN_MAE = {"blind": 12.0, "forecast_60": 10.0, "forecast_180": 8.5, "forecast_600": 8.0, "nowcast": 3.0}


def _laplace_rows() -> Intervals:
    rows = {regime: [round(-mae * math.log(1 - q), 2) for q in STORED_COVERAGES] for regime, mae in _UNSEEN_MAE.items()}
    return {"levels": list(STORED_COVERAGES)} | rows


DEFAULT_INTERVALS = _laplace_rows()


def half_widths(intervals: Intervals, regimes: NDArray[np.int64], coverage: float, lead_minutes: Array) -> Array:
    """(S,) half widths in bpm, linear between the stored coverages and lead times. Raises ValueError outside 0.5..0.99.

    `regimes` (S,): index into REGIMES. `lead_minutes` (S,): since the last observed heart rate, or since the workout's
    start where there was none.
    """
    if not MIN_COVERAGE <= coverage <= MAX_COVERAGE:
        raise ValueError(f"coverage must be within {MIN_COVERAGE}..{MAX_COVERAGE}, not {coverage}")
    if len(regimes) and (regimes[0] == regimes).all():
        return widths_in(REGIMES[regimes[0]], intervals, coverage, lead_minutes)
    widths = np.empty(len(regimes))
    for regime, steps in enumerate(np.bincount(regimes).tolist()):
        if steps:
            own = regimes == regime
            widths[own] = widths_in(REGIMES[regime], intervals, coverage, lead_minutes[own])
    return widths


def widths_in(regime: str, intervals: Intervals, coverage: float, lead_minutes: Array) -> Array:
    """(S,) half widths in bpm of one regime."""
    rows = intervals[regime]
    by_lead = _at_coverage(coverage, intervals["levels"], [rows] if isinstance(rows[0], float | int) else rows)
    if len(by_lead) == 1:
        return np.full(len(lead_minutes), by_lead[0])
    return np.interp(lead_minutes, intervals["minutes"], by_lead)


def _at_coverage(coverage: float, stored: Sequence[float], rows: Sequence[Sequence[float]]) -> list[float]:
    """Half widths by coverage, for each lead time -> one for each lead time: in plain numbers, as they are few."""
    if len(stored) == 1:
        return [row[0] for row in rows]
    above = min(max(bisect_left(stored, coverage), 1), len(stored) - 1)
    low, high = stored[above - 1], stored[above]
    share = min(max((coverage - low) / (high - low), 0.0), 1.0)
    return [row[above - 1] + share * (row[above] - row[above - 1]) for row in rows]
