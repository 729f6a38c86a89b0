import pytest
import torch

from hrmodel.network.architectures import build_network
from hrmodel.network.config import NetworkConfig
from hrmodel.network.lstm import HeartRateLSTM
from tests.network_builders import random_batch, tiny_network


def test_the_network_is_the_originals_with_51009_parameters():
    model = build_network(NetworkConfig())
    assert sum(parameter.numel() for parameter in model.parameters()) == 51_009
    layers = [f"lstm.{kind}_l{layer}" for layer in (0, 1) for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    assert list(model.state_dict()) == [*layers, "fc.weight", "fc.bias"]


def test_one_heart_rate_comes_out_per_step():
    assert tiny_network()(torch.zeros(4, 20, 3)).shape == (4, 20)


@pytest.mark.parametrize("layers", [0, 1, 2, 3])
def test_the_lower_layers_and_the_rest_together_are_the_whole(layers):
    model = tiny_network(num_layers=3, dropout=0.0)
    inputs = random_batch().inputs
    assert torch.allclose(model.run_from(model.run_layers(inputs, 0, layers), layers), model(inputs), atol=1e-6)


def test_layers_run_on_their_own_read_the_networks_weights():
    model = tiny_network(dropout=0.0)
    inputs = random_batch().inputs
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    assert torch.allclose(model.run_from(model.run_layers(inputs, 0, 1), 1), model(inputs), atol=1e-6)


def test_dropout_between_layers_is_drawn_afresh_while_training_only():
    model = tiny_network(dropout=0.5)
    hidden = model.run_layers(random_batch().inputs, 0, 1).detach()
    assert not torch.equal(model.run_from(hidden, 1), model.run_from(hidden, 1))
    model.eval()
    assert torch.equal(model.run_from(hidden, 1), model.run_from(hidden, 1))


@pytest.mark.parametrize("share", [0.2, 0.6])
def test_dropout_between_layers_drops_its_share_and_keeps_the_mean(share):
    model = HeartRateLSTM(NetworkConfig(hidden_size=8, dropout=share)).train()
    seen = []
    model.run_layers = lambda hidden, *_: seen.append(hidden) or hidden  # what layer 1 is given
    model.run_from(torch.ones(50, 500, 8), 1)
    assert (seen[0] == 0).float().mean().item() == pytest.approx(share, abs=0.005)
    assert seen[0].mean().item() == pytest.approx(1.0, abs=0.01)


def test_a_network_of_one_layer_has_no_dropout_and_no_warning():
    assert tiny_network(num_layers=1).lstm.dropout == 0


def test_an_unknown_architecture_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown architecture 'gru'; known: lstm"):
        build_network(NetworkConfig(architecture="gru"))


@pytest.mark.parametrize("wrong", [{"hidden_size": 0}, {"num_layers": True}, {"dropout": 1.0}, {"input_size": 2.5}])
def test_impossible_sizes_are_refused_by_name(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        NetworkConfig(**wrong)


def test_a_network_config_goes_through_json_and_refuses_strange_fields():
    config = NetworkConfig(hidden_size=8)
    assert NetworkConfig.from_dict(config.to_dict()) == config
    with pytest.raises(ValueError, match="bidirectional"):
        NetworkConfig.from_dict({"bidirectional": True})


def test_freezing_layer_0_leaves_layer_1_and_fc_to_train():
    model = HeartRateLSTM(NetworkConfig())
    model.freeze_layers([0])
    assert {name for name, _, trains in model.parameter_report() if trains} == {
        name for name in model.state_dict() if name.endswith("_l1") or name.startswith("fc.")
    }
    assert model.trainable_parameters() == 51_009 - 4 * 64 * (3 + 64 + 2)


def test_freezing_again_with_fewer_layers_unfreezes():
    model = tiny_network()
    model.freeze_layers([0, 1])
    model.freeze_layers([])
    assert all(trains for _, _, trains in model.parameter_report())


def test_an_unknown_layer_is_an_error_that_names_the_layers_there_are():
    with pytest.raises(ValueError, match="no layer 2; this network has the layers 0, 1"):
        tiny_network().freeze_layers([0, 2])


def test_unfreezing_lets_every_parameter_train():
    model = tiny_network()
    model.freeze_layers([0, 1])
    model.unfreeze_all_layers()
    assert all(trains for _, _, trains in model.parameter_report())


def test_the_parameter_status_is_printed_tensor_by_tensor_with_the_sum(capsys):
    model = HeartRateLSTM(NetworkConfig())
    model.freeze_layers([0])
    model.print_parameter_status()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["lstm.weight_ih_l0", "768", "frozen"]
    assert lines[-2].split() == ["fc.bias", "1", "trainable"]
    assert lines[-1] == "33,345 of 51,009 parameters are trainable"
