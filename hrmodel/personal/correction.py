"""What the heart rate observed so far says about the blind prediction: a causal filter of three residuals.

A workout's residual (heart rate minus blind prediction) is taken as the sum of a day's offset that stays, a rise that
fades from the start on (sensors and hearts take minutes to settle), a wander that forgets itself, and noise. A Kalman
filter follows the three; at every step only heart rate of earlier steps counts, its values and its presence, and what
is not observed is drawn on by each one's own decay. Constants were fitted on the people of the population data; how
far the offset may be from 0 is what the level's tracking left open (225 bpm^2 for a person whom nothing is known of).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hrmodel.personal.bands import BLIND, KINDS, NOWCAST
from hrmodel.signals.grid import STEP_SECONDS
from hrmodel.workouts.workout import Array

OFFSET_VARIANCE = 4.0  # bpm^2, on top of the tracking's
RISE_VARIANCE, RISE_SHARE = 49.0, 0.4  # bpm^2, and per bpm^2 of the tracking's: who is unknown starts unknown, too
RISE_SECONDS = 200.0
WANDER_VARIANCE, WANDER_SECONDS = 27.0, 130.0  # bpm^2, s
NOISE_VARIANCE = 0.8  # bpm^2
RAMP_SECONDS = 600.0  # the free run's weight rises from 0 at the last observed step to its full weight here
FREE_RUN_WEIGHT = 0.3
FORECAST_CLASSES = ((400.0, "forecast_600"), (120.0, "forecast_180"), (0.0, "forecast_60"))  # from observed seconds


@dataclass(frozen=True, kw_only=True, eq=False)
class Past:
    """What is known before each of S steps of one workout; every array is (S,)."""

    correction: Array  # bpm: what the observed residuals add to this step's blind prediction
    residual: Array  # bpm: the last observed residual; 0 before the first
    since: Array  # s from the end of the last observed step to the middle of this one; inf before the first
    seconds: Array  # s observed so far

    def at(self, places: NDArray[np.intp]) -> "Past":
        """What is known before these steps."""
        return Past(**{field.name: getattr(self, field.name)[places] for field in fields(self)})

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
        """(S,) blind prediction in bpm -> (S,) with what was observed."""
        return blind + self.correction

    def answer(self, blind: Array, free: Array) -> Array:
        """Blind before the first observed step, then (1-w) c + w f in bpm; w rises from 0 to 0.3 in 10 minutes."""
        weight = FREE_RUN_WEIGHT * np.minimum(1.0, self.since / RAMP_SECONDS)
        return np.where(self.nothing, blind, (1 - weight) * self.corrected(blind) + weight * free)


def causal_past(elapsed: NDArray[np.int64], residuals: Array, variance: float, horizon: int = 1) -> Past:
    """Elapsed steps (S,) and heart rate minus blind prediction (S,) in bpm, NaN where not observed -> what was known.

    `elapsed` counts from the workout's start and increases by more than 1 across a recording gap. `variance`: of the
    level's offset before this workout, bpm^2. `horizon`: a step knows only what was observed so many steps before it or
    earlier. Linear in S; the only loop is over the observed steps.
    """
    observed = np.flatnonzero(np.isfinite(residuals))
    if not len(observed):
        nothing = np.zeros(len(elapsed))
        return Past(correction=nothing, residual=nothing, since=np.full(len(elapsed), np.inf), seconds=nothing)
    # how many observed steps each step knows
    before = np.searchsorted(elapsed[observed], elapsed - horizon, side="right")
    states = _filter(elapsed[observed], residuals[observed], variance)[before]
    steps_since = elapsed - np.concatenate([[-np.inf], elapsed[observed]])[before]
    seconds_since = np.where(np.isinf(steps_since), 0.0, steps_since * STEP_SECONDS)
    return Past(
        correction=states[:, 0]
        + states[:, 1] * np.exp(-seconds_since / RISE_SECONDS)
        + states[:, 2] * np.exp(-seconds_since / WANDER_SECONDS),
        residual=np.concatenate([[0.0], residuals[observed]])[before],
        since=(steps_since - 0.5) * STEP_SECONDS,
        seconds=before.astype(np.float64) * STEP_SECONDS,
    )


def _filter(elapsed: NDArray[np.int64], residuals: Array, variance: float) -> Array:
    """(n,) observed steps -> (n + 1, 3): offset, rise and wander in bpm before any and after each of them."""
    states = np.zeros((len(elapsed) + 1, 3))
    passed = np.diff(elapsed, prepend=0)
    without_gap = len(passed) > 0 and passed[0] == 0 and (passed[1:] == 1).all()
    gains = (
        _gains_without_gap(variance, -(-len(passed) // 64) * 64) if without_gap else _gains(passed.tolist(), variance)
    )
    offset = rise = wander = 0.0
    for i, (steps, residual, gain) in enumerate(zip(passed.tolist(), residuals.tolist(), gains, strict=False), start=1):
        fade, forget = _decays(steps)
        rise, wander = fade * rise, forget * wander
        surprise = residual - offset - rise - wander
        offset, rise, wander = offset + gain[0] * surprise, rise + gain[1] * surprise, wander + gain[2] * surprise
        states[i] = offset, rise, wander
    return states


@lru_cache(maxsize=64)
def _gains_without_gap(variance: float, steps: int) -> list[tuple[float, float, float]]:
    """The usual case, and the same for every workout of a person until the next one is followed."""
    return _gains([0, *[1] * (steps - 1)], variance)


def _gains(passed: Sequence[int], variance: float) -> list[tuple[float, float, float]]:
    """The share of each observed step's surprise that offset, rise and wander take, by the steps since the one before.

    The gains of a Kalman filter do not depend on what was observed. Written out in numbers: three states are too few
    for arrays to pay.
    """
    gains = []
    start = math.exp(-0.5 * STEP_SECONDS / RISE_SECONDS)  # the middle of the first step
    # the covariance's upper triangle: o offset, r rise, w wander
    oo, rr, ww = OFFSET_VARIANCE + variance, (RISE_VARIANCE + RISE_SHARE * variance) * start**2, WANDER_VARIANCE
    or_ = ow = rw = 0.0
    for steps in passed:
        a, b = _decays(steps)
        or_, ow, rw = a * or_, b * ow, a * b * rw
        rr, ww = a * a * rr, b * b * ww + (1 - b * b) * WANDER_VARIANCE
        to_offset, to_rise, to_wander = oo + or_ + ow, or_ + rr + rw, ow + rw + ww
        scale = 1.0 / (to_offset + to_rise + to_wander + NOISE_VARIANCE)
        gain = (to_offset * scale, to_rise * scale, to_wander * scale)
        oo, or_, ow = oo - gain[0] * to_offset, or_ - gain[0] * to_rise, ow - gain[0] * to_wander
        rr, rw, ww = rr - gain[1] * to_rise, rw - gain[1] * to_wander, ww - gain[2] * to_wander
        gains.append(gain)
    return gains


@lru_cache(maxsize=4096)
def _decays(steps: int) -> tuple[float, float]:
    """What is left of rise and wander after so many steps."""
    return math.exp(-steps * STEP_SECONDS / RISE_SECONDS), math.exp(-steps * STEP_SECONDS / WANDER_SECONDS)
