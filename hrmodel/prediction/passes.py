"""Runs sequences of any lengths through the network, several at once where they are alike."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from hrmodel.network.network import HeartRateNetwork, State
from hrmodel.signals.features import Features
from hrmodel.signals.rows import rounded
from hrmodel.workouts.workout import Array

MAX_STEPS = 32_768  # of one batch, padding included: 8 MB per layer
LONG_STEPS = 16_384  # of one pass over several views of one workout, for its memory
BRANCHES = 1024  # side by side
LEAST_FILLED = 0.8  # a sequence shorter than this share of the longest goes into another batch


def run_each(network: HeartRateNetwork, inputs: Sequence[Features]) -> list[Array]:
    """(B, T, 3) inputs, T different in each -> (B, T) outputs in the subject's scale, each run by itself."""
    return [_run_rows(network, each) for each in inputs]


def run_together(network: HeartRateNetwork, inputs: Sequence[Features]) -> list[Array]:
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


def run_branches(network: HeartRateNetwork, trunk: Features, places: NDArray[np.intp], branches: Features) -> Array:
    """(T, 3) trunk and (O, K, 3) branches, number o after the trunk's first places[o] steps -> (O,) last outputs.

    `places` increase. The trunk is run once and all branches side by side: what O passes of up to T steps would give
    takes T + O K steps.
    """
    device = network.device
    steps, following = torch.from_numpy(trunk)[None].to(device), torch.from_numpy(branches)
    states: list[State] = []
    outputs = [np.empty(0)]
    with torch.inference_mode():
        state, begun = network.start_state(1), 0
        for place in places.tolist():
            if place > begun:
                _, state = network.go_on(steps[:, begun:place], state)
                begun = place
            states.append(state)
        for first in range(0, len(states), BRANCHES):
            state = tuple(torch.cat(parts, dim=1) for parts in zip(*states[first : first + BRANCHES], strict=True))
            output, _ = network.go_on(following[first : first + BRANCHES].to(device), state)
            outputs.append(output[:, -1].cpu().numpy().astype(np.float64))
    return np.concatenate(outputs)


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


def _run_rows(network: HeartRateNetwork, inputs: Features) -> Array:
    """(B, T, 3) -> (B, T), of long sequences a few rows at a time."""
    rows = max(1, LONG_STEPS // max(inputs.shape[1], 1))
    if inputs.shape[0] <= rows:
        return _run(network, inputs)
    return np.concatenate([_run(network, inputs[start : start + rows]) for start in range(0, inputs.shape[0], rows)])


def _run(network: HeartRateNetwork, inputs: Features) -> Array:
    device, steps = network.device, inputs.shape[1]
    more = int(rounded(steps)) - steps
    filled = np.pad(inputs, ((0, 0), (0, more), (0, 0))) if more else inputs
    with torch.inference_mode():
        output: Array = network(torch.from_numpy(filled).to(device)).cpu().numpy().astype(np.float64)
    return output[:, :steps]
