"""The network of the seed: a stack of LSTM layers and one linear layer."""

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from hrmodel.network.config import NetworkConfig


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

    def lower(self, inputs: Tensor, layers: int) -> Tensor:
        """(B, T, F) -> (B, T, H): the output of the first `layers` LSTM layers (0: the inputs themselves)."""
        return self._run(inputs, 0, layers)

    def upper(self, hidden: Tensor, from_layer: int) -> Tensor:
        """(B, T, H) output of `lower(inputs, from_layer)` -> (B, T): the rest of `forward`, its dropout included."""
        return self.read_out(self.hidden(hidden, from_layer))

    def hidden(self, hidden: Tensor, from_layer: int) -> Tensor:
        """(B, T, H) output of the layer below `from_layer` -> (B, T, H) output of the last LSTM layer."""
        if 0 < from_layer < self.lstm.num_layers:
            hidden = _dropout(hidden, self.lstm.dropout) if self.training else hidden
        return self._run(hidden, from_layer, self.lstm.num_layers)

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


def _dropout(hidden: Tensor, share: float) -> Tensor:
    """Do what functional.dropout does. On a CPU that spends a tenth of a batch on random numbers; 16 bits each do.

    There `share` is rounded to 1/65536 and the kept values are scaled by what was really dropped.
    """
    if hidden.device.type != "cpu" or share == 0:
        return functional.dropout(hidden, share)
    dropped = round(share * 2**16)
    words = torch.empty(-(-hidden.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    bits = words.view(torch.int16)[: hidden.numel()].view(hidden.shape)
    return hidden * (bits >= dropped - 2**15) * (2**16 / (2**16 - dropped))
