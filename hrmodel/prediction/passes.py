"""Runs sequences of any lengths through the network, several at once where they are alike."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from hrmodel.network.lstm import HeartRateLSTM
from hrmodel.signals.features import Features
from hrmodel.workouts.workout import Array

MAX_STEPS = 32_768  # of one batch, padding included: 8 MB per layer
ROUNDED = 16  # steps: torch prepares a pass anew for every length that it has not seen lately, for a millisecond
LEAST_FILLED = 0.8  # a sequence shorter than this share of the longest goes into another batch


def run_each(network: HeartRateLSTM, inputs: Sequence[Features]) -> list[Array]:
    """(B, T, 3) inputs, T different in each -> (B, T) outputs in the subject's scale, each run by itself."""
    return [_run(network, each) for each in inputs]


def run_together(network: HeartRateLSTM, inputs: Sequence[Features]) -> list[Array]:
    """The same within 1e-5, alike ones in one batch: a batch of 8 takes half the time of 8 batches.

    Shorter ones are filled up at the end, where no earlier output sees it.
    """
    outputs: list[Array] = [np.empty(0)] * len(inputs)
    for places in _alike(inputs):
        longest = inputs[places[0]].shape[1]
        batch = np.zeros((sum(inputs[place].shape[0] for place in places), longest, 3), dtype=np.float32)
        starts = np.cumsum([0, *(inputs[place].shape[0] for place in places)])
        for place, start in zip(places, starts, strict=False):
            rows, steps, _ = inputs[place].shape
            batch[start : start + rows, :steps] = inputs[place]
        output = _run(network, batch)
        for place, start in zip(places, starts, strict=False):
            rows, steps, _ = inputs[place].shape
            outputs[place] = output[start : start + rows, :steps]
    return outputs


def _alike(inputs: Sequence[Features]) -> Iterator[list[int]]:
    """Places of inputs of similar lengths, the longest first."""
    group: list[int] = []
    rows = 0
    for place in sorted(range(len(inputs)), key=lambda place: -inputs[place].shape[1]):
        more, steps, _ = inputs[place].shape
        longest = inputs[group[0]].shape[1] if group else steps
        if group and (steps < LEAST_FILLED * longest or (rows + more) * longest > MAX_STEPS):
            yield group
            group, rows = [], 0
        group.append(place)
        rows += more
    if group:
        yield group


def _run(network: HeartRateLSTM, inputs: Features) -> Array:
    device, steps = network.fc.weight.device, inputs.shape[1]
    filled = np.pad(inputs, ((0, 0), (0, -steps % ROUNDED), (0, 0))) if steps % ROUNDED else inputs
    with torch.inference_mode():
        output: Array = network(torch.from_numpy(filled).to(device)).cpu().numpy().astype(np.float64)
    return output[:, :steps]
