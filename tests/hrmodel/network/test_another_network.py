"""A new network is one class and one line in ARCHITECTURES: a GRU goes through all that the LSTM does."""

import re
from dataclasses import replace

import pytest
import torch

from hrmodel.network.architectures import ARCHITECTURES, build_network
from hrmodel.network.checkpoint import Checkpoint
from hrmodel.network.config import NetworkConfig
from hrmodel.network.onnx import UnsupportedNetwork, to_onnx
from hrmodel.network.original_format import from_original_pt, to_original_pt
from hrmodel.prediction.predictor import Predictor, Query
from hrmodel.signals.contract import FeatureContract
from hrmodel.training.fit import fit
from hrmodel.training.frozen_cache import FrozenLayerCache
from hrmodel.training.stages import resolve
from hrmodel.training.state import TrainingState
from hrmodel.training.views import TrainingViews, ValidationViews
from tests.network_builders import HeartRateGRU, random_batch, small_scaled, small_workout

CONTRACT = FeatureContract()
FEW_EPOCHS = {"epochs": 2, "learning_rate": 1e-2}


@pytest.fixture(autouse=True)
def one_line(monkeypatch):
    monkeypatch.setitem(ARCHITECTURES, "gru", HeartRateGRU)


@pytest.fixture
def gru():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_network(NetworkConfig(architecture="gru", hidden_size=8))


def weights(model):
    return {name: weight.clone() for name, weight in model.state_dict().items()}


def trained(model, name):
    scaled, stage = small_scaled(12), resolve(name, "auto", FEW_EPOCHS, workouts=9)
    train = TrainingViews(scaled[:9], CONTRACT, stage.seed, stage.batch_size)
    return fit(model, train, ValidationViews(scaled[9:], CONTRACT), stage)


def checkpoint_of(model, **training):
    fields = {"network": model.config, "contract": CONTRACT, "weights": weights(model), "stage": "stage1"}
    return Checkpoint(**fields, configuration={}, history=[], **training)


def test_stage_1_holds_the_frozen_layer_and_stage_2_trains_everything(gru):
    before = weights(gru)
    first = trained(gru, "stage1")
    held = {name for name, weight in weights(gru).items() if torch.equal(weight, before[name])}
    assert held == {name for name in before if name.startswith("stack.0.")}
    free = sum(weight.numel() for name, weight in before.items() if name not in held)
    assert first.history[-1]["trainable_parameters"] == free
    trained(gru, "stage2")
    assert not [name for name, weight in weights(gru).items() if torch.equal(weight, before[name])]


def test_the_frozen_layer_cache_keeps_its_lowest_layer_and_changes_no_output(gru):
    batch = random_batch()
    gru.freeze_layers([0])
    gru.eval()
    cache = FrozenLayerCache(gru)
    cached = [cache.predict(batch) for _ in range(2)]
    assert cache.layers == 1
    assert cache.nbytes == sum(batch.lengths) * 8 * 4
    assert torch.equal(*cached)
    measured = batch.mask
    torch.testing.assert_close(cached[0][measured], gru(batch.inputs)[measured], atol=1e-6, rtol=1e-5)


def test_its_checkpoint_rebuilds_it_and_goes_on_training(gru, tmp_path):
    state = trained(gru, "stage1")
    tensors, meta = state.to_tensors()
    checkpoint_of(gru, training=tensors, training_meta=meta).write(tmp_path / "gru.safetensors")
    read = Checkpoint.read(tmp_path / "gru.safetensors")
    again = TrainingState.from_tensors(read.build(), state.stage, read.training, read.training_meta)
    assert isinstance(again.model, HeartRateGRU)
    assert again.history == state.history
    assert all(torch.equal(weight, weights(gru)[name]) for name, weight in weights(again.model).items())


def test_its_pytorch_twin_comes_back_whole(gru, tmp_path):
    to_original_pt(checkpoint_of(gru), tmp_path / "gru.pt")
    assert from_original_pt(tmp_path / "gru.pt").to_bytes() == checkpoint_of(gru).to_bytes()


def test_it_predicts_a_workout_with_and_without_observed_heart_rate(gru):
    trained(gru, "stage1")
    predictor = Predictor(checkpoint_of(gru))
    workout = small_workout(steps=30)
    observed, blind = predictor.predict([Query(workout=workout), Query(workout=replace(workout, heart_rate=None))])
    assert len(observed.heart_rate) == len(blind.heart_rate) == len(workout.t)
    assert (blind.protocol, observed.protocol) == ("blind", "nowcast")


def test_a_workout_in_pieces_gives_what_the_whole_gives(gru):
    inputs = random_batch().inputs
    first, state = gru.eval().go_on(inputs[:, :7], gru.start_state(len(inputs)))
    rest, _ = gru.go_on(inputs[:, 7:], state)
    torch.testing.assert_close(torch.cat([first, rest], dim=1), gru(inputs), atol=1e-6, rtol=1e-5)


def test_onnx_refuses_it_and_says_which_networks_it_writes(gru):
    sentence = "ONNX export supports the architecture lstm, not 'gru'; download the checkpoint as safetensors or pt."
    with pytest.raises(UnsupportedNetwork, match=re.escape(sentence)):
        to_onnx(checkpoint_of(gru))
