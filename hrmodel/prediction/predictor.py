"""A checkpoint and a subject's level in, heart rate with a band out. No output sees its own or a later heart rate."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from hrmodel.network.checkpoint import Checkpoint
from hrmodel.prediction.corrector import causal_past
from hrmodel.prediction.intervals import DEFAULT_INTERVALS, NOWCAST, Intervals, half_widths
from hrmodel.prediction.sampling import step_of_sample, within_step
from hrmodel.signals.features import Features, history_feature, motion_features
from hrmodel.signals.grid import STEP_SECONDS, GriddedWorkout, carried, to_grid
from hrmodel.signals.level import Level, population_level
from hrmodel.signals.response import Response, response_features
from hrmodel.signals.steps import elapsed_steps, measured_heart_rate, segment_slices, step_bins
from hrmodel.signals.tracking import NEW, UNKNOWN
from hrmodel.workouts.workout import Array, Workout

LOWEST, HIGHEST = 25.0, 240.0  # bpm: what a heart can do; nothing outside is answered or believed


@dataclass(frozen=True, kw_only=True, eq=False)
class Prediction:
    """One value per input sample, N in all, in bpm."""

    heart_rate: Array  # (N,)
    lower: Array  # (N,)
    upper: Array  # (N,)
    observed_until: float | None  # s: end of the last step with heart rate; None without any
    protocol: str  # blind | forecast | nowcast
    level: str  # subject | population


@dataclass(frozen=True, kw_only=True, eq=False)
class StepPrediction:
    """One value per step, S in all."""

    heart_rate: Array  # (S,) bpm, within 25..240
    blind: Array  # (S,) bpm: the pass that knows no heart rate
    kinds: NDArray[np.int64]  # (S,) index into intervals.KINDS
    minutes: Array  # (S,) since the last observed heart rate, since the start where there was none


class Predictor:
    """Serves one checkpoint. Holds nothing that a request changes: threads may share it."""

    def __init__(self, checkpoint: Checkpoint, device: str = "cpu") -> None:
        self.checkpoint = checkpoint
        self.intervals = checkpoint.intervals or DEFAULT_INTERVALS
        self.device = torch.device(device)
        self._network = checkpoint.build().to(self.device)

    def predict(
        self,
        workout: Workout,
        *,
        level: Level | None = None,
        response: Response | None = None,
        intervals: Intervals | None = None,
        correct: bool = True,
        coverage: float = 0.9,
    ) -> Prediction:
        """Predict every sample, with a band that holds `coverage` (0.5..0.99) of the heart rates.

        `level` None: the checkpoint's, else the population's. `response`: the person's, as tracked so far; None: no
        workout was followed yet. `intervals` None: the checkpoint's. `correct` False: the free run alone after
        observed heart rate. Raises ValueError for another coverage.
        """
        gridded = to_grid(_believable(workout))
        observed = measured_heart_rate(gridded)
        steps = self.predict_steps(gridded, [observed], level=level, response=response, correct=correct)[0]
        width = half_widths(intervals or self.intervals, steps.kinds, coverage, steps.minutes)
        own = step_of_sample(gridded)
        # right after an observed step a sample gets its own step's value, nothing finer
        finer = np.where(steps.kinds[own] == NOWCAST, 0.0, within_step(workout.t, gridded, steps.blind))
        value = np.clip(steps.heart_rate[own] + finer, LOWEST, HIGHEST)
        until, protocol = _observed_until(gridded, observed)
        return Prediction(
            heart_rate=value,
            lower=np.clip(value - width[own], LOWEST, HIGHEST),
            upper=np.clip(value + width[own], LOWEST, HIGHEST),
            observed_until=until,
            protocol=protocol,
            level="population" if (level or self.checkpoint.level) is None else "subject",
        )

    def predict_steps(
        self,
        gridded: GriddedWorkout,
        views: Sequence[Array],
        *,
        level: Level | None = None,
        response: Response | None = None,
        correct: bool = True,
    ) -> list[StepPrediction]:
        """Predict one workout once per view: (S,) heart rate of all its steps in bpm, NaN where not known.

        The blind pass runs once; the free runs of all views run as one batch. Without a subject's level the free run
        is left out of the answer: its history would be in nobody's scale, while the residuals need none.
        """
        known = level or self.checkpoint.level
        scale = known or population_level(self.checkpoint.contract, gridded.mean_speed)
        followed = response or (NEW if known else UNKNOWN)
        added = response_features(gridded, scale, self.checkpoint.contract) @ followed.weights
        motion = [motion_features(segment, scale, self.checkpoint.contract) for segment in gridded.segments]
        scaled = np.concatenate([self._run(_with_history(part, np.zeros((1, len(part)))))[0] for part in motion])
        blind = scale.heart_rate + scale.spread * scaled + added
        elapsed = elapsed_steps(gridded)
        pasts = [causal_past(elapsed, view - blind, followed.variance) for view in views]
        if correct and known is None:
            answers = [past.corrected(blind) for past in pasts]
        else:
            free = blind + scale.spread * (
                self._free_run(gridded, motion, np.stack(views) - added, scale, scaled) - scaled
            )
            answers = [past.answer(blind, row) if correct else row for past, row in zip(pasts, free, strict=True)]
        return [
            StepPrediction(
                heart_rate=np.clip(answer, LOWEST, HIGHEST),
                blind=blind,
                kinds=past.kinds,
                minutes=np.where(past.nothing, elapsed * STEP_SECONDS, past.since) / 60.0,
            )
            for past, answer in zip(pasts, answers, strict=True)
        ]

    def _free_run(
        self, gridded: GriddedWorkout, motion: list[Features], views: Array, scale: Level, scaled: Array
    ) -> Array:
        """(V, S) network output with each view's history. Where a segment holds none it is the blind one, `scaled`.

        `views`: (V, S) known heart rate less the response, bpm: what the network has learned to go on with.
        """
        free = np.tile(scaled, (len(views), 1))
        for features, (_, part) in zip(motion, segment_slices(gridded), strict=True):
            rows = np.flatnonzero(np.isfinite(views[:, part]).any(axis=1))
            if len(rows):
                history = [history_feature(carried(views[row, part]), scale.heart_rate, scale.spread) for row in rows]
                free[rows, part] = self._run(_with_history(features, np.stack(history)))
        return free

    def _run(self, inputs: Features) -> Array:
        """(B, T, 3) inputs -> (B, T) output in the subject's scale."""
        with torch.inference_mode():
            output: Array = self._network(torch.from_numpy(inputs).to(self.device)).cpu().numpy().astype(np.float64)
        return output


def _with_history(motion: Features, history: Array | Features) -> Features:
    """(T, 2) motion and (B, T) history -> (B, T, 3) network inputs."""
    inputs = np.empty((*history.shape, 3), dtype=np.float32)
    inputs[..., :2] = motion
    inputs[..., 2] = history
    return inputs


def _believable(workout: Workout) -> Workout:
    """Heart rate that no heart has (0 in a dropout) was not observed."""
    if workout.heart_rate is None:
        return workout
    believed = (workout.heart_rate >= LOWEST) & (workout.heart_rate <= HIGHEST)
    return replace(workout, heart_rate=np.where(believed, workout.heart_rate, np.nan))


def _observed_until(gridded: GriddedWorkout, observed: Array) -> tuple[float | None, str]:
    """End of the last observed step in s, and the protocol that this makes."""
    known = np.flatnonzero(np.isfinite(observed))
    if not len(known):
        return None, "blind"
    until = float((step_bins(gridded)[known[-1]] + 1) * STEP_SECONDS)
    return until, "nowcast" if known[-1] == len(observed) - 1 else "forecast"
