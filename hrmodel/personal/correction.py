"""The within-workout correction: the bpm that the heart rate observed so far adds to the blind prediction.

A Kalman filter over the residuals (heart rate minus blind prediction). A residual is the sum of four states and noise:
the day's offset, which stays; a rise, which fades from the workout's start on (sensors and hearts take minutes to
settle); a wander, an autoregressive process of first order; and a slow one, which starts at 0 and takes most of an hour
to come back (drift, tiredness, heat). The filter is causal: a step's correction depends on heart rate of earlier steps
only, on its values and on its presence. Unobserved steps are extrapolated with each state's own decay. The constants
were fitted on 43 people whom the base had never seen (docs/explanation/decisions/model.md).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from hrmodel.personal.bands import BLIND, NOWCAST, REGIMES
from hrmodel.signals.grid import STEP_SECONDS
from hrmodel.workouts.workout import Array

# bpm^2, and the share of the level's variance before the workout: an unknown person starts unknown, too
OFFSET_VARIANCE, OFFSET_SHARE = 4.0, 0.5
RISE_VARIANCE, RISE_SHARE = 29.0, 0.33
RISE_SECONDS = 600.0
WANDER_VARIANCE, WANDER_SECONDS = 226.0, 44.0  # bpm^2, s
SLOW_VARIANCE, SLOW_SECONDS = 2360.0, 3100.0  # bpm^2 after hours, s
OBSERVATION_NOISE = 0.27  # bpm^2
FORECASTS = ((400.0, "forecast_600"), (120.0, "forecast_180"), (0.0, "forecast_60"))  # from observed seconds


@dataclass(frozen=True, kw_only=True, eq=False)
class ObservedState:
    """The filter's prediction before each of the S steps, from the earlier observations; every array is (S,)."""

    offset: Array  # bpm, of the day
    rise: Array  # bpm
    wander: Array  # bpm
    slow: Array  # bpm
    residual: Array  # bpm: the last observed one; 0 before the first
    lead_seconds: Array  # s from the end of the last observed step to the middle of this one; inf before the first
    observed_seconds: Array  # s observed so far

    @property
    def correction(self) -> Array:
        """(S,) bpm: the sum of the four states, added to the blind prediction."""
        return self.offset + self.rise + self.wander + self.slow

    @cached_property
    def unobserved(self) -> NDArray[np.bool_]:
        """(S,) True where no earlier step was observed."""
        return np.isinf(self.lead_seconds)

    @property
    def regimes(self) -> NDArray[np.int64]:
        """(S,) index into REGIMES: blind, nowcast right after an observed step, else a forecast."""
        regimes = np.zeros(len(self.lead_seconds), dtype=np.int64)
        for least, regime in reversed(FORECASTS):
            regimes[self.observed_seconds >= least] = REGIMES.index(regime)
        regimes[self.lead_seconds < STEP_SECONDS] = NOWCAST
        regimes[self.unobserved] = BLIND
        return regimes


def observed_state(
    elapsed: NDArray[np.int64], residuals: Array, offset_variance: float, horizon: int = 1
) -> ObservedState:
    """Filter a workout's residuals: heart rate minus blind prediction (S,) in bpm, NaN where not observed.

    `elapsed` (S,) counts steps from the workout's start and increases by more than 1 across a recording gap.
    `offset_variance`: of the level's offset before this workout, bpm^2. `horizon`: a step reads only observations
    at least so many steps before it. Linear in S; the only loop is over the observed steps.
    """
    observed = np.flatnonzero(np.isfinite(residuals))
    if not len(observed):
        zeros, never = np.zeros(len(elapsed)), np.full(len(elapsed), np.inf)
        return ObservedState(
            offset=zeros,
            rise=zeros,
            wander=zeros,
            slow=zeros,
            residual=zeros,
            lead_seconds=never,
            observed_seconds=zeros,
        )
    seen, known = elapsed[observed], residuals[observed]
    count = seen.searchsorted(elapsed - horizon, side="right")  # of observed steps before each step
    offset, rise, wander, slow = _posterior_means(seen, known, offset_variance).take(count, axis=1)
    last_seen: Array = np.concatenate(([-np.inf], seen)).take(count)
    steps_since = elapsed - last_seen
    return ObservedState(
        offset=offset,
        rise=rise * np.exp(steps_since * (-STEP_SECONDS / RISE_SECONDS)),
        wander=wander * np.exp(steps_since * (-STEP_SECONDS / WANDER_SECONDS)),
        slow=slow * np.exp(steps_since * (-STEP_SECONDS / SLOW_SECONDS)),
        residual=np.concatenate(([0.0], known)).take(count),
        lead_seconds=(steps_since - 0.5) * STEP_SECONDS,
        observed_seconds=count.astype(np.float64) * STEP_SECONDS,
    )


