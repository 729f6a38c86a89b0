"""Frozen layers give the same output for the same input: compute it once and keep it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from hrmodel.network.lstm import HeartRateLSTM
from hrmodel.training.batches import Batch, Key
from hrmodel.training.bucketing import groups_of

CACHE_BYTES = 512 * 2**20


def cacheable_layers(model: HeartRateLSTM) -> int:
    """Count the LSTM layers from 0 up whose output cannot change: frozen, and no dropout drawn below them."""
    frozen = 0
    for weights in model.lstm.all_weights:
        if any(weight.requires_grad for weight in weights):
            break
        frozen += 1
    return frozen if model.lstm.dropout == 0 else min(frozen, 1)


class LowerCache:
    """Output of the frozen lower layers per sequence, kept up to `limit_bytes` on the model's device.

    Each sequence goes through alone, without padding: its value never depends on the batch that it came in, so a job
    that lost its cache goes on bit for bit.
    """

    def __init__(self, model: HeartRateLSTM, limit_bytes: int = CACHE_BYTES) -> None:
        self._model, self._room = model, limit_bytes
        self._kept: dict[Key, Tensor] = {}
        self.layers = cacheable_layers(model)

    def predict(self, batch: Batch) -> Tensor:
        """(B, T) scaled heart rate, 0 in the padding: `model(batch.inputs)` without the work of the frozen layers and,
        on a CPU, of most of the padding.
        """  # fmt: skip
        if batch.inputs.device.type != "cpu":
            return self._model.upper(self.lower(batch), self.layers)  # there a row more costs nothing
        masks = self._model.draw_dropout(batch.mask.shape, self.layers)  # as without groups
        output = batch.inputs.new_zeros(batch.mask.shape)
        for rows in groups_of(batch.lengths):
            steps = batch.lengths[rows[0]]
            own = [mask[rows, :steps] for mask in masks]
            output[rows, :steps] = self._model.upper(self.lower(batch, rows), self.layers, own)
        return output

    def lower(self, batch: Batch, rows: Sequence[int] | None = None) -> Tensor:
        """(R, T, H) output of the cacheable layers for these rows (None: all), 0 in the padding to the longest.

        Without a cacheable layer: (R, T, 3) the inputs.
        """
        chosen = range(len(batch.lengths)) if rows is None else rows
        steps = max(batch.lengths[row] for row in chosen)
        if self.layers == 0:
            return batch.inputs[list(chosen), :steps]
        size = self._model.config.hidden_size
        hidden = batch.inputs.new_zeros(len(chosen), steps, size)
        for place, row in enumerate(chosen):
            own = batch.lengths[row]
            hidden[place, :own] = self._one(batch.keys[row], batch.inputs[row : row + 1, :own])
        return hidden

    def _one(self, key: Key, inputs: Tensor) -> Tensor:
        """(1, T, 3) -> (T, H), from memory where possible."""
        if key in self._kept:
            return self._kept[key]
        with torch.no_grad():
            output = self._model.lower(inputs.clone(), self.layers)[0]  # a copy: memory aligned as in any other run
        if output.nbytes <= self._room:
            self._room -= output.nbytes
            self._kept[key] = output
        return output
