import pytest
import torch

from hrmodel.network.checkpoint import Checkpoint, InvalidCheckpoint
from hrmodel.network.original_format import from_original_pt, to_original_pt
from hrmodel.signals.contract import FeatureContract
from tests.network_builders import random_batch, tiny_network


def original_content(**overrides):
    model = tiny_network()
    content = {
        "model_state_dict": model.state_dict(),
        "config": {"input_size": 3, "hidden_size": 8, "num_layers": 2, "dropout": 0.3, "bidirectional": False},
        "history": {"train_loss": [0.5]},
        "epoch": 1,
        "best_val_loss": 0.4,
    }
    return {**content, **overrides}


def original_file(tmp_path, **overrides):
    path = tmp_path / "best_model.pt"
    torch.save(original_content(**overrides), path)
    return path


def test_a_file_of_the_original_gives_start_weights_and_a_warning(tmp_path):
    with pytest.warns(UserWarning, match="heart rate of the same step"):
        checkpoint = from_original_pt(original_file(tmp_path))
    inputs = random_batch().inputs
    assert torch.equal(checkpoint.build()(inputs), tiny_network().eval()(inputs))
    assert checkpoint.network.dropout == 0.3


def test_our_export_has_the_originals_keys_and_comes_back_whole_without_a_warning(tmp_path):
    model, path = tiny_network(), tmp_path / "model.pt"
    history = [
        {"epoch": 1, "train_loss": 0.5, "val_loss": 0.4, "learning_rate": 1e-3, "epoch_time": 0.1},
        {"epoch": 2, "train_loss": 0.3, "val_loss": 0.6, "learning_rate": 1e-3, "epoch_time": 0.1},
    ]
    checkpoint = Checkpoint(
        network=model.config,
        contract=FeatureContract(),
        weights=model.state_dict(),
        stage="stage1",
        configuration={},
        history=history,
    )
    to_original_pt(checkpoint, path)
    content = torch.load(path, weights_only=True)
    assert set(content) == {"model_state_dict", "config", "history", "epoch", "best_val_loss", "stagewise"}
    assert (content["epoch"], content["best_val_loss"]) == (2, 0.4)
    assert content["history"]["train_loss"] == [0.5, 0.3]
    back = from_original_pt(path)
    assert back.metadata() == checkpoint.metadata()
    assert all(torch.equal(back.weights[name], model.state_dict()[name]) for name in model.state_dict())


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        ({"model_state_dict": None}, "no model_state_dict"),
        ({"config": None}, "no config"),
        ({"config": {"input_size": 3}}, "config has no hidden_size, num_layers"),
        ({"config": {**original_content()["config"], "bidirectional": True}}, "bidirectional"),
        ({"config": {**original_content()["config"], "input_size": 4}}, "input_size is 4"),
        ({"config": {**original_content()["config"], "dropout": "much"}}, "dropout"),
        ({"config": {**original_content()["config"], "hidden_size": 9}}, "size mismatch"),
        ({"model_state_dict": {}}, "lstm.weight_ih_l0"),
        ({"model_state_dict": {"fc.bias": 1}}, ""),
    ],
)
def test_what_is_missing_or_wrong_is_named_with_the_path(tmp_path, overrides, reason):
    path = original_file(tmp_path, **overrides)
    with pytest.raises(InvalidCheckpoint) as caught:
        from_original_pt(path)
    assert str(path) in str(caught.value)
    assert reason in str(caught.value)


class Innocent:
    """Any class: weights_only does not unpickle it."""


@pytest.mark.parametrize("content", [b"", b"no pickle", b"PK\x03\x04 half a zip"])
def test_a_file_that_is_no_pt_is_refused(tmp_path, content):
    path = tmp_path / "x.pt"
    path.write_bytes(content)
    with pytest.raises(InvalidCheckpoint, match=r"x\.pt"):
        from_original_pt(path)


def test_a_pickle_of_code_is_refused_and_a_list_named(tmp_path):
    path = tmp_path / "x.pt"
    torch.save({"config": Innocent()}, path)
    with pytest.raises(InvalidCheckpoint, match="plain tensors"):
        from_original_pt(path)
    torch.save([1], path)
    with pytest.raises(InvalidCheckpoint, match="holds a list"):
        from_original_pt(path)
