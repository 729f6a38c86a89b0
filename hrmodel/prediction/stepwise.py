"""One workout in the network's words, and from the network's outputs back to heart rate per step."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hrmodel.prediction.corrector import causal_past
from hrmodel.prediction.intervals import BLIND
from hrmodel.signals.features import Features, history_feature
from hrmodel.signals.grid import STEP_SECONDS, GriddedWorkout, carried
from hrmodel.signals.level import Level
from hrmodel.signals.steps import elapsed_steps, segment_slices
from hrmodel.workouts.workout import Array

LOWEST, HIGHEST = 25.0, 240.0  # bpm: what a heart can do; nothing outside is answered or believed


@dataclass(frozen=True, kw_only=True, eq=False)
class StepPrediction:
    """One value per step, S in all."""

    heart_rate: Array  # (S,) bpm, within 25..240
    blind: Array  # (S,) bpm: the pass that knows no heart rate
    kinds: NDArray[np.int64]  # (S,) index into intervals.KINDS
    minutes: Array  # (S,) since the last observed heart rate, since the start where there was none


@dataclass(frozen=True, kw_only=True, eq=False)
class Ready:
    """One workout in the network's words, with V views of its heart rate."""

    gridded: GriddedWorkout
    views: Sequence[Array]  # V of (S,) bpm
    known: bool  # whether the level is a subject's
    scale: Level
    variance: float  # bpm^2, of the level's offset
    added: Array  # (S,) bpm: the response
    motion: list[Features]  # (T, 2) per segment
    correct: bool

    @property
    def parts(self) -> list[slice]:
        """The steps of each segment."""
        return [part for _, part in segment_slices(self.gridded)]

    def blind_inputs(self) -> list[Features]:
        """(1, T, 3) per segment, without history."""
        return [with_history(features, np.zeros((1, len(features)))) for features in self.motion]

    def observed_rows(self, part: slice) -> NDArray[np.intp]:
        """Which views hold heart rate in a segment, where the free run counts.

        Without a subject's level it is left out of the answer: its history would be in nobody's scale, while the
        residuals need none.
        """
        if self.correct and not self.known:
            return np.empty(0, dtype=np.intp)
        return np.flatnonzero([np.isfinite(view[part]).any() for view in self.views])

    def free_inputs(self) -> list[Features]:
        """(rows, T, 3) per segment that has observed rows: each view's history, known heart rate less the response."""
        inputs = []
        for features, part in zip(self.motion, self.parts, strict=True):
            rows = self.observed_rows(part)
            if len(rows):
                known = [carried(self.views[row][part] - self.added[part]) for row in rows]
                scaled = [history_feature(each, self.scale.heart_rate, self.scale.spread) for each in known]
                inputs.append(with_history(features, np.stack(scaled)))
        return inputs


def answer_steps(ready: Ready, scaled: Array, outputs: Iterator[Array]) -> list[StepPrediction]:
    """A prediction per view: `scaled` (S,) is the blind output; `outputs` go on with those of `free_inputs`."""
    blind = blind_heart_rate(ready, scaled)
    elapsed = elapsed_steps(ready.gridded)
    if not any(np.isfinite(view).any() for view in ready.views):
        return [_blind(blind, elapsed)] * len(ready.views)
    free = np.tile(blind, (len(ready.views), 1))  # where a segment holds no heart rate
    for part in ready.parts:
        rows = ready.observed_rows(part)
        if len(rows):
            free[rows, part] += ready.scale.spread * (next(outputs) - scaled[part])
    predictions = []
    for view, row in zip(ready.views, free, strict=True):
        past = causal_past(elapsed, view - blind, ready.variance)
        corrected = past.answer(blind, row) if ready.known else past.corrected(blind)
        answer = corrected if ready.correct else row
        predictions.append(
            StepPrediction(
                heart_rate=np.clip(answer, LOWEST, HIGHEST),
                blind=blind,
                kinds=past.kinds,
                minutes=np.where(past.nothing, elapsed * STEP_SECONDS, past.since) / 60.0,
            )
        )
    return predictions


def blind_heart_rate(ready: Ready, scaled: Array) -> Array:
    """(S,) the blind output -> (S,) bpm, with the person's response."""
    return ready.scale.heart_rate + ready.scale.spread * scaled + ready.added


def _blind(blind: Array, elapsed: NDArray[np.int64]) -> StepPrediction:
    """What comes of the rest where no heart rate was observed, which most requests ask for."""
    return StepPrediction(
        heart_rate=np.clip(blind, LOWEST, HIGHEST),
        blind=blind,
        kinds=np.full(len(blind), BLIND),
        minutes=elapsed.astype(np.float64) * STEP_SECONDS / 60.0,
    )


def with_history(motion: Features, history: Array | Features) -> Features:
    """(T, 2) motion, or one for each of B, and (B, T) history -> (B, T, 3) network inputs."""
    inputs = np.empty((*history.shape, 3), dtype=np.float32)
    inputs[..., :2] = motion
    inputs[..., 2] = history
    return inputs
