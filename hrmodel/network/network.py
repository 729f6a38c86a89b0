"""The interface of a network for training, prediction and checkpoints, independent of its kind of layers."""

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from hrmodel.network.config import NetworkConfig

# torch keeps what it prepares for each shape of input, by default 1024 times 0.25 MB
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")

State = tuple[Tensor, ...]  # between two steps; each tensor is (layers, B, H)


class HeartRateNetwork(nn.Module, ABC):
    """A stack of layers over time and a read-out: one heart rate per step of a workout.

    B workouts, T steps, F features, H hidden units. A subclass makes its modules and runs them. The base
    class drops out between the layers and freezes them.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config

    @abstractmethod
    def run_layers(self, inputs: Tensor, first: int, end: int) -> Tensor:
        """Run the layers [first, end) without dropout; (B, T, F) before layer 0, else (B, T, H) -> (B, T, H).

        Without a layer to run: the inputs themselves.
        """

    @abstractmethod
    def read_out(self, hidden: Tensor) -> Tensor:
        """(B, T, H) output of the last layer -> (B, T) heart rate in the subject's scale: (bpm - level) / spread."""

    @abstractmethod
    def layer_parameters(self, layer: int) -> Iterator[nn.Parameter]:
        """Give the parameters of a layer, which freezing it excludes from training."""

    @abstractmethod
    def start_state(self, rows: int) -> State:
        """The state before the first step of B sequences."""

    @abstractmethod
    def go_on(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """(B, T, F) inputs that follow a state -> (B, T, H) output of the last layer, and the state after them."""

    def forward(self, inputs: Tensor) -> Tensor:
        """inputs: (B, T, F) -> (B, T) heart rate in the subject's scale: (bpm - level) / spread."""
        return self.run_from(inputs, 0)

    def outputs(self, inputs: Tensor) -> Tensor:
        """inputs: (B, T, F) -> (B, T, 1 + H): what `forward` gives without dropout, then the last layer's output."""
        return self.with_read_out(self.run_layers(inputs, 0, len(self.layers)))

    def with_read_out(self, hidden: Tensor) -> Tensor:
        """(B, T, H) output of the last layer -> (B, T, 1 + H): before it the heart rate that is read out of it."""
        return torch.cat([self.read_out(hidden).unsqueeze(-1), hidden], dim=-1)

    def run_from(self, hidden: Tensor, first: int, masks: Sequence[Tensor] | None = None) -> Tensor:
        """`run_layers(inputs, 0, first)` -> (B, T): the rest of `forward`, its dropout included.

        `masks`: from `draw_dropout` for these steps; None draws them here.
        """
        if masks is None:
            masks = self.draw_dropout(hidden.shape[:2], first)
        if not masks:
            return self.read_out(self.run_layers(hidden, first, len(self.layers)))
        for layer in self.layers[first:]:
            hidden = hidden * masks[layer - len(self.layers)] if layer > 0 else hidden
            hidden = self.run_layers(hidden, layer, layer + 1)
        return self.read_out(hidden)

    def draw_dropout(self, shape: Sequence[int], first: int) -> list[Tensor]:
        """Masks (B, T, H) for the input of each layer from `first` on that has a layer below, the lowest first.

        `shape` is (B, T). Empty while nothing is dropped: not in training, or a dropout of 0.
        """
        if not self.training or self.config.dropout == 0:
            return []
        full = (*shape, self.config.hidden_size)
        return [dropout_mask(full, self.config.dropout, self.device) for _ in self.layers[max(first, 1) :]]

    @property
    def layers(self) -> range:
        """The layers that can be frozen, 0 is the lowest."""
        return range(self.config.num_layers)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def set_dropout(self, dropout: float) -> None:
        """Change the dropout between the layers."""
        self.config = replace(self.config, dropout=dropout)

    def freeze_layers(self, layers: Sequence[int]) -> None:
        """Freeze these layers and let everything else train.

        Raises ValueError, naming the layers that exist, when one of `layers` does not.
        """
        unknown = [layer for layer in layers if layer not in self.layers]
        if unknown:
            raise ValueError(f"no layer {unknown[0]}; this network has the layers {', '.join(map(str, self.layers))}")
        self.unfreeze_all_layers()
        for layer in layers:
            for parameter in self.layer_parameters(layer):
                parameter.requires_grad_(False)
                parameter.grad = None

    def unfreeze_all_layers(self) -> None:
        """Let every parameter train."""
        self.requires_grad_(True)

    def cacheable_layers(self) -> int:
        """Count the layers from 0 up whose output cannot change: frozen, without dropout below them."""
        frozen = 0
        while frozen < len(self.layers) and not any(p.requires_grad for p in self.layer_parameters(frozen)):
            frozen += 1
        return frozen if self.config.dropout == 0 else min(frozen, 1)

    def trainable_parameters(self) -> int:
        """Count the numbers that training may change."""
        return sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)

    def parameter_report(self) -> list[tuple[str, int, bool]]:
        """(name, count, trainable) of each parameter tensor, lowest layer first."""
        return [(name, parameter.numel(), parameter.requires_grad) for name, parameter in self.named_parameters()]

    def print_parameter_status(self) -> None:
        """Print each parameter tensor with its count and whether it trains, then the sums."""
        for name, count, trains in self.parameter_report():
            print(f"{name:20} {count:>8,}  {'trainable' if trains else 'frozen'}")
        total = sum(count for _, count, _ in self.parameter_report())
        print(f"{self.trainable_parameters():,} of {total:,} parameters are trainable")


def dropout_mask(shape: Sequence[int], share: float, device: torch.device) -> Tensor:
    """Factors for dropout: 0 for about `share` of the values, else the factor that keeps the mean.

    functional.dropout on a CPU spends a tenth of a batch's time on random numbers; 16 bits per value are enough. There
    `share` is rounded to 1/65536 and the kept values are scaled by the rounded share.
    """
    if device.type != "cpu":
        return functional.dropout(torch.ones(*shape, device=device), share)
    dropped, size = round(share * 2**16), math.prod(shape)
    words = torch.empty(-(-size // 4), dtype=torch.int64).random_(-(2**63), None)
    bits = words.view(torch.int16)[:size].view(*shape)
    return (bits >= dropped - 2**15) * (2**16 / (2**16 - dropped))
