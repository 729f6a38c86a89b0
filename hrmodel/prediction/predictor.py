"""A checkpoint and a subject's level in, heart rate with a band out. No output sees its own or a later heart rate."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from hrmodel.network.checkpoint import Checkpoint
from hrmodel.personal.bands import DEFAULT_INTERVALS, NOWCAST, Intervals, half_widths
from hrmodel.personal.kalman import NEW, UNKNOWN
from hrmodel.personal.response import Response, response_features
from hrmodel.prediction.ahead import answer_ahead
from hrmodel.prediction.passes import run_branches, run_each, run_together
from hrmodel.prediction.sampling import step_of_sample, within_step
from hrmodel.prediction.stepwise import HIGHEST, LOWEST, Ready, StepPrediction, answer_steps, blind_output
from hrmodel.prediction.tries import Tries
from hrmodel.signals.features import Features, motion_of, vertical_speed
from hrmodel.signals.grid import STEP_SECONDS, GriddedWorkout, to_grid
from hrmodel.signals.rows import rows_of
from hrmodel.signals.scale import SubjectScale, population_scale
from hrmodel.signals.steps import channel, measured_heart_rate, segment_begins, step_bins
from hrmodel.workouts.workout import Array, Workout


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
class Query:
    """One workout to predict, and what is known of the person.

    `level` None: the checkpoint's, else the population's. `response`: the person's, as tracked so far; None: the one
    that the checkpoint holds, else none: no workout was followed yet. `intervals` None: the checkpoint's, the person's
    own before the population's. `correct` False: the free run alone after observed heart rate.
    """

    workout: Workout
    level: SubjectScale | None = None
    response: Response | None = None
    intervals: Intervals | None = None
    correct: bool = True
    coverage: float = 0.9  # share of heart rates that the band holds, 0.5..0.99


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """A query in the network's words: what it takes to run it, and to read its outputs."""

    query: Query
    ready: Ready
    inputs: list[Features]  # (rows, L, 3) of each pass: the blind ones of all segments, then the free runs

    @property
    def size(self) -> int:
        """What it takes, about: steps of all passes, and samples."""
        return sum(math.prod(each.shape[:2]) for each in self.inputs) + len(self.query.workout.t)


