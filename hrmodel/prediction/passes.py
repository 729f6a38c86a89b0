"""Runs the network over sequences of any lengths, and batches sequences of similar length."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch

from hrmodel.network.network import HeartRateNetwork
from hrmodel.signals.features import Features
from hrmodel.signals.steps import rounded

if TYPE_CHECKING:
    from hrmodel.network.inference import Inference

MAX_STEPS = 32_768  # of one batch, padding included: 8 MB per layer
LONG_STEPS = 16_384  # of one pass over several views of one workout, for its memory
CHUNK_STEPS = 4 * MAX_STEPS  # of all sequences that are in memory at once: 0.2 s of work
LEAST_FILLED = 0.8  # a sequence shorter than this share of the longest goes into another batch
SAME_BITS = 2  # rows from which on a sequence's output does not depend on how many others are in its batch

Item = TypeVar("Item")


def run_separately(network: HeartRateNetwork, inputs: Sequence[Features]) -> list[Features]:
    """(B, T, 3) inputs, T different in each -> (B, T, 1 + H): the output in the subject's scale, and the last layer's.

    One pass per input.
    """
    return [_run_rows(network, array) for array in inputs]


def run_batched(
    network: "HeartRateNetwork | Inference", inputs: Sequence[Features], least_rows: int = 1
) -> list[Features]:
    """The same within 1e-5, with similar lengths in one batch: a batch of 8 takes half the time of 8 passes.

    Shorter sequences are padded at the end, where no earlier output sees it. A batch has at least `least_rows` rows:
    with SAME_BITS a sequence has the same output in every batch.
    """
    outputs: list[Features] = [np.empty(0, dtype=np.float32)] * len(inputs)
    for places in _buckets(inputs):
        longest = inputs[places[0]].shape[1]
        rows = sum(inputs[place].shape[0] for place in places)
        batch = np.zeros((max(rows, least_rows), longest, 3), dtype=np.float32)
        starts = np.cumsum([0, *(inputs[place].shape[0] for place in places)])
        for place, start in zip(places, starts, strict=False):
            rows, steps, _ = inputs[place].shape
            batch[start : start + rows, :steps] = inputs[place]
        output = _run(network, batch)
        for place, start in zip(places, starts, strict=False):
            rows, steps, _ = inputs[place].shape
            outputs[place] = output[start : start + rows, :steps]
    return outputs


def chunks(items: Iterable[Item], steps: Callable[[Item], int]) -> Iterator[list[Item]]:
    """The items in order, in lists of at most CHUNK_STEPS `steps` in all, or of one longer item."""
    chunk: list[Item] = []
    total = 0
    for item in items:
        more = steps(item)
        if chunk and total + more > CHUNK_STEPS:
            yield chunk
            chunk, total = [], 0
        chunk.append(item)
        total += more
    if chunk:
        yield chunk


def _buckets(inputs: Sequence[Features]) -> Iterator[list[int]]:
    """Places in `inputs` of sequences of similar lengths, the longest first."""
    bucket: list[int] = []
    rows = 0
    for place in sorted(range(len(inputs)), key=lambda place: -inputs[place].shape[1]):
        more, steps, _ = inputs[place].shape
        longest = inputs[bucket[0]].shape[1] if bucket else steps
        if bucket and (steps < LEAST_FILLED * longest or (rows + more) * longest > MAX_STEPS):
            yield bucket
            bucket, rows = [], 0
        bucket.append(place)
        rows += more
    if bucket:
        yield bucket


def _run_rows(network: HeartRateNetwork, inputs: Features) -> Features:
    """(B, T, 3) -> (B, T, 1 + H), of long sequences a few rows at a time."""
    rows = max(1, LONG_STEPS // max(inputs.shape[1], 1))
    if inputs.shape[0] <= rows:
        return _run(network, inputs)
    return np.concatenate([_run(network, inputs[start : start + rows]) for start in range(0, inputs.shape[0], rows)])


def _run(network: "HeartRateNetwork | Inference", inputs: Features) -> Features:
    if not isinstance(network, HeartRateNetwork):
        return network.run(inputs)
    device, steps = network.device, inputs.shape[1]
    more = int(rounded(steps)) - steps
    padded = np.pad(inputs, ((0, 0), (0, more), (0, 0))) if more else inputs
    with torch.inference_mode():
        output: Features = network.outputs(torch.from_numpy(padded).to(device)).cpu().numpy()
    return output[:, :steps]
