"""The network of the original: a stack of LSTM layers and one linear layer."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from hrmodel.network.config import NetworkConfig
from hrmodel.network.network import HeartRateNetwork, State


class HeartRateLSTM(HeartRateNetwork):
    """LSTM layers over time, and a linear layer that reads the heart rate out of the last one."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        self.lstm = nn.LSTM(
            config.input_size,
            config.hidden_size,
            num_layers=config.num_layers,
            dropout=_between(config, config.dropout),
            batch_first=True,
        )
        self.fc = nn.Linear(config.hidden_size, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        """inputs: (B, T, F) -> (B, T) heart rate in the subject's scale, with nn.LSTM's own dropout."""
        hidden, _ = self.lstm(inputs)  # (B, T, H)
        return self.read_out(hidden)

    def set_dropout(self, dropout: float) -> None:
        """Change the dropout between the LSTM layers."""
        super().set_dropout(dropout)
        self.lstm.dropout = _between(self.config, dropout)

    def run_layers(self, inputs: Tensor, first: int, end: int) -> Tensor:
        """Run the LSTM layers [first, end) on their own, by the function that nn.LSTM itself calls."""
        if first >= end:
            return inputs
        layers = self.lstm.all_weights[first:end]
        start = inputs.new_zeros(len(layers), inputs.shape[0], self.lstm.hidden_size)
        weights: list[Tensor] = [weight for layer in layers for weight in layer]
        output: Tensor = torch.lstm(
            inputs, (start, start), weights, True, len(layers), 0.0, self.training, False, True
        )[0]
        return output

    def read_out(self, hidden: Tensor) -> Tensor:
        """(B, T, H) output of the last LSTM layer -> (B, T)."""
        output: Tensor = self.fc(hidden).squeeze(-1)
        return output

    def layer_parameters(self, layer: int) -> Iterator[nn.Parameter]:
        """Give the two matrices and two biases of an LSTM layer."""
        yield from self.lstm.all_weights[layer]

    def start_state(self, rows: int) -> State:
        """Hidden and cell of B sequences, both zeros."""
        zeros = self.fc.weight.new_zeros(self.lstm.num_layers, rows, self.lstm.hidden_size)
        return zeros, zeros

    def go_on(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """(B, T, F) inputs that follow a state -> (B, T, H) output of the last layer, and the state after them."""
        hidden, state = self.lstm(inputs, state)
        return hidden, state


def _between(config: NetworkConfig, dropout: float) -> float:
    """The dropout for nn.LSTM: 0 with one layer, where torch warns of any other."""
    return dropout if config.num_layers > 1 else 0.0