class Predictor:
    """Serves one checkpoint. Holds nothing that a request changes: threads may share it."""

    def __init__(self, checkpoint: Checkpoint, device: str = "cpu") -> None:
        self.checkpoint = checkpoint
        self.intervals = checkpoint.intervals or DEFAULT_INTERVALS  # the population's
        self.followed = checkpoint.followed  # what the file knows of its person; None: nothing
        network = checkpoint.build()
        network.load_state_dict(checkpoint.weights, assign=True)  # the checkpoint's own tensors: held once, not twice
        self._network = network.to(torch.device(device))

    def predict(
        self,
        workout: Workout,
        *,
        level: SubjectScale | None = None,
        response: Response | None = None,
        intervals: Intervals | None = None,
        correct: bool = True,
        coverage: float = 0.9,
    ) -> Prediction:
        """Predict every sample, with a band; the arguments are those of `Query`. Raises as `predict_many`."""
        query = Query(
            workout=workout, level=level, response=response, intervals=intervals, correct=correct, coverage=coverage
        )
        return self.predict_many([query])[0]

    def predict_many(self, queries: Sequence[Query]) -> list[Prediction]:
        """One prediction per query, as `predict` alone would give it within 1e-3 bpm; alike ones share their passes.

        Raises ValueError for a coverage outside 0.5..0.99.
        """
        prepared = [self.prepare(query) for query in queries]
        return [self.finish(each, outputs) for each, outputs in zip(prepared, self.run(prepared), strict=True)]

    def prepare(self, query: Query) -> Prepared:
        """What comes before the network's passes."""
        gridded = to_grid(_believable(query.workout))
        ready = self._ready(gridded, [measured_heart_rate(gridded)], query.level, query.response, query.correct)
        return Prepared(query=query, ready=ready, inputs=[*ready.blind_inputs(), *ready.free_inputs()])

    def run(self, prepared: Sequence[Prepared]) -> list[list[Array]]:
        """The network's passes, and nothing else: for each query its outputs, (rows, T) per input."""
        # alone it keeps to shapes that do not depend on which heart rates are there: then neither do its last bits
        run = run_together if len(prepared) > 1 else run_each
        outputs = iter(run(self._network, [inputs for each in prepared for inputs in each.inputs]))
        return [[next(outputs) for _ in each.inputs] for each in prepared]

    def finish(self, prepared: Prepared, outputs: Sequence[Array]) -> Prediction:
        """What comes after them. Raises ValueError for a coverage outside 0.5..0.99."""
        query, ready = prepared.query, prepared.ready
        (steps,) = answer_steps(ready, iter(outputs))
        gridded, t = ready.gridded, query.workout.t
        own_bands = self.followed.intervals if self.followed else None
        width = half_widths(query.intervals or own_bands or self.intervals, steps.kinds, query.coverage, steps.minutes)
        own = step_of_sample(gridded)
        # right after an observed step a sample gets its own step's value, nothing finer
        finer = np.where(steps.kinds[own] == NOWCAST, 0.0, within_step(t, gridded, steps.blind))
        value = np.clip(steps.heart_rate[own] + finer, LOWEST, HIGHEST)
        until, protocol = _observed_until(gridded, ready.views[0])
        return Prediction(
            heart_rate=value,
            lower=np.clip(value - width[own], LOWEST, HIGHEST),
            upper=np.clip(value + width[own], LOWEST, HIGHEST),
            observed_until=until,
            protocol=protocol,
            level="subject" if ready.known else "population",
        )

    def tries(self, level: SubjectScale, response: Response | None = None) -> Tries:
        """For many blind predictions of somebody on one route, each a little different from the one before."""
        followed = response or self._own_response(level) or NEW
        return Tries(self._network, self.checkpoint.contract, level, followed)

    def predict_steps(
        self,
        gridded: GriddedWorkout,
        views: Sequence[Array],
        *,
        level: SubjectScale | None = None,
        response: Response | None = None,
        correct: bool = True,
    ) -> list[StepPrediction]:
        """Predict one workout once per view: (S,) heart rate of all its steps in bpm, NaN where not known.

        The blind pass runs once; the free runs of all views run as one batch.
        """
        ready = self._ready(gridded, views, level, response, correct)
        return answer_steps(ready, iter(run_each(self._network, [*ready.blind_inputs(), *ready.free_inputs()])))

    def predict_ahead(
        self,
        gridded: GriddedWorkout,
        view: Array,
        targets: NDArray[np.intp],
        horizon: int,
        *,
        level: SubjectScale | None = None,
        response: Response | None = None,
    ) -> StepPrediction:
        """Predict the steps `targets` (O,), each with what `view` (S,) holds `horizon` steps before it and earlier.

        What `predict_steps` gives for a view of its own per target, within 1e-6 bpm, in one pass: linear in S.
        """
        ready = self._ready(gridded, [view], level, response, correct=True)
        blind = blind_output(ready, iter(run_each(self._network, ready.blind_inputs())))
        return answer_ahead(ready, blind, targets, horizon, partial(run_branches, self._network))

    def _ready(
        self,
        gridded: GriddedWorkout,
        views: Sequence[Array],
        level: SubjectScale | None,
        response: Response | None,
        correct: bool,
    ) -> Ready:
        known, contract = level or self.checkpoint.level, self.checkpoint.contract
        scale = known or population_scale(contract, gridded.mean_speed)
        followed = response or self._own_response(level) or (NEW if known else UNKNOWN)
        begins = segment_begins(gridded)
        climb = vertical_speed(channel(gridded, "altitude"), contract, begins)
        return Ready(
            gridded=gridded,
            views=views,
            known=known is not None,
            scale=scale,
            variance=followed.variance,
            added=response_features(gridded, scale, contract) @ followed.weights,
            motion=motion_of(channel(gridded, "speed"), climb, scale),
            begins=begins,
            rows=rows_of(gridded),
            correct=correct,
        )

    def _own_response(self, level: SubjectScale | None) -> Response | None:
        """The checkpoint's, which is in the scale of its own level."""
        same = level is None or level == self.checkpoint.level
        return self.followed.response if self.followed and same else None


def _believable(workout: Workout) -> Workout:
    """Heart rate that no heart has (0 in a dropout) was not observed."""
    if workout.heart_rate is None:
        return workout
    wrong = (workout.heart_rate < LOWEST) | (workout.heart_rate > HIGHEST)
    return replace(workout, heart_rate=np.where(wrong, np.nan, workout.heart_rate)) if wrong.any() else workout


def _observed_until(gridded: GriddedWorkout, observed: Array) -> tuple[float | None, str]:
    """End of the last observed step in s, and the protocol that this makes."""
    known = np.flatnonzero(np.isfinite(observed))
    if not len(known):
        return None, "blind"
    until = float((step_bins(gridded)[known[-1]] + 1) * STEP_SECONDS)
    return until, "nowcast" if known[-1] == len(observed) - 1 else "forecast"
