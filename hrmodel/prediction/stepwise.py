"""One workout in the network's words, and from the network's outputs back to heart rate per step."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hrmodel.personal.bands import BLIND
from hrmodel.personal.correction import causal_past
from hrmodel.signals.features import Features, history_feature
from hrmodel.signals.grid import STEP_SECONDS, GriddedWorkout, carried
from hrmodel.signals.rows import Rows
from hrmodel.signals.scale import SubjectScale
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
    scale: SubjectScale
    variance: float  # bpm^2, of the level's offset
    added: Array  # (S,) bpm: the response
    motion: Features  # (S, 2)
    begins: NDArray[np.int64]  # (S,) the first step of each step's segment
    rows: list[Rows]  # all segments
    correct: bool

    @property
    def parts(self) -> list[slice]:
        """The steps of each segment."""
        return [part for _, part in segment_slices(self.gridded)]

    @cached_property
    def observed(self) -> NDArray[np.bool_]:
        """(V, n) which views hold heart rate in which segments, where the free run counts.

        Without a subject's level it is left out of the answer: its history would be in nobody's scale, while the
        residuals need none.
        """
        starts = np.flatnonzero(np.arange(len(self.begins)) == self.begins)
        if self.correct and not self.known:
            return np.zeros((len(self.views), len(starts)), dtype=np.bool_)
        observed: NDArray[np.bool_] = np.logical_or.reduceat(np.isfinite(np.stack(self.views)), starts, axis=1)
        return observed

    def free_views(self, rows: Rows) -> NDArray[np.intp]:
        """Which views the free run needs in these rows: all segments of a view, or none, so that the shape of a pass
        says nothing of which segments hold heart rate.
        """  # fmt: skip
        return np.flatnonzero(self.observed[:, rows.segments].any(axis=1))

    def blind_inputs(self) -> list[Features]:
        """(k, L, 3) per rows, without history."""
        return [with_history(rows.take(self.motion), 0.0) for rows in self.rows]

    def free_inputs(self) -> list[Features]:
        """(V' * k, L, 3) per rows that have views to run: their history, known heart rate less the response."""
        inputs = []
        histories = {view: self._history(view) for view in np.flatnonzero(self.observed.any(axis=1)).tolist()}
        for rows in self.rows:
            motion = rows.take(self.motion)
            views = [with_history(motion, rows.take(histories[view])) for view in self.free_views(rows).tolist()]
            if views:
                inputs.append(np.concatenate(views))
        return inputs

    def _history(self, view: int) -> Features:
        known = carried(self.views[view] - self.added, self.begins)
        return history_feature(known, self.scale.heart_rate, self.scale.spread, self.begins)


def answer_steps(ready: Ready, outputs: Iterator[Array]) -> list[StepPrediction]:
    """A prediction per view: `outputs` are those of `blind_inputs`, then those of `free_inputs`."""
    scaled = blind_output(ready, outputs)
    blind = blind_heart_rate(ready, scaled)
    elapsed = elapsed_steps(ready.gridded)
    if not any(np.isfinite(view).any() for view in ready.views):
        return [_blind(blind, elapsed)] * len(ready.views)
    free = np.tile(blind, (len(ready.views), 1))  # where a segment holds no heart rate
    for rows in ready.rows:
        views = ready.free_views(rows)
        if len(views):
            for view, output in zip(views, np.split(next(outputs), len(views)), strict=True):
                _add_free_run(ready, rows, view, output, scaled, free[view])
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


def blind_output(ready: Ready, outputs: Iterator[Array]) -> Array:
    """The next `outputs`, those of `blind_inputs`, -> (S,) in the subject's scale."""
    scaled = np.empty(len(ready.motion))
    for rows in ready.rows:
        rows.put(next(outputs), scaled)
    return scaled


def blind_heart_rate(ready: Ready, scaled: Array) -> Array:
    """(S,) the blind output -> (S,) bpm, with the person's response."""
    return ready.scale.heart_rate + ready.scale.spread * scaled + ready.added


def _add_free_run(ready: Ready, rows: Rows, view: int, output: Array, scaled: Array, free: Array) -> None:
    """Add what the free run (k, L) differs by from the blind one to (S,) `free`, in the segments with heart rate."""
    observed = ready.observed[view, rows.segments]
    places = rows.places[observed]
    real = places < len(free)
    own = places[real]
    free[own] += ready.scale.spread * (output[observed][real] - scaled[own])


def _blind(blind: Array, elapsed: NDArray[np.int64]) -> StepPrediction:
    """What comes of the rest where no heart rate was observed, which most requests ask for."""
    return StepPrediction(
        heart_rate=np.clip(blind, LOWEST, HIGHEST),
        blind=blind,
        kinds=np.full(len(blind), BLIND),
        minutes=elapsed.astype(np.float64) * STEP_SECONDS / 60.0,
    )


def with_history(motion: Features, history: Array | Features | float) -> Features:
    """(T, 2) motion, or (B, T, 2), one for each of B; (T,) or (B, T) history, or one number -> (B, T, 3) inputs."""
    steps = motion.shape[:-1] if isinstance(history, float) else np.broadcast_shapes(motion.shape[:-1], history.shape)
    inputs = np.empty((*steps, 3), dtype=np.float32)
    inputs[..., :2] = motion
    inputs[..., 2] = history
    return inputs
