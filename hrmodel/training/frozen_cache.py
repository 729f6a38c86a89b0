"""Frozen layers give the same output for the same input: compute it once and keep it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from hrmodel.network.network import HeartRateNetwork
from hrmodel.training.batches import Batch, Key
from hrmodel.training.bucketing import buckets_of

CACHE_BYTES = 512 * 2**20


class FrozenLayerCache:
    """Output of the lowest frozen layers per sequence, kept up to `limit_bytes` on the model's device.

    `layers` counts the layers whose output is kept (`HeartRateNetwork.cacheable_layers`). Each
    sequence goes through alone, without padding: its value never depends on the batch that it came in, so a job that
    lost its cache resumes bit for bit.
    """

    def __init__(self, model: HeartRateNetwork, limit_bytes: int = CACHE_BYTES) -> None:
        self._model, self._room = model, limit_bytes
        self._kept: dict[Key, Tensor] = {}
        self.layers = model.cacheable_layers()

    def predict(self, batch: Batch) -> Tensor:
        """(B, T) scaled heart rate, 0 in the padding: `model(batch.inputs)` without the work of the frozen layers and,
        on a CPU, of most of the padding.
        """  # fmt: skip
        if batch.inputs.device.type != "cpu":
            return self._model.run_from(self.frozen_output(batch), self.layers)  # there a row more costs nothing
        masks = self._model.draw_dropout(batch.mask.shape, self.layers)  # as without buckets
        output = batch.inputs.new_zeros(batch.mask.shape)
        for rows in buckets_of(batch.lengths):
            steps = batch.lengths[rows[0]]
            own = [mask[rows, :steps] for mask in masks]
            output[rows, :steps] = self._model.run_from(self.frozen_output(batch, rows), self.layers, own)
        return output

    def frozen_output(self, batch: Batch, rows: Sequence[int] | None = None) -> Tensor:
        """(R, T, H) output of the cacheable layers for these rows (None: all), 0 in the padding to the longest.

        Without a cacheable layer: (R, T, 3) the inputs.
        """
        chosen = range(len(batch.lengths)) if rows is None else rows
        steps = max(batch.lengths[row] for row in chosen)
        if self.layers == 0:
            return batch.inputs[list(chosen), :steps]
        hidden = batch.inputs.new_zeros(len(chosen), steps, self._model.config.hidden_size)
        for place, row in enumerate(chosen):
            length = batch.lengths[row]
            hidden[place, :length] = self._of_sequence(batch.keys[row], batch.inputs[row : row + 1, :length])
        return hidden

    @property
    def nbytes(self) -> int:
        """Memory of the kept outputs."""
        return sum(output.nbytes for output in self._kept.values())

    def _of_sequence(self, key: Key, inputs: Tensor) -> Tensor:
        """(1, T, 3) -> (T, H), from memory where possible."""
        if key in self._kept:
            return self._kept[key]
        with torch.no_grad():
            output = self._model.run_layers(inputs.clone(), 0, self.layers)[0]  # a copy: memory aligned as in any run
        if output.nbytes <= self._room:
            self._room -= output.nbytes
            self._kept[key] = output
        return output
