"""The exported network computes what torch computes, and the file says how to use it."""

import json
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from hrmodel.network.checkpoint import Checkpoint, InvalidCheckpoint
from hrmodel.network.config import NetworkConfig
from hrmodel.network.onnx import to_onnx
from hrmodel.training.fit import fit
from hrmodel.training.stages import StageConfig
from tests.network_builders import random_batch
from tests.prediction_builders import LEVEL, make_checkpoint


def checkpoint_of(layers=2, units=8):
    torch.manual_seed(layers)
    made = make_checkpoint(level=LEVEL, network=NetworkConfig(hidden_size=units, num_layers=layers), weights={})
    lstm = torch.nn.LSTM(3, units, num_layers=layers)
    weights = {f"lstm.{name}": tensor for name, tensor in lstm.state_dict().items()}
    fc = torch.nn.Linear(units, 1)
    made.weights.update({**weights, **{f"fc.{name}": tensor for name, tensor in fc.state_dict().items()}})
    return made


def run(session, inputs, state=None):
    layers, _, units = session.get_inputs()[1].shape
    zeros = np.zeros((layers, len(inputs), units), np.float32)
    hidden, cell = state or (zeros, zeros)
    outputs, *after = session.run(None, {"inputs": inputs, "hidden": hidden, "cell": cell})
    return outputs, after


@pytest.mark.parametrize(("layers", "units"), [(1, 8), (2, 64), (3, 8)])
def test_it_gives_what_torch_gives_for_any_number_of_workouts_and_steps(layers, units):
    checkpoint = checkpoint_of(layers, units)
    session, model = onnxruntime.InferenceSession(to_onnx(checkpoint)), checkpoint.build()
    numbers = np.random.default_rng(0)
    for batch, steps in ((1, 1), (1, 500), (7, 33), (64, 120), (2, 3000)):
        inputs = numbers.normal(size=(batch, steps, 3)).astype(np.float32) * 2
        with torch.inference_mode():
            expected = model(torch.from_numpy(inputs)).numpy()
        outputs, _ = run(session, inputs)
        assert outputs.shape == (batch, steps)
        np.testing.assert_allclose(outputs, expected, atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def base():
    return Checkpoint.read(Path(str(files("hrmodel.pretrained"))) / "base.safetensors")


@pytest.fixture(scope="module")
def personal(base):
    model, stage = base.build(), StageConfig(freeze_layers=(0,), learning_rate=1e-3, epochs=2)
    fitted = fit(model, [random_batch(seed=1)], [random_batch(seed=2, part="val")], stage)
    return replace(base, weights=fitted.best_weights, stage="stage1", level=LEVEL)


@pytest.mark.parametrize("steps", [1, 7, 500])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("which", ["base", "personal"])
def test_the_shipped_base_and_a_model_made_from_it_come_out_as_they_are(request, base, which, batch, steps):
    checkpoint = request.getfixturevalue(which)
    moved = [name for name, weights in base.weights.items() if not torch.equal(checkpoint.weights[name], weights)]
    assert bool(moved) == (which == "personal")
    inputs = np.random.default_rng(steps).normal(size=(batch, steps, 3)).astype(np.float32)
    outputs, _ = run(onnxruntime.InferenceSession(to_onnx(checkpoint)), inputs)
    with torch.inference_mode():
        expected = checkpoint.build()(torch.from_numpy(inputs)).numpy()
    np.testing.assert_allclose(outputs, expected, atol=1e-5, rtol=0)


def test_a_workout_in_pieces_with_the_state_between_them_is_the_whole_workout():
    session = onnxruntime.InferenceSession(to_onnx(checkpoint_of()))
    inputs = np.random.default_rng(1).normal(size=(3, 90, 3)).astype(np.float32)
    whole, ended = run(session, inputs)
    pieces, state = [], None
    for start in range(0, 90, 30):
        outputs, state = run(session, inputs[:, start : start + 30], state)
        pieces.append(outputs)
    np.testing.assert_allclose(np.concatenate(pieces, axis=1), whole, atol=1e-6)
    np.testing.assert_allclose(state, ended, atol=1e-6)


def test_the_file_is_valid_onnx_and_says_what_goes_in_and_out():
    data = to_onnx(checkpoint_of())
    model = onnx.load_from_string(data)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(data)
    assert {value.name: value.shape for value in session.get_inputs()} == {
        "inputs": ["batch", "steps", 3],
        "hidden": [2, "batch", 8],
        "cell": [2, "batch", 8],
    }
    assert {value.name: value.shape for value in session.get_outputs()} == {
        "outputs": ["batch", "steps"],
        "last_hidden": [2, "batch", 8],
        "last_cell": [2, "batch", 8],
    }
    for name in ("inputs", "hidden", "cell", "outputs", "last_hidden", "last_cell"):
        assert name in model.doc_string
    assert "step of 10 s" in model.doc_string
    assert "clipped to +-2, / 0.2" in model.doc_string
    said = json.loads(session.get_modelmeta().custom_metadata_map["stagewise"])
    assert said["level"] == LEVEL.to_dict()
    assert (said["stage"], "vertical_speed_scale" in said["contract"]) == ("base", True)


def test_it_reads_no_step_ahead():
    session = onnxruntime.InferenceSession(to_onnx(checkpoint_of()))
    inputs = np.random.default_rng(2).normal(size=(1, 60, 3)).astype(np.float32)
    before, _ = run(session, inputs)
    inputs[:, 40:] += 1
    after, _ = run(session, inputs)
    assert np.array_equal(before[:, :40], after[:, :40])
    assert not np.array_equal(before[:, 40:], after[:, 40:])


def test_the_same_checkpoint_gives_the_same_bytes():
    assert to_onnx(checkpoint_of()) == to_onnx(checkpoint_of())


def test_weights_that_do_not_fit_are_refused():
    checkpoint = checkpoint_of()
    del checkpoint.weights["lstm.bias_hh_l1"]
    with pytest.raises(InvalidCheckpoint, match="bias_hh_l1"):
        to_onnx(checkpoint)
