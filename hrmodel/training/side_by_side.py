"""One batch of each of many people, side by side: P people, T steps, B sequences at most."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hrmodel.signals.batches import Batch, Key
from hrmodel.training.cache import CACHE_BYTES, cacheable_layers
from hrmodel.training.state import TrainingState


@dataclass(frozen=True, kw_only=True, eq=False)
class SideBySide:
    """P batches padded to the longest and the largest. Where `mask` is False, target is 0 and unscored."""

    batches: tuple[Batch, ...]  # as they were, on the CPU
    target: Tensor  # (P, T, B)
    mask: Tensor  # (P, T, B) bool

    @staticmethod
    def of(batches: Sequence[Batch], device: torch.device) -> "SideBySide":
        """Pad these batches, one of each person."""
        shape = (len(batches), *_largest(batches))
        target, mask = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.bool_)
        for place, batch in enumerate(batches):
            rows, steps = batch.mask.shape
            target[place, :steps, :rows] = batch.target.numpy().T
            mask[place, :steps, :rows] = batch.mask.numpy().T
        return SideBySide(
            batches=tuple(batches),
            target=torch.from_numpy(target).to(device),
            mask=torch.from_numpy(mask).to(device),
        )

    def losses(self, prediction: Tensor) -> Tensor:
        """(P, T, B) -> (P,): `masked_mse` of each person."""
        squared = (prediction - self.target).square() * self.mask
        return squared.sum((1, 2)) / self.mask.sum((1, 2)).clamp(min=1)

    def inputs(self) -> Tensor:
        """(P, T, B, 3)."""
        values = np.zeros((*self.mask.shape, 3), dtype=np.float32)
        for place, batch in enumerate(self.batches):
            rows, steps = batch.mask.shape
            values[place, :steps, :rows] = batch.inputs.numpy().swapaxes(0, 1)
        return torch.from_numpy(values).to(self.mask.device)

    def masks(self, drawn: Sequence[Sequence[Tensor]]) -> list[Tensor]:
        """Each person's dropout masks [person][layer] (B_p, T_p, H) -> one (P, T, B, H) per layer, 1 in the padding."""
        stacked = []
        for layer in zip(*drawn, strict=True):
            together = torch.ones(*self.mask.shape, layer[0].shape[-1], device=self.mask.device)
            for place, mask in enumerate(layer):
                together[place, : mask.shape[1], : mask.shape[0]] = mask.transpose(0, 1)
            stacked.append(together)
        return stacked


class SharedLower:
    """Output of the frozen lower layers, as `LowerCache` keeps it, for many people at once: people who started from the
    same base share them, and sequences that were not seen yet go through together.

    `limit_bytes` is for all of them.
    """  # fmt: skip

    def __init__(self, states: Sequence[TrainingState], limit_bytes: int | None = None) -> None:
        self.layers = min(cacheable_layers(state.model) for state in states)
        self._room = _room(states) if limit_bytes is None else limit_bytes
        self._size = states[0].model.config.hidden_size
        self._base: dict[int, TrainingState] = {}  # by id of a person's state: the first with the same frozen weights
        self._kept: dict[tuple[int, Key], Tensor] = {}
        for state in states if self.layers else ():
            same = (each for each in self._base.values() if _same_lower(each, state, self.layers))
            self._base[id(state)] = next(same, state)

    def lower(self, side: SideBySide, states: Sequence[TrainingState]) -> Tensor:
        """(P, T, B, F or H): the output of the cacheable layers for these people's batches, 0 in the padding."""
        if self.layers == 0:
            return side.inputs()
        hidden = torch.zeros(*side.mask.shape, self._size, device=side.mask.device)
        missing: dict[int, list[tuple[int, int]]] = {}  # places (person, row) by id of the base
        for place, (state, batch) in enumerate(zip(states, side.batches, strict=True)):
            for row, key in enumerate(batch.keys):
                kept = self._kept.get((id(state), key))
                if kept is None:
                    missing.setdefault(id(self._base[id(state)]), []).append((place, row))
                else:
                    hidden[place, : len(kept), row] = kept
        for places in missing.values():
            self._compute(side, states, places, hidden)
        return hidden

    @torch.no_grad()
    def _compute(
        self, side: SideBySide, states: Sequence[TrainingState], places: list[tuple[int, int]], hidden: Tensor
    ) -> None:
        """Fill in the sequences at these places (person, row), all of people with the same base, and keep them."""
        lengths = [side.batches[place].lengths[row] for place, row in places]
        inputs = torch.zeros(len(places), max(lengths), side.batches[0].inputs.shape[2])
        for here, ((place, row), steps) in enumerate(zip(places, lengths, strict=True)):
            inputs[here, :steps] = side.batches[place].inputs[row, :steps]
        model = self._base[id(states[places[0][0]])].model
        output = model.lower(inputs.to(hidden.device), self.layers)
        for here, ((place, row), steps) in enumerate(zip(places, lengths, strict=True)):
            own = output[here, :steps].clone()
            hidden[place, :steps, row] = own
            if own.nbytes <= self._room:
                self._room -= own.nbytes
                self._kept[id(states[place]), side.batches[place].keys[row]] = own


def _largest(batches: Sequence[Batch]) -> tuple[int, int]:
    """(T, B) of the longest and of the largest."""
    return max(batch.mask.shape[1] for batch in batches), max(batch.mask.shape[0] for batch in batches)


def _room(states: Sequence[TrainingState]) -> int:
    """As much as one by one; on a GPU at most a third of what is free."""
    wanted = CACHE_BYTES * len(states)
    device = states[0].device
    return min(wanted, torch.cuda.mem_get_info(device)[0] // 3) if device.type == "cuda" else wanted


def _same_lower(one: TrainingState, other: TrainingState, layers: int) -> bool:
    """Whether the frozen lower layers are equal."""
    ours, theirs = (state.model.lstm.all_weights[:layers] for state in (one, other))
    pairs = ((a, b) for mine, its in zip(ours, theirs, strict=True) for a, b in zip(mine, its, strict=True))
    return all(torch.equal(a, b) for a, b in pairs)
