"""Frozen layers give the same output for the same input: compute it once and keep it."""

import torch
from torch import Tensor

from hrmodel.network.lstm import HeartRateLSTM
from hrmodel.signals.batches import Batch, Key

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
        """(B, T) scaled heart rate: `model(batch.inputs)` with the work of the frozen layers saved."""
        if self.layers == 0:
            return self._model(batch.inputs)
        return self._model.upper(self.lower(batch), self.layers)

    def lower(self, batch: Batch) -> Tensor:
        """(B, T, H) output of the cacheable layers, 0 in the padding."""
        size = self._model.config.hidden_size
        hidden = batch.inputs.new_zeros(*batch.inputs.shape[:2], size)
        for row, (key, steps) in enumerate(zip(batch.keys, batch.lengths, strict=True)):
            hidden[row, :steps] = self._one(key, batch.inputs[row : row + 1, :steps])
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
