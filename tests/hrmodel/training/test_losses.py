import pytest
import torch

from hrmodel.training.losses import masked_mse


def test_masked_loss_is_the_mean_square_over_measured_steps():
    prediction = torch.tensor([[1.0, 2.0, 9.0], [0.0, 4.0, 9.0]])
    target = torch.tensor([[0.0, 4.0, 0.0], [3.0, 4.0, 0.0]])
    mask = torch.tensor([[True, True, False], [True, False, False]])
    assert masked_mse(prediction, target, mask).item() == pytest.approx((1 + 4 + 9) / 3)


def test_masked_steps_get_no_gradient():
    prediction = torch.ones(2, 3, requires_grad=True)
    mask = torch.tensor([[True, False, True], [False, False, True]])
    masked_mse(prediction, torch.zeros(2, 3), mask).backward()
    assert torch.equal(prediction.grad, 2 / 3 * mask)


def test_without_a_measured_step_the_loss_is_zero():
    assert masked_mse(torch.ones(1, 2), torch.zeros(1, 2), torch.zeros(1, 2, dtype=torch.bool)).item() == 0
