"""A checkpoint and a person in, heart rate with a band out. No value depends on its own or a later heart rate."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

from hrmodel.network.checkpoint import Checkpoint
from hrmodel.network.onnx import UnsupportedNetwork
from hrmodel.network.whitening import OwnReading
from hrmodel.personal.bands import DEFAULT_INTERVALS, NOWCAST, Intervals
from hrmodel.personal.kalman import NEW, UNKNOWN
from hrmodel.personal.response import Response, response_features
from hrmodel.prediction.formula import HIGHEST, LOWEST, StepPrediction, plausible, predict_heart_rate
from hrmodel.prediction.passes import SAME_BITS, chunks, run_batched, run_separately
from hrmodel.prediction.prepared import PreparedQuery, StepQuery
from hrmodel.prediction.tries import Tries
from hrmodel.signals.features import Features, motion_of, vertical_speed
from hrmodel.signals.grid import STEP_SECONDS, GriddedWorkout, to_grid
from hrmodel.signals.scale import SubjectScale, population_scale
from hrmodel.signals.steps import (
    channel,
    elapsed_steps,
    measured_heart_rate,
    rows_of,
    segment_begins,
    step_bins,
    step_of_sample,
    within_step,
)
from hrmodel.workouts.workout import Array, Workout

if TYPE_CHECKING:
    from hrmodel.network.inference import Inference


@dataclass(frozen=True, kw_only=True, eq=False)
class Query:
    """One workout to predict, and the person's own terms.

    `level` None: the checkpoint's scale, else the population's. `response` None: the checkpoint's response at the
    workout's start, or now, else that of a person without workouts. `intervals` None: the checkpoint's bands, the
    person's before the population's. `correct` False: not the correction, but the network itself follows observed heart
    rate, as its history.
    """

    workout: Workout
    level: SubjectScale | None = None
    response: Response | None = None
    intervals: Intervals | None = None
    correct: bool = True
    coverage: float = 0.9  # share of heart rates that the band holds, 0.5..0.99


@dataclass(frozen=True, kw_only=True, eq=False)
class Prediction:
    """One value per input sample, N in all, in bpm."""

    heart_rate: Array  # (N,)
    lower: Array  # (N,)
    upper: Array  # (N,)
    observed_until: float | None  # s: end of the last step with heart rate; None without any
    protocol: str  # blind | forecast | nowcast
    level: str  # subject | population


class Predictor:
    """Serves one checkpoint. Thread-safe: a request changes nothing in it."""

    def __init__(self, checkpoint: Checkpoint, device: str = "cpu") -> None:
        self.checkpoint = checkpoint
        self.intervals = checkpoint.intervals or DEFAULT_INTERVALS  # the population's
        self.followed = checkpoint.followed  # the person's state in the file, if any
        network = checkpoint.build()
        network.load_state_dict(checkpoint.weights, assign=True)  # the checkpoint's own tensors: held once, not twice
        self._network = network.to(torch.device(device))

    def warm_up(self) -> None:
        """Make now what the first prediction would wait for."""
        _ = self._inference

    @cached_property
    def _inference(self) -> "Inference | None":
        """What runs the passes of predictions; None: torch does, on another device or for another architecture."""
        from hrmodel.network.inference import Inference  # 25 MB that training and evaluation do not need

        try:
            return Inference(self.checkpoint) if self._network.device.type == "cpu" else None
        except UnsupportedNetwork:
            return None

    def predict(self, queries: Sequence[Query]) -> list[Prediction]:
        """One prediction per query: prepare, run the network's passes, finish.

        Queries of similar length share passes; a query alone gives the same within 1e-3 bpm. Raises ValueError for a
        coverage outside 0.5..0.99.
        """
        prepared = [self.prepare(query) for query in queries]
        outputs = self.run(prepared)
        return [self.finish(*stages) for stages in zip(queries, prepared, outputs, strict=True)]

    def prepare(self, query: Query) -> PreparedQuery:
        """Everything before the network's passes: the 10 s grid, the scale, the response and the network's inputs."""
        gridded = to_grid(_without_implausible(query.workout))
        return self._prepare(
            gridded,
            level=query.level,
            response=query.response,
            intervals=query.intervals,
            correct=query.correct,
            coverage=query.coverage,
        )

    def run(self, prepared: Sequence[PreparedQuery]) -> list[list[Features]]:
        """The network's passes alone: for each query the outputs (k, L, 1 + H) of its inputs."""
        if self._inference is not None:  # no bit of a row depends on the others, nor on what it is filled up with
            outputs = iter(run_batched(self._inference, [rows for query in prepared for rows in query.unfilled_inputs]))
        else:  # for one query, shapes do not depend on which heart rates are observed: then neither do the last bits
            inputs = [rows for query in prepared for rows in query.inputs]
            outputs = iter((run_batched if len(prepared) > 1 else run_separately)(self._network, inputs))
        return [[next(outputs) for _ in query.inputs] for query in prepared]

    def finish(self, query: Query, prepared: PreparedQuery, outputs: Sequence[Features]) -> Prediction:
        """Everything after the passes: the formula per step, then one value per sample. Raises ValueError."""
        gridded, observed = prepared.gridded, measured_heart_rate(prepared.gridded)
        unread, free_run = prepared.read_outputs(outputs)
        steps = predict_heart_rate(prepared, unread, observed, free_run=free_run)
        value, half_width = steps.heart_rate, steps.half_width
        if not gridded.samples_are_steps:
            step = step_of_sample(gridded)
            # inside a step samples follow the blind prediction, which leaks no heart rate; right after an observed step
            # they all get their step's value
            finer = np.where(steps.regimes[step] == NOWCAST, 0.0, within_step(query.workout.t, gridded, steps.blind))
            value, half_width = plausible(value[step] + finer), half_width[step]
        until, protocol = _observed_until(gridded, observed)
        return Prediction(
            heart_rate=value,
            lower=plausible(value - half_width),
            upper=plausible(value + half_width),
            observed_until=until,
            protocol=protocol,
            level="subject" if prepared.subject_known else "population",
        )

    def predict_steps(self, queries: Iterable[StepQuery]) -> Iterator[list[StepPrediction]]:
        """For each workout one prediction of its S steps per view.

        Workouts of similar length share passes; what one gets does not depend on the others. Memory grows with the
        longest workout alone.
        """
        for chunk in chunks(queries, lambda query: len(query.gridded.bin_of_sample)):
            prepared = [self._prepare(query.gridded, level=query.level, response=query.response) for query in chunk]
            passes = iter(run_batched(self._network, [rows for own in prepared for rows in own.inputs], SAME_BITS))
            for query, own in zip(chunk, prepared, strict=True):
                unread, _ = own.read_outputs([next(passes) for _ in own.inputs])
                yield [predict_heart_rate(own, unread, view.heart_rate, view.horizon) for view in query.views]

    def blind_outputs(
        self, workouts: Iterable[GriddedWorkout], level: SubjectScale | None = None
    ) -> Iterator[tuple[SubjectScale, Array, Features]]:
        """For each workout its scale, and without heart rate the network's output (S,) in that scale and that of its
        last layer (S, H).

        Workouts of similar length share passes; what one gets does not depend on the others.
        """  # fmt: skip
        for chunk in chunks(workouts, lambda workout: len(workout.bin_of_sample)):
            prepared = [self._prepare(workout, level=level, response=NEW) for workout in chunk]
            passes = iter(run_batched(self._network, [rows for own in prepared for rows in own.inputs], SAME_BITS))
            for own in prepared:
                steps = own.steps_of([next(passes) for _ in own.inputs])
                yield own.scale, steps[:, 0].astype(np.float64), steps[:, 1:]

    def tries(self, scale: SubjectScale, response: Response | None = None) -> Tries:
        """For many blind predictions of one person on one route, each a little different from the last."""
        response = response or self._own_response(scale) or NEW
        return Tries(self._network, self.checkpoint.contract, scale, response, self._reading(response))

    def _prepare(
        self,
        gridded: GriddedWorkout,
        *,
        level: SubjectScale | None,
        response: Response | None,
        intervals: Intervals | None = None,
        correct: bool = True,
        coverage: float = 0.9,
    ) -> PreparedQuery:
        scale, subject_known = self._scale(gridded, level)
        begins, contract = segment_begins(gridded), self.checkpoint.contract
        climb = vertical_speed(channel(gridded, "altitude"), contract, begins)
        response = response or self._own_response(level, gridded.started_at) or (NEW if subject_known else UNKNOWN)
        return PreparedQuery(
            gridded=gridded,
            scale=scale,
            subject_known=subject_known,
            response=response_features(gridded, scale, contract, climb) @ response.of_effort,
            reading=self._reading(response),
            offset_variance=response.variance,
            intervals=intervals or (self.followed and self.followed.intervals) or self.intervals,
            coverage=coverage,
            elapsed=elapsed_steps(gridded),
            begins=begins,
            motion=motion_of(channel(gridded, "speed"), climb, scale),
            rows=rows_of(gridded),
            read=None if correct else measured_heart_rate(gridded),
        )

    def _reading(self, response: Response) -> OwnReading | None:
        """What the response's weights read out of the last layer, if it has any."""
        if not len(response.of_last_layer) or self.checkpoint.last_layer is None:
            return None
        return self.checkpoint.last_layer.reading(response.of_last_layer)

    def _scale(self, gridded: GriddedWorkout, level: SubjectScale | None) -> tuple[SubjectScale, bool]:
        """The scale of a workout, and whether it is the subject's."""
        subject = level or self.checkpoint.level
        return subject or population_scale(self.checkpoint.contract, gridded.mean_speed), subject is not None

    def _own_response(self, scale: SubjectScale | None, when: datetime | None = None) -> Response | None:
        """The checkpoint's response at a time, today by default, which is only valid in the checkpoint's own scale."""
        same = scale is None or scale == self.checkpoint.level
        return self.followed.response_at(when or datetime.now(UTC)) if self.followed and same else None


def _without_implausible(workout: Workout) -> Workout:
    """Implausible heart rates (0 in a dropout) count as not observed."""
    if workout.heart_rate is None:
        return workout
    wrong = (workout.heart_rate < LOWEST) | (workout.heart_rate > HIGHEST)
    return replace(workout, heart_rate=np.where(wrong, np.nan, workout.heart_rate)) if wrong.any() else workout


def _observed_until(gridded: GriddedWorkout, observed: Array) -> tuple[float | None, str]:
    """End of the last observed step in s, and the resulting protocol."""
    known = np.isfinite(observed)
    if not known.any():
        return None, "blind"
    last = len(known) - 1 - int(known[::-1].argmax())
    until = float((step_bins(gridded)[last] + 1) * STEP_SECONDS)
    return until, "nowcast" if last == len(observed) - 1 else "forecast"
