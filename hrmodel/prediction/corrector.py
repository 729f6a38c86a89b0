"""What the heart rate observed so far says about the blind prediction, as a causal recursion (design section 5).

At every step only heart rate of earlier steps counts, its values and its presence. For one prefix of k seconds it is
the closed form o = sum w r / sum w * n/(n + 120), w = exp(-(k - t)/180) (a quarter in the workout's first minute),
c(t) = b + o + (last r - o) exp(-(t - k)/90). The memory crosses recording gaps and decays with true elapsed time.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hrmodel.prediction.intervals import BLIND, KINDS, NOWCAST
from hrmodel.signals.grid import STEP_SECONDS
from hrmodel.workouts.workout import Array

MEMORY_SECONDS = 180.0  # how long a residual counts for the offset
SHRINK_SECONDS = 120.0  # observed time at which the offset counts half
LAST_RESIDUAL_SECONDS = 90.0  # how fast the last residual gives way to the offset
WARM_UP_STEPS = 6  # the workout's first minute: heart rate still rises, its residual says little
WARM_UP_WEIGHT = 0.25
RAMP_SECONDS = 600.0  # the free run's weight rises from 0 at the last observed step to its full weight here
FREE_RUN_WEIGHT = 0.5
FORECAST_CLASSES = ((400.0, "forecast_600"), (120.0, "forecast_180"), (0.0, "forecast_60"))  # from observed seconds


@dataclass(frozen=True, kw_only=True, eq=False)
class Past:
    """What is known before each of S steps of one workout; every array is (S,)."""

    offset: Array  # bpm: the shrunk weighted mean residual o; 0 before the first observed step
    residual: Array  # bpm: the last observed residual; 0 before the first
    since: Array  # s from the end of the last observed step to the middle of this one; inf before the first
    seconds: Array  # s observed so far

    @property
    def nothing(self) -> NDArray[np.bool_]:
        """True where no step before was observed."""
        return np.isinf(self.since)

    @property
    def kinds(self) -> NDArray[np.int64]:
        """Index into KINDS of every step: blind, nowcast right after an observed step, else a forecast class."""
        kinds = np.zeros(len(self.since), dtype=np.int64)
        for least, kind in reversed(FORECAST_CLASSES):
            kinds[self.seconds >= least] = KINDS.index(kind)
        kinds[self.since < STEP_SECONDS] = NOWCAST
        kinds[self.nothing] = BLIND
        return kinds

    def corrected(self, blind: Array) -> Array:
        """(S,) blind prediction in bpm -> (S,): c(t) = b + o + (last residual - o) exp(-(t - k)/90 s)."""
        fading = np.exp(-self.since / LAST_RESIDUAL_SECONDS)
        return blind + self.offset + (self.residual - self.offset) * fading

    def answer(self, blind: Array, free: Array) -> Array:
        """Blind before the first observed step, then (1-w) c + w f in bpm; w rises from 0 to a half in 10 minutes.

        So right after an observed step it is nearly c alone, which one step ahead is well below the free run's error.
        """
        weight = FREE_RUN_WEIGHT * np.minimum(1.0, self.since / RAMP_SECONDS)
        return np.where(self.nothing, blind, (1 - weight) * self.corrected(blind) + weight * free)


def causal_past(elapsed: NDArray[np.int64], residuals: Array) -> Past:
    """Elapsed steps (S,) and heart rate minus blind prediction (S,) in bpm, NaN where not observed -> what was known.

    `elapsed` counts from the workout's start and increases by more than 1 across a recording gap. Linear in S; the
    only loop is over the observed steps.
    """
    observed = np.flatnonzero(np.isfinite(residuals))
    before = np.searchsorted(observed, np.arange(len(elapsed)), side="left")  # observed steps earlier than each step
    offsets = _running_offset(elapsed[observed], residuals[observed])
    last = np.concatenate([[-np.inf], elapsed[observed]])[before]
    return Past(
        offset=np.concatenate([[0.0], offsets])[before],
        residual=np.concatenate([[0.0], residuals[observed]])[before],
        since=(elapsed - last - 0.5) * STEP_SECONDS,
        seconds=before.astype(np.float64) * STEP_SECONDS,
    )


def _running_offset(elapsed: NDArray[np.int64], residuals: Array) -> Array:
    """The offset after each of n observed steps; between two of them it does not change."""
    offsets = np.empty(len(elapsed))
    weight = total = 0.0
    previous = 0
    for i, (step, residual) in enumerate(zip(elapsed.tolist(), residuals.tolist(), strict=True)):
        decay = math.exp((previous - step) * STEP_SECONDS / MEMORY_SECONDS)
        share = WARM_UP_WEIGHT if step < WARM_UP_STEPS else 1.0
        weight = weight * decay + share
        total = total * decay + share * residual
        seconds = (i + 1) * STEP_SECONDS
        offsets[i] = total / weight * seconds / (seconds + SHRINK_SECONDS)
        previous = step
    return offsets
