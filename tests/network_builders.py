"""Small networks, workouts and batches for tests. Each builder takes overrides."""

import math

import numpy as np
import torch
from torch import nn

from hrmodel.network.config import NetworkConfig
from hrmodel.network.lstm import HeartRateLSTM
from hrmodel.network.network import HeartRateNetwork
from hrmodel.signals.contract import FeatureContract
from hrmodel.signals.grid import GriddedWorkout, to_grid
from hrmodel.signals.scale import fit_scale
from hrmodel.training.batches import Batch, Key, ScaledWorkout, View
from hrmodel.workouts.workout import Workout

torch.set_num_threads(1)  # on tiny tensors a second thread only costs


def tiny_network(*, seed: int = 0, **config) -> HeartRateLSTM:
    """A network of 8 hidden units, always the same for a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return HeartRateLSTM(NetworkConfig(**{"hidden_size": 8, **config}))


def small_workout(number: int = 0, *, steps: int = 20, **channels) -> Workout:
    """A run of `steps` steps of 10 s, two samples in each; heart rate follows speed. Differs by number."""
    rng = np.random.default_rng(number)
    t = np.arange(0.0, steps * 10.0, 5.0)
    speed = 2.8 + 0.4 * np.sin(t / 40 + number) + rng.normal(0, 0.05, len(t))
    values = {
        "t": t,
        "speed": speed,
        "altitude": np.cumsum(rng.normal(0, 0.5, len(t))),
        "heart_rate": 140 + 20 * (speed - 2.8) + rng.normal(0, 1, len(t)),
    }
    return Workout(**{**values, **channels})


def small_gridded(count: int, *, steps: int = 20) -> list[GriddedWorkout]:
    """Workouts of one person, on the grid, of `steps` steps and less."""
    workouts = [small_workout(number, steps=steps - number % 5) for number in range(count)]
    return [to_grid(workout, workout.digest) for workout in workouts]


def small_scaled(count: int, *, steps: int = 20) -> list[ScaledWorkout]:
    """The same with the person's level."""
    gridded = small_gridded(count, steps=steps)
    level = fit_scale(gridded, FeatureContract())
    return [ScaledWorkout(gridded=workout, level=level) for workout in gridded]


def random_batch(*, sequences: int = 4, steps: int = 20, seed: int = 0, part: str = "train") -> Batch:
    """Sequences of unequal lengths with a few unmeasured steps."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(sequences, steps, 3, generator=generator)
    target = torch.sin(inputs[..., 0].cumsum(1) / 4)
    mask = torch.rand(sequences, steps, generator=generator) < 0.9
    lengths = tuple(steps - row for row in range(sequences))
    for row, length in enumerate(lengths):
        inputs[row, length:], target[row, length:], mask[row, length:] = 0.0, 0.0, False
    keys = tuple(Key(part, seed * 100 + row, 0, View(math.inf)) for row in range(sequences))
    return Batch(inputs=inputs, target=target * mask, mask=mask, keys=keys, lengths=lengths)


class HeartRateGRU(HeartRateNetwork):
    """Another network: GRU layers, one module each, and a linear layer."""

    def __init__(self, config):
        super().__init__(config)
        sizes = [config.input_size, *[config.hidden_size] * config.num_layers]
        self.stack = nn.ModuleList(nn.GRU(size, config.hidden_size, batch_first=True) for size in sizes[:-1])
        self.out = nn.Linear(config.hidden_size, 1)

    def run_layers(self, inputs, first, end):
        for layer in range(first, end):
            inputs, _ = self.stack[layer](inputs)
        return inputs

    def read_out(self, hidden):
        return self.out(hidden).squeeze(-1)

    def layer_parameters(self, layer):
        return self.stack[layer].parameters()

    def start_state(self, rows):
        return (self.out.weight.new_zeros(self.config.num_layers, rows, self.config.hidden_size),)

    def go_on(self, inputs, state):
        after = []
        for layer, module in enumerate(self.stack):
            inputs, last = module(inputs, state[0][layer : layer + 1].contiguous())
            after.append(last)
        return self.read_out(inputs), (torch.cat(after),)