def _posterior_means(elapsed: NDArray[np.int64], residuals: Array, offset_variance: float) -> Array:
    """(n,) observed steps -> (4, n + 1): posterior states in bpm before the first and after each."""
    passed = [int(elapsed[0]), *(elapsed[1:] - elapsed[:-1]).tolist()]
    if passed[0] == 0 and elapsed[-1] == len(elapsed) - 1:
        gains = _gains_without_gap(offset_variance, -(-len(passed) // 64) * 64)
    else:
        gains = _kalman_gains(passed, offset_variance)
    offset = rise = wander = slow = 0.0
    means = [(offset, rise, wander, slow)]
    for steps, residual, gain in zip(passed, residuals.tolist(), gains, strict=False):
        rise_kept, wander_kept, slow_kept = _decays(steps)
        rise, wander, slow = rise_kept * rise, wander_kept * wander, slow_kept * slow
        innovation = residual - offset - rise - wander - slow
        offset, rise = offset + gain[0] * innovation, rise + gain[1] * innovation
        wander, slow = wander + gain[2] * innovation, slow + gain[3] * innovation
        means.append((offset, rise, wander, slow))
    return np.array(means).T


_Gain = tuple[float, float, float, float]  # of offset, rise, wander, slow


@lru_cache(maxsize=64)
def _gains_without_gap(offset_variance: float, steps: int) -> list[_Gain]:
    """The usual case, and the same for every workout of a person until the response is updated."""
    return _kalman_gains([0, *[1] * (steps - 1)], offset_variance)


def _kalman_gains(passed: Sequence[int], offset_variance: float) -> list[_Gain]:
    """The Kalman gains of the states at each observed step, by the steps since the observed one before.

    Gains do not depend on the observed values. Written out in numbers: four states are too few for arrays to pay.
    """
    gains = []
    start = math.exp(-0.5 * STEP_SECONDS / RISE_SECONDS)  # the middle of the first step
    # the covariance's upper triangle: o offset, r rise, w wander, s slow
    oo, ww = OFFSET_VARIANCE + OFFSET_SHARE * offset_variance, WANDER_VARIANCE
    rr = (RISE_VARIANCE + RISE_SHARE * offset_variance) * start**2
    or_ = ow = os = rw = rs = ws = ss = 0.0
    for steps in passed:
        a, b, c = _decays(steps)
        or_, ow, os, rw, rs, ws = a * or_, b * ow, c * os, a * b * rw, a * c * rs, b * c * ws
        rr, ww = a * a * rr, b * b * ww + (1 - b * b) * WANDER_VARIANCE  # with the wander's process noise
        ss = c * c * ss + (1 - c * c) * SLOW_VARIANCE
        to_o, to_r, to_w, to_s = oo + or_ + ow + os, or_ + rr + rw + rs, ow + rw + ww + ws, os + rs + ws + ss
        scale = 1.0 / (to_o + to_r + to_w + to_s + OBSERVATION_NOISE)
        o, r, w, s = gain = (to_o * scale, to_r * scale, to_w * scale, to_s * scale)
        oo, or_, ow, os = oo - o * to_o, or_ - o * to_r, ow - o * to_w, os - o * to_s
        rr, rw, rs = rr - r * to_r, rw - r * to_w, rs - r * to_s
        ww, ws, ss = ww - w * to_w, ws - w * to_s, ss - s * to_s
        gains.append(gain)
    return gains


@lru_cache(maxsize=4096)
def _decays(steps: int) -> tuple[float, float, float]:
    """The share of rise, wander and slow that is left after so many steps."""
    seconds = steps * STEP_SECONDS
    return math.exp(-seconds / RISE_SECONDS), math.exp(-seconds / WANDER_SECONDS), math.exp(-seconds / SLOW_SECONDS)
