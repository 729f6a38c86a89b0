"""Many blind predictions of one route at slightly different speeds: their common beginning is run once.

The network reads a workout from its beginning on. So a try is run from the first step in which it differs from the try
before, up to the last step whose output is read. Only the response, which is cheap, uses means over the whole workout.
"""

from collections.abc import Sequence

import numpy as np
import torch

from hrmodel.network.network import HeartRateNetwork, State
from hrmodel.network.whitening import OwnReading
from hrmodel.personal.response import Response, response_features
from hrmodel.prediction.formula import plausible
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
        self,
        network: HeartRateNetwork,
        contract: FeatureContract,
        scale: SubjectScale,
        response: Response,
        reading: OwnReading | None,
    ) -> None:
        """`reading`: what the response reads out of the network's last layer; None: nothing."""
        self._network, self._contract, self._scale, self._response = network, contract, scale, response
        self._reading = reading
        self._inputs: Features = np.empty((0, 3), dtype=np.float32)
        self._states: list[tuple[int, State]] = [(0, network.start_state(1))]  # of the network, before some steps
        self._bpm = np.empty(0)  # without the response to effort

    def many(self, workouts: Sequence[Workout]) -> list[Array]:
        """(S,) bpm of each workout, S different in each; one batch takes half the time of single passes."""
        gridded = [to_grid(workout) for workout in workouts]
        outputs = run_batched(self._network, [self._features(grid)[None] for grid in gridded])
        return [self._whole(grid, self._read(output[0])) for grid, output in zip(gridded, outputs, strict=True)]

    def until(self, workout: Workout, seconds: float) -> Array:
        """(S,) bpm of the steps that begin before `seconds`; later ones may be NaN."""
        gridded = to_grid(workout)
        inputs = self._features(gridded)
        end = min(len(inputs), int(np.searchsorted(workout.t, seconds)))
        self._forget(self._first_difference(inputs))
        self._inputs = inputs
        if (done := len(self._bpm)) < end:
            shared = done - done % GRAIN  # the next try begins there, too
            self._run(self._states[-1][0], shared)
            self._run(shared, end)
        bpm = np.full(len(inputs), np.nan)
        bpm[: len(self._bpm)] = self._bpm[: len(inputs)]
        return self._whole(gridded, bpm)

    def _features(self, gridded: GriddedWorkout) -> Features:
        """(S, 3)"""
        climb = vertical_speed(channel(gridded, "altitude"), self._contract)
        motion = motion_of(channel(gridded, "speed"), climb, self._scale)
        return np.column_stack([motion, np.zeros(len(motion), dtype=np.float32)])

    def _read(self, output: Features) -> Array:
        """(T, 1 + H) outputs of the network -> (T,) bpm without the response to effort."""
        bpm: Array = self._scale.heart_rate + self._scale.spread * output[:, 0].astype(np.float64)
        return bpm if self._reading is None else bpm + self._reading.of(output[:, 1:])

    def _whole(self, gridded: GriddedWorkout, bpm: Array) -> Array:
        added = response_features(gridded, self._scale, self._contract) @ self._response.of_effort
        return plausible(bpm + added)

    def _first_difference(self, inputs: Features) -> int:
        shared = min(len(inputs), len(self._inputs))
        differ = (inputs[:shared] != self._inputs[:shared]).any(axis=1)
        return int(differ.argmax()) if differ.any() else shared

    def _forget(self, first: int) -> None:
        """Drop the outputs from step `first` on, and the states after it."""
        self._states = [(step, state) for step, state in self._states if step <= first]
        self._bpm = self._bpm[:first]

    def _run(self, begin: int, end: int) -> None:
        """Run the network from `begin`, where its state is known, at least to `end`."""
        while begin < end:
            steps = min(LONG, -(-(end - begin) // GRAIN) * GRAIN)
            piece = self._inputs[begin : begin + steps]
            block = np.zeros((1, steps, 3), dtype=np.float32)
            block[0, : len(piece)] = piece  # padded at the end: no earlier output sees it
            with torch.inference_mode():
                hidden, state = self._network.go_on(torch.from_numpy(block), self._states[-1][1])
                output = self._network.with_read_out(hidden)[0, : len(piece)].numpy()
            self._bpm = np.concatenate([self._bpm[:begin], self._read(output)])
            begin += steps
            if len(piece) == steps:
                self._states.append((begin, state))
