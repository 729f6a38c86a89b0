"""Many blind predictions of one route at slightly different speeds: their common beginning is run once.

The network reads a workout from its beginning on. So a try is run from the first step in which it differs from the try
before, up to the last step whose output is read. Only the response, which is cheap, uses means over the whole workout.
"""

from collections.abc import Sequence

import numpy as np
import torch

from hrmodel.network.network import HeartRateNetwork, State
from hrmodel.personal.response import Response, response_features
from hrmodel.prediction.formula import HIGHEST, LOWEST
from hrmodel.prediction.passes import run_batched
from hrmodel.signals.contract import FeatureContract
from hrmodel.signals.features import Features, motion_of, vertical_speed
from hrmodel.signals.grid import GriddedWorkout, to_grid
from hrmodel.signals.scale import SubjectScale
from hrmodel.signals.steps import channel
from hrmodel.workouts.workout import Array, Workout

LONG = 512  # steps that are run at once, at most
GRAIN = 16  # steps: the length of a pass is a multiple of it, because torch prepares a pass anew for each length


class Tries:
    """Blind heart rates of one person. Workouts have one sample per step of 10 s, without gaps and heart rate."""

    def __init__(
        self, network: HeartRateNetwork, contract: FeatureContract, scale: SubjectScale, response: Response
    ) -> None:
        self._network, self._contract, self._scale, self._response = network, contract, scale, response
        self._inputs: Features = np.empty((0, 3), dtype=np.float32)
        self._states: list[tuple[int, State]] = [(0, network.start_state(1))]  # of the network, before some steps
        self._scaled = np.empty(0)

    def many(self, workouts: Sequence[Workout]) -> list[Array]:
        """(S,) bpm of each workout, S different in each; one batch takes half the time of single passes."""
        gridded = [to_grid(workout) for workout in workouts]
        outputs = run_batched(self._network, [self._features(grid)[None] for grid in gridded])
        return [self._bpm(grid, output[0]) for grid, output in zip(gridded, outputs, strict=True)]

    def until(self, workout: Workout, seconds: float) -> Array:
        """(S,) bpm of the steps that begin before `seconds`; later ones may be NaN."""
        gridded = to_grid(workout)
        inputs = self._features(gridded)
        end = min(len(inputs), int(np.searchsorted(workout.t, seconds)))
        self._forget(self._first_difference(inputs))
        self._inputs = inputs
        if (done := len(self._scaled)) < end:
            shared = done - done % GRAIN  # the next try begins there, too
            self._run(self._states[-1][0], shared)
            self._run(shared, end)
        scaled = np.full(len(inputs), np.nan)
        scaled[: len(self._scaled)] = self._scaled[: len(inputs)]
        return self._bpm(gridded, scaled)

    def _features(self, gridded: GriddedWorkout) -> Features:
        """(S, 3)"""
        climb = vertical_speed(channel(gridded, "altitude"), self._contract)
        motion = motion_of(channel(gridded, "speed"), climb, self._scale)
        return np.column_stack([motion, np.zeros(len(motion), dtype=np.float32)])

    def _bpm(self, gridded: GriddedWorkout, scaled: Array) -> Array:
        added = response_features(gridded, self._scale, self._contract) @ self._response.weights
        bpm: Array = np.clip(self._scale.heart_rate + self._scale.spread * scaled + added, LOWEST, HIGHEST)
        return bpm

    def _first_difference(self, inputs: Features) -> int:
        shared = min(len(inputs), len(self._inputs))
        differ = (inputs[:shared] != self._inputs[:shared]).any(axis=1)
        return int(differ.argmax()) if differ.any() else shared

    def _forget(self, first: int) -> None:
        """Drop the outputs from step `first` on, and the states after it."""
        self._states = [(step, state) for step, state in self._states if step <= first]
        self._scaled = self._scaled[:first]

    def _run(self, begin: int, end: int) -> None:
        """Run the network from `begin`, where its state is known, at least to `end`."""
        while begin < end:
            steps = min(LONG, -(-(end - begin) // GRAIN) * GRAIN)
            piece = self._inputs[begin : begin + steps]
            block = np.zeros((1, steps, 3), dtype=np.float32)
            block[0, : len(piece)] = piece  # padded at the end: no earlier output sees it
            with torch.inference_mode():
                output, state = self._network.go_on(torch.from_numpy(block), self._states[-1][1])
            scaled = output[0, : len(piece)].numpy().astype(np.float64)
            self._scaled = np.concatenate([self._scaled[:begin], scaled])
            begin += steps
            if len(piece) == steps:
                self._states.append((begin, state))
