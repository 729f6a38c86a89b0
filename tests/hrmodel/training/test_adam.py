"""The optimiser: torch's Adam, bit for bit, and nothing of torch's compiler."""

import subprocess
import sys

import pytest
import torch

from hrmodel.training.adam import PlainAdam

TRAINING = """
import sys
from hrmodel import load_base, split, train_stage1
from hrmodel.workouts.simulate import simulate_runner
workouts = simulate_runner(workouts=12)
train_stage1(load_base(), workouts, epochs=2)
print("torch._dynamo" in sys.modules)
"""


def trained(optimizer_class):
    torch.manual_seed(0)
    model = torch.nn.LSTM(3, 8, batch_first=True)
    optimizer = optimizer_class(model.parameters(), lr=1e-2, weight_decay=1e-4)
    for _ in range(5):
        optimizer.zero_grad(set_to_none=True)
        model(torch.randn(2, 20, 3))[0].pow(2).mean().backward()
        optimizer.step()
        optimizer.load_state_dict(optimizer.state_dict())
    return [*model.parameters(), *(value for state in optimizer.state.values() for value in state.values())]


def test_it_takes_the_steps_of_torchs_adam_bit_for_bit():
    for ours, theirs in zip(trained(PlainAdam), trained(torch.optim.Adam), strict=True):
        assert torch.equal(ours, theirs)


def test_a_step_records_nothing_for_gradients():
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = PlainAdam([parameter], lr=0.1)
    parameter.sum().backward()
    optimizer.step()
    assert (parameter.is_leaf, parameter.requires_grad) == (True, True)


def test_a_training_does_not_load_the_compiler():
    done = subprocess.run([sys.executable, "-c", TRAINING], capture_output=True, text=True)
    if done.returncode:
        pytest.fail(done.stderr)
    assert done.stdout.strip() == "False"
