"""What training minimises."""

from torch import Tensor


def masked_mse(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """(B, T) each -> scalar: the mean of (prediction - target)^2 over the steps where `mask` is True; 0 without any."""
    squared = (prediction - target).square() * mask
    return squared.sum() / mask.sum().clamp(min=1)
