"""The prediction of one workout as a formula: from the network's outputs to heart rate and the width of its band.

docs/explanation/prediction.md explains each term and works the formula through with numbers.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hrmodel.personal.bands import BLIND, half_widths
from hrmodel.personal.correction import observed_state
from hrmodel.prediction.prepared import Outputs, PreparedQuery
from hrmodel.signals.grid import STEP_SECONDS
from hrmodel.workouts.workout import Array

LOWEST, HIGHEST = 25.0, 240.0  # bpm: implausible heart rates outside are neither predicted nor read


@dataclass(frozen=True, kw_only=True, eq=False)
class StepPrediction:
    """One value per step of 10 s, S in all."""

    heart_rate: Array  # (S,) bpm, within 25..240
    half_width: Array  # (S,) bpm, of the band
    blind: Array  # (S,) bpm: the prediction without any heart rate
    regimes: NDArray[np.int64]  # (S,) information regime, index into REGIMES
    lead_minutes: Array  # (S,) since the last observed heart rate, since the start where there was none

    def at(self, steps: NDArray[np.intp]) -> "StepPrediction":
        """The same of these steps only."""
        return StepPrediction(**{name: values[steps] for name, values in vars(self).items()})


def predict_heart_rate(
    query: PreparedQuery, unread: Outputs, observed: Array, horizon: int = 1, free_run: Outputs | None = None
) -> StepPrediction:
    """The whole formula, for the S steps of one workout.

    `unread`: the pass without heart rate. `observed` (S,): heart rate in bpm, NaN where not observed; a step reads
    only observations at least `horizon` steps before it. `free_run`: the pass with the observed heart rate as its
    history, which then answers instead of the correction. Raises ValueError for a coverage outside 0.5..0.99.
    """
    level, spread = query.scale.heart_rate, query.scale.spread
    blind = level + spread * unread.network + unread.response
    if not np.isfinite(observed).any():
        return _without_heart_rate(query, blind)
    state = observed_state(query.elapsed, observed - blind, query.offset_variance, horizon)
    heart_rate = blind + state.correction
    if free_run is not None:
        heart_rate = level + spread * free_run.network + free_run.response
    regimes = state.regimes
    lead_minutes = np.where(state.unobserved, query.elapsed * STEP_SECONDS, state.lead_seconds) / 60.0
    return StepPrediction(
        heart_rate=plausible(heart_rate),
        half_width=half_widths(query.intervals, regimes, query.coverage, lead_minutes),
        blind=blind,
        regimes=regimes,
        lead_minutes=lead_minutes,
    )


def plausible(heart_rate: Array) -> Array:
    """The same within 25..240 bpm."""
    bounded: Array = np.minimum(np.maximum(heart_rate, LOWEST), HIGHEST)  # np.clip takes three times as long
    return bounded


def _without_heart_rate(query: PreparedQuery, blind: Array) -> StepPrediction:
    """The formula where nothing was observed: all terms but the blind prediction are 0."""
    regimes = np.full(len(blind), BLIND, dtype=np.int64)
    lead_minutes = query.elapsed.astype(np.float64) * STEP_SECONDS / 60.0
    return StepPrediction(
        heart_rate=plausible(blind),
        half_width=half_widths(query.intervals, regimes, query.coverage, lead_minutes),
        blind=blind,
        regimes=regimes,
        lead_minutes=lead_minutes,
    )
