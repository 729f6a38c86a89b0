"""The within-workout correction: the bpm that the heart rate observed so far adds to the blind prediction.

A Kalman filter over the residuals (heart rate minus blind prediction). A residual is the sum of three states and noise:
the day's offset, which stays; a rise, which fades from the workout's start on (sensors and hearts take minutes to
settle); and a wander, an autoregressive process of first order. The filter is causal: a step's correction depends on
heart rate of earlier steps only, on its values and on its presence. Unobserved steps are extrapolated with each state's
own decay. The constants were fitted on the people of the population data.
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

OFFSET_VARIANCE = 4.0  # bpm^2, on top of the variance that the person's response leaves
RISE_VARIANCE, RISE_SHARE = 49.0, 0.4  # bpm^2, and the share of that variance: an unknown person starts unknown, too
RISE_SECONDS = 200.0
WANDER_VARIANCE, WANDER_SECONDS = 27.0, 130.0  # bpm^2, s
OBSERVATION_NOISE = 0.8  # bpm^2
FORECASTS = ((400.0, "forecast_600"), (120.0, "forecast_180"), (0.0, "forecast_60"))  # from observed seconds


@dataclass(frozen=True, kw_only=True, eq=False)
class ObservedState:
    """The filter's prediction before each of the S steps, from the earlier observations; every array is (S,)."""

    offset: Array  # bpm, of the day
    rise: Array  # bpm
    wander: Array  # bpm
    residual: Array  # bpm: the last observed one; 0 before the first
    lead_seconds: Array  # s from the end of the last observed step to the middle of this one; inf before the first
    observed_seconds: Array  # s observed so far

    @property
    def correction(self) -> Array:
        """(S,) bpm: the sum of the three states, added to the blind prediction."""
        return self.offset + self.rise + self.wander

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
            offset=zeros, rise=zeros, wander=zeros, residual=zeros, lead_seconds=never, observed_seconds=zeros
        )
    seen, known = elapsed[observed], residuals[observed]
    count = seen.searchsorted(elapsed - horizon, side="right")  # of observed steps before each step
    offset, rise, wander = _posterior_means(seen, known, offset_variance).take(count, axis=1)
    last_seen: Array = np.concatenate(([-np.inf], seen)).take(count)
    steps_since = elapsed - last_seen
    return ObservedState(
        offset=offset,
        rise=rise * np.exp(steps_since * (-STEP_SECONDS / RISE_SECONDS)),
        wander=wander * np.exp(steps_since * (-STEP_SECONDS / WANDER_SECONDS)),
        residual=np.concatenate(([0.0], known)).take(count),
        lead_seconds=(steps_since - 0.5) * STEP_SECONDS,
        observed_seconds=count.astype(np.float64) * STEP_SECONDS,
    )


def _posterior_means(elapsed: NDArray[np.int64], residuals: Array, offset_variance: float) -> Array:
    """(n,) observed steps -> (3, n + 1): posterior offset, rise and wander (bpm) before the first and after each."""
    passed = [int(elapsed[0]), *(elapsed[1:] - elapsed[:-1]).tolist()]
    if passed[0] == 0 and elapsed[-1] == len(elapsed) - 1:
        gains = _gains_without_gap(offset_variance, -(-len(passed) // 64) * 64)
    else:
        gains = _kalman_gains(passed, offset_variance)
    offset = rise = wander = 0.0
    means = [(offset, rise, wander)]
    for steps, residual, (to_offset, to_rise, to_wander) in zip(passed, residuals.tolist(), gains, strict=False):
        rise_decay, wander_decay = _decays(steps)
        rise, wander = rise_decay * rise, wander_decay * wander
        innovation = residual - offset - rise - wander
        offset, rise, wander = (
            offset + to_offset * innovation,
            rise + to_rise * innovation,
            wander + to_wander * innovation,
        )
        means.append((offset, rise, wander))
    return np.array(means).T


@lru_cache(maxsize=64)
def _gains_without_gap(offset_variance: float, steps: int) -> list[tuple[float, float, float]]:
    """The usual case, and the same for every workout of a person until the response is updated."""
    return _kalman_gains([0, *[1] * (steps - 1)], offset_variance)


def _kalman_gains(passed: Sequence[int], offset_variance: float) -> list[tuple[float, float, float]]:
    """The Kalman gains of offset, rise and wander at each observed step, by the steps since the observed one before.

    Gains do not depend on the observed values. Written out in numbers: three states are too few for arrays to pay.
    """
    gains = []
    start = math.exp(-0.5 * STEP_SECONDS / RISE_SECONDS)  # the middle of the first step
    # the covariance's upper triangle: o offset, r rise, w wander
    oo, ww = OFFSET_VARIANCE + offset_variance, WANDER_VARIANCE
    rr = (RISE_VARIANCE + RISE_SHARE * offset_variance) * start**2
    or_ = ow = rw = 0.0
    for steps in passed:
        a, b = _decays(steps)
        or_, ow, rw = a * or_, b * ow, a * b * rw
        rr, ww = a * a * rr, b * b * ww + (1 - b * b) * WANDER_VARIANCE  # the wander's process noise
        to_offset, to_rise, to_wander = oo + or_ + ow, or_ + rr + rw, ow + rw + ww
        scale = 1.0 / (to_offset + to_rise + to_wander + OBSERVATION_NOISE)
        gain = (to_offset * scale, to_rise * scale, to_wander * scale)
        oo, or_, ow = oo - gain[0] * to_offset, or_ - gain[0] * to_rise, ow - gain[0] * to_wander
        rr, rw, ww = rr - gain[1] * to_rise, rw - gain[1] * to_wander, ww - gain[2] * to_wander
        gains.append(gain)
    return gains


@lru_cache(maxsize=4096)
def _decays(steps: int) -> tuple[float, float]:
    """The share of rise and wander that is left after so many steps."""
    return math.exp(-steps * STEP_SECONDS / RISE_SECONDS), math.exp(-steps * STEP_SECONDS / WANDER_SECONDS)
