"""Trains for ever on one thread, as a worker's process would; a line for each batch."""

import os

import torch

from hrmodel.network.config import NetworkConfig
from hrmodel.network.lstm import HeartRateLSTM

BATCH, STEPS = 32, 500


def main() -> None:
    """Train until a signal ends it."""
    os.nice(5)  # as the worker's processes
    torch.set_num_threads(1)
    network = HeartRateLSTM(NetworkConfig())
    optimizer = torch.optim.Adam(network.parameters())
    inputs, target = torch.randn(BATCH, STEPS, 3), torch.randn(BATCH, STEPS)
    while True:
        optimizer.zero_grad()
        ((network(inputs) - target) ** 2).mean().backward()
        optimizer.step()
        print(flush=True)


if __name__ == "__main__":
    main()
