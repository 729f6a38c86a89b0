"""Which parameters train."""

import re
from collections.abc import Sequence

from hrmodel.network.lstm import HeartRateLSTM

_LAYER = re.compile(r"^lstm\..*_l(\d+)$")


def freeze_layers(model: HeartRateLSTM, layers: Sequence[int]) -> None:
    """Freeze these LSTM layers (0 is the lowest) and let everything else train.

    Raises ValueError, naming the layers that exist, when one of `layers` does not.
    """
    existing = range(model.config.num_layers)
    unknown = [layer for layer in layers if layer not in existing]
    if unknown:
        raise ValueError(f"no LSTM layer {unknown[0]}; this network has the layers {', '.join(map(str, existing))}")
    for name, parameter in model.named_parameters():
        layer = _LAYER.match(name)
        parameter.requires_grad_(layer is None or int(layer.group(1)) not in layers)
        if not parameter.requires_grad:
            parameter.grad = None


def trainable_parameters(model: HeartRateLSTM) -> int:
    """Count the numbers that training may change."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def parameter_report(model: HeartRateLSTM) -> list[tuple[str, int, bool]]:
    """(name, count, trainable) of each parameter tensor, lowest layer first."""
    return [(name, parameter.numel(), parameter.requires_grad) for name, parameter in model.named_parameters()]
