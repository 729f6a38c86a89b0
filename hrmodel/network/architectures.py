"""Every network that a checkpoint may name. A new one is a module in this folder and a line here."""

from hrmodel.network.config import NetworkConfig
from hrmodel.network.lstm import HeartRateLSTM
from hrmodel.network.network import HeartRateNetwork

ARCHITECTURES: dict[str, type[HeartRateNetwork]] = {"lstm": HeartRateLSTM}


def build_network(config: NetworkConfig) -> HeartRateNetwork:
    """Make a network with fresh random weights. Raises ValueError for an unknown architecture."""
    if config.architecture not in ARCHITECTURES:
        names = ", ".join(sorted(ARCHITECTURES))
        raise ValueError(f"unknown architecture {config.architecture!r}; known: {names}")
    return ARCHITECTURES[config.architecture](config)
