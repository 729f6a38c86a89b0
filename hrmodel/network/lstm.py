"""The network of the seed: a stack of LSTM layers and one linear layer."""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from hrmodel.network.config import NetworkConfig

State = tuple[Tensor, Tensor]  # hidden and cell, each (layers, B, H)


class HeartRateLSTM(nn.Module):
    """Reads a workout and gives one heart rate per step. B workouts, T steps, F features, H hidden units."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.lstm = nn.LSTM(
            config.input_size,
            config.hidden_size,
            num_layers=config.num_layers,
            dropout=config.dropout if config.num_layers > 1 else 0.0,  # torch warns: one layer has no "between"
            batch_first=True,
        )
        self.fc = nn.Linear(config.hidden_size, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        """inputs: (B, T, F) -> (B, T) heart rate in the subject's scale: (bpm - level) / spread."""
        hidden, _ = self.lstm(inputs)  # (B, T, H)
        return self.read_out(hidden)

    def start_state(self, rows: int) -> State:
        """The state before the first step of B sequences."""
        zeros = self.fc.weight.new_zeros(self.lstm.num_layers, rows, self.lstm.hidden_size)
        return zeros, zeros

    def go_on(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """(B, T, F) inputs that follow a state -> (B, T) as `forward` gives, and the state after them."""
        hidden, state = self.lstm(inputs, state)
        return self.read_out(hidden), state

    def lower(self, inputs: Tensor, layers: int) -> Tensor:
        """(B, T, F) -> (B, T, H): the output of the first `layers` LSTM layers (0: the inputs themselves)."""
        return self._run(inputs, 0, layers)

    def upper(self, hidden: Tensor, from_layer: int, dropout: Sequence[Tensor] | None = None) -> Tensor:
        """(B, T, H) output of `lower(inputs, from_layer)` -> (B, T): the rest of `forward`, its dropout included.

        `dropout`: what `draw_dropout` gave for these steps; None draws it here.
        """
        if dropout is None:
            dropout = self.draw_dropout(hidden.shape[:2], from_layer)
        if not dropout:
            return self.read_out(self._run(hidden, from_layer, self.lstm.num_layers))
        for layer in range(from_layer, self.lstm.num_layers):
            hidden = hidden * dropout[layer - self.lstm.num_layers] if layer > 0 else hidden
            hidden = self._run(hidden, layer, layer + 1)
        return self.read_out(hidden)

    def draw_dropout(self, shape: Sequence[int], from_layer: int) -> list[Tensor]:
        """Masks (B, T, H) for the input of each layer from `from_layer` on that has a layer below, the lowest first.

        Empty while nothing is dropped: not in training, or a dropout of 0.
        """
        if not self.training or self.lstm.dropout == 0:
            return []
        shape, device = (*shape, self.lstm.hidden_size), self.fc.weight.device
        return [draw_kept(shape, self.lstm.dropout, device) for _ in range(max(from_layer, 1), self.lstm.num_layers)]

    def read_out(self, hidden: Tensor) -> Tensor:
        """(B, T, H) output of the last LSTM layer -> (B, T)."""
        output: Tensor = self.fc(hidden).squeeze(-1)
        return output

    def set_dropout(self, dropout: float) -> None:
        """Change the dropout between the LSTM layers; `config` follows."""
        self.config = replace(self.config, dropout=dropout)
        self.lstm.dropout = dropout if self.config.num_layers > 1 else 0.0

    def _run(self, inputs: Tensor, first: int, end: int) -> Tensor:
        """Run the LSTM layers [first, end) on their own, with what nn.LSTM itself calls."""
        if first >= end:
            return inputs
        layers = self.lstm.all_weights[first:end]
        start = inputs.new_zeros(len(layers), inputs.shape[0], self.lstm.hidden_size)
        flat: list[Tensor] = [weight for layer in layers for weight in layer]
        dropout = self.lstm.dropout if len(layers) > 1 else 0.0
        output: Tensor = torch.lstm(
            inputs, (start, start), flat, True, len(layers), dropout, self.training, False, True
        )[0]
        return output


def draw_kept(shape: Sequence[int], share: float, device: torch.device) -> Tensor:
    """What dropout multiplies a tensor by: 0 for about `share` of the values, else what keeps the mean.

    What functional.dropout does on a CPU spends a tenth of a batch on random numbers; 16 bits each do. There `share` is
    rounded to 1/65536 and the kept values are scaled by what was really dropped.
    """
    if device.type != "cpu":
        return functional.dropout(torch.ones(*shape, device=device), share)
    dropped, size = round(share * 2**16), math.prod(shape)
    words = torch.empty(-(-size // 4), dtype=torch.int64).random_(-(2**63), None)
    bits = words.view(torch.int16)[:size].view(*shape)
    return (bits >= dropped - 2**15) * (2**16 / (2**16 - dropped))
