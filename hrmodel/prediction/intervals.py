"""Bands around a prediction: half widths in bpm by what was known, from absolute residuals (split conformal)."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from hrmodel.workouts.workout import Array

Intervals = dict[str, list[float]]  # "levels" and one row of half widths (bpm) per kind, JSON-ready

KINDS = ("blind", "forecast_60", "forecast_180", "forecast_600", "nowcast")
BLIND, NOWCAST = KINDS.index("blind"), KINDS.index("nowcast")
LEVELS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.99)
MIN_COVERAGE, MAX_COVERAGE = LEVELS[0], LEVELS[-1]

# Last resort, for a base model that was trained without validation people: Laplace quantiles -MAE ln(1 - q) with round
# errors for a person the model has never seen (design section 5: blind 12, forecast 8 bpm), on the wide side.
_UNSEEN_MAE = {"blind": 12.0, "forecast_60": 10.0, "forecast_180": 8.5, "forecast_600": 8.0, "nowcast": 3.0}


def _laplace_rows() -> Intervals:
    rows = {kind: [round(-mae * math.log(1 - q), 2) for q in LEVELS] for kind, mae in _UNSEEN_MAE.items()}
    return {"levels": list(LEVELS)} | rows


DEFAULT_INTERVALS = _laplace_rows()


def conformal(residuals: Mapping[str, Sequence[Array]], fallback: Intervals = DEFAULT_INTERVALS) -> Intervals:
    """Half widths from residuals by kind, each kind a list of (n_i,) arrays in bpm (sign and NaN are ignored).

    Split conformal: of n absolute residuals the ceil((n + 1) q)-th smallest (the largest, when n is too small for q).
    Exact for exchangeable steps; the steps of one workout are alike, so real coverage is measured in the report.
    A kind without residuals takes the fallback's row, read at our levels.
    """
    rows: Intervals = {"levels": list(LEVELS)}
    for kind in KINDS:
        pooled = np.abs(np.concatenate([np.empty(0), *residuals.get(kind, ())]))
        pooled = np.sort(pooled[np.isfinite(pooled)])
        if len(pooled):
            rows[kind] = [float(pooled[_rank(len(pooled), q) - 1]) for q in LEVELS]
        else:
            rows[kind] = [half_width(fallback, kind, q) for q in LEVELS]
    return rows


def half_width(intervals: Intervals, kind: str, coverage: float) -> float:
    """Half width in bpm of one kind, linear between the stored levels. Raises ValueError outside 0.5..0.99."""
    if not MIN_COVERAGE <= coverage <= MAX_COVERAGE:
        raise ValueError(f"coverage must be within {MIN_COVERAGE}..{MAX_COVERAGE}, not {coverage}")
    return float(np.interp(coverage, intervals["levels"], intervals[kind]))


def half_widths(intervals: Intervals, kinds: NDArray[np.int64], coverage: float) -> Array:
    """(S,) indices into KINDS -> (S,) half widths in bpm. Raises ValueError outside 0.5..0.99."""
    return np.array([half_width(intervals, kind, coverage) for kind in KINDS])[kinds]


def _rank(n: int, q: float) -> int:
    # 1e-9: (n + 1) q may lie a rounding error above a whole number
    return min(n, math.ceil((n + 1) * q - 1e-9))
