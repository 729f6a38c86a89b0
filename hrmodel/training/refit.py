"""Closed-form start of stage 1: the last linear layer fitted to one person, held near the base's weights."""

from collections.abc import Iterable

import torch
from torch import Tensor

from hrmodel.network.lstm import HeartRateLSTM
from hrmodel.signals.batches import Batch


def ridge_refit(model: HeartRateLSTM, batches: Iterable[Batch], strength: float) -> None:
    """Set fc to the minimum of sum (h w + b - y)^2 + strength |w - w_base|^2 over the measured steps; b is free.

    h: (H,) output of the last LSTM layer, y: scaled heart rate, w_base: fc's weights now. With r = y - h w_base the
    change (d, b) of the weights solves the normal equations of [h, 1] against r, the ridge on d alone. In float64.
    Without a measured step nothing changes.
    """
    base = model.fc.weight.detach()[0].double()  # (H,)
    gram, product = _normal_equations(model, batches, base)
    if gram[-1, -1] == 0:
        return
    ridge = torch.full_like(product, strength)
    ridge[-1] = 0.0
    change = torch.linalg.solve(gram + torch.diag(ridge), product)  # (H + 1,)
    with torch.no_grad():
        model.fc.weight.copy_((base + change[:-1])[None])
        model.fc.bias.copy_(change[-1:])


@torch.no_grad()
def _normal_equations(model: HeartRateLSTM, batches: Iterable[Batch], base: Tensor) -> tuple[Tensor, Tensor]:
    """X'X (H + 1, H + 1) and X'r (H + 1,) with the rows X = [h, 1]; X'X[-1, -1] counts the measured steps."""
    model.eval()
    size = len(base) + 1
    gram, product = base.new_zeros(size, size), base.new_zeros(size)
    for batch in batches:
        moved = batch.to(base.device)
        hidden = model.hidden(moved.inputs, 0)[moved.mask].double()  # (n, H)
        residual = moved.target[moved.mask].double() - hidden @ base
        rows = torch.cat([hidden, torch.ones_like(residual)[:, None]], dim=1)
        gram += rows.T @ rows
        product += rows.T @ residual
    return gram, product
