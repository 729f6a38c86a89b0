"""Every network that a checkpoint may name. A new one is a module in this folder and a line here."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from hrmodel.network.config import NetworkConfig

if TYPE_CHECKING:
    from hrmodel.network.network import HeartRateNetwork


def _lstm(config: NetworkConfig) -> "HeartRateNetwork":
    from hrmodel.network.lstm import HeartRateLSTM  # torch: not for those who only need the names

    return HeartRateLSTM(config)


ARCHITECTURES: "dict[str, Callable[[NetworkConfig], HeartRateNetwork]]" = {"lstm": _lstm}


def build_network(config: NetworkConfig) -> "HeartRateNetwork":
    """Make a network with fresh random weights. Raises ValueError for an unknown architecture."""
    if config.architecture not in ARCHITECTURES:
        names = ", ".join(sorted(ARCHITECTURES))
        raise ValueError(f"unknown architecture {config.architecture!r}; known: {names}")
    return ARCHITECTURES[config.architecture](config)
