import copy

import pytest
import torch

from hrmodel.signals.views import FixedViews
from hrmodel.training.fit import fit
from hrmodel.training.refit import ridge_refit
from hrmodel.training.stages import StageConfig
from tests.network_builders import random_batch, tiny_network

BATCHES = [random_batch(seed=1), random_batch(seed=2, steps=15)]


def rows(model):
    """(n, H) hidden output and (n,) target of all measured steps."""
    with torch.no_grad():
        hidden = torch.cat([model.lstm(batch.inputs)[0][batch.mask] for batch in BATCHES]).double()
    return hidden, torch.cat([batch.target[batch.mask] for batch in BATCHES]).double()


@pytest.mark.parametrize("strength", [1e-3, 5.0, 300.0])
def test_the_refit_is_ridge_towards_the_old_weights_with_a_free_bias(strength):
    model = tiny_network().eval()
    base = model.fc.weight.detach()[0].double()
    hidden, target = rows(model)
    centred = hidden - hidden.mean(0)  # the other derivation: take out the bias by centring
    residual = target - hidden @ base
    gram = centred.T @ centred + strength * torch.eye(8, dtype=torch.float64)
    change = torch.linalg.inv(gram) @ centred.T @ (residual - residual.mean())
    ridge_refit(model, BATCHES, strength)
    assert torch.allclose(model.fc.weight[0].double(), base + change, atol=1e-5)
    bias = (target - hidden @ (base + change)).mean()
    assert model.fc.bias.item() == pytest.approx(bias.item(), abs=1e-5)


def test_the_refit_is_a_minimum_of_its_objective():
    model = tiny_network().eval()
    base = model.fc.weight.detach()[0].double()
    hidden, target = rows(model)
    ridge_refit(model, BATCHES, 5.0)
    weight = model.fc.weight.detach()[0].double().requires_grad_()
    bias = model.fc.bias.detach().double().requires_grad_()
    ((hidden @ weight + bias - target).square().sum() + 5.0 * (weight - base).square().sum()).backward()
    assert weight.grad.abs().max() < 1e-3
    assert bias.grad.abs().max() < 1e-3


def test_a_very_strong_ridge_keeps_the_weights_and_moves_only_the_bias():
    model = tiny_network().eval()
    before = model.fc.weight.detach().clone()
    ridge_refit(model, BATCHES, 1e12)
    assert torch.allclose(model.fc.weight, before, atol=1e-6)


def test_without_a_measured_step_nothing_changes():
    model = tiny_network()
    before = copy.deepcopy(model.state_dict())
    batch = random_batch()
    batch.mask.zero_()
    ridge_refit(model, [batch], 300.0)
    assert all(torch.equal(model.state_dict()[name], before[name]) for name in before)


def test_a_stage_with_a_refit_starts_training_from_it():
    refitted = tiny_network().eval()
    ridge_refit(refitted, FixedViews(BATCHES).scored(), 300.0)
    starts = []
    stage = StageConfig(freeze_layers=(0,), epochs=1, ridge_refit=300.0, learning_rate=1e-12, weight_decay=0.0)
    model = tiny_network()
    fit(model, BATCHES, [], stage, on_batch=lambda state: starts.append(model.fc.weight.detach().clone()))
    assert torch.allclose(starts[0], refitted.fc.weight, atol=1e-7)
