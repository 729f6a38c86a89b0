import json
import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save

from hrmodel.network.checkpoint import Checkpoint, InvalidCheckpoint
from hrmodel.signals.contract import FeatureContract
from hrmodel.signals.scale import SubjectScale
from tests.network_builders import random_batch, tiny_network

LEVEL = SubjectScale(heart_rate=150.0, spread=12.5, speed=2.9, speed_spread=0.4, workouts=20)


def make_checkpoint(**overrides):
    model = tiny_network()
    values = {
        "network": model.config,
        "contract": FeatureContract(),
        "weights": model.state_dict(),
        "stage": "stage1",
        "configuration": {"learning_rate": 1e-3},
        "history": [{"epoch": 1, "train_loss": 0.1 + 0.2, "val_loss": None}],
        "level": LEVEL,
        "intervals": {"levels": [0.5, 0.9], "blind": [3.0, 9.0]},
        "data_digest": "abc",
        "code_version": "0.1.0",
        "training": {"random.cpu": torch.arange(5, dtype=torch.uint8), "step": torch.tensor(3.0)},
        "training_meta": {"epoch": 1},
    }
    return Checkpoint(**{**values, **overrides})


def header_of(data):
    return json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])


def test_everything_comes_back():
    checkpoint = make_checkpoint()
    back = Checkpoint.from_bytes(checkpoint.to_bytes())
    for name in ("network", "contract", "stage", "configuration", "history", "level", "intervals", "training_meta"):
        assert getattr(back, name) == getattr(checkpoint, name), name
    for name in ("weights", "training"):
        ours, theirs = getattr(checkpoint, name), getattr(back, name)
        assert set(ours) == set(theirs)
        assert all(torch.equal(ours[key], theirs[key]) and ours[key].dtype == theirs[key].dtype for key in ours)


def test_a_base_model_without_training_state_comes_back():
    bare = make_checkpoint(level=None, intervals=None, training=None, training_meta=None)
    back = Checkpoint.from_bytes(bare.to_bytes())
    assert (back.level, back.intervals, back.training, back.training_meta) == (None, None, None, None)


def test_the_same_content_gives_the_same_bytes_whatever_the_order():
    checkpoint = make_checkpoint()
    reordered = replace(
        checkpoint,
        weights=dict(reversed(checkpoint.weights.items())),
        configuration=dict(reversed({"a": 1, **checkpoint.configuration}.items())),
    )
    same = replace(checkpoint, configuration={"a": 1, **checkpoint.configuration})
    assert same.to_bytes() == reordered.to_bytes()
    assert Checkpoint.from_bytes(same.to_bytes()).to_bytes() == same.to_bytes()


def test_the_file_has_exactly_one_metadata_key_of_sorted_json():
    metadata = header_of(make_checkpoint().to_bytes())["__metadata__"]
    assert list(metadata) == ["stagewise"]
    assert metadata["stagewise"] == json.dumps(json.loads(metadata["stagewise"]), sort_keys=True)


def test_nan_in_the_metadata_is_refused_when_writing():
    with pytest.raises(ValueError, match="not JSON compliant"):
        make_checkpoint(history=[{"epoch": 1, "val_loss": math.nan}]).to_bytes()


def test_a_built_model_predicts_as_the_one_that_was_saved_and_shares_no_memory():
    model = tiny_network().eval()
    checkpoint = Checkpoint.from_bytes(make_checkpoint().to_bytes())
    built, inputs = checkpoint.build(), random_batch().inputs
    assert not built.training
    assert torch.equal(built(inputs), model(inputs))
    with torch.no_grad():
        built.fc.bias.add_(1)
    assert torch.equal(checkpoint.weights["fc.bias"], model.fc.bias)


def test_building_leaves_the_random_state_alone():
    before = torch.get_rng_state()
    make_checkpoint().build()
    assert torch.equal(torch.get_rng_state(), before)


def test_missing_weights_are_an_invalid_checkpoint():
    weights = dict(tiny_network().state_dict())
    del weights["fc.bias"]
    with pytest.raises(InvalidCheckpoint, match=r"fc\.bias"):
        make_checkpoint(weights=weights).build()


def test_write_and_read(tmp_path):
    path = tmp_path / "model.safetensors"
    make_checkpoint().write(path)
    assert Checkpoint.read(path).level == LEVEL


def broken_files():
    good = make_checkpoint().to_bytes()
    text = make_checkpoint().metadata()
    flipped = bytearray(good)
    flipped[12] ^= 0xFF
    plain = {"weights.fc.bias": torch.zeros(1)}
    yield "empty", b"", "0 bytes"
    yield "truncated", good[:-10], ""
    yield "cut in the header", good[:100], "cut short"
    yield "a bit flipped in the header", bytes(flipped), ""
    yield "a picture", b"\x89PNG\r\n\x1a\n" + bytes(200), "cut short"
    yield "another safetensors file", save(plain), "'stagewise' is missing"
    yield "no JSON", save(plain, metadata={"stagewise": "{"}), ""
    yield "JSON list", save(plain, metadata={"stagewise": "[]"}), ""
    yield "a field missing", save(plain, metadata={"stagewise": text.replace('"level"', '"lvl"')}), "'level' is missing"
    newer = text.replace('"format_version": 1', '"format_version": 4')
    yield "a later format", save(plain, metadata={"stagewise": newer}), "format version is 4; this code reads up to 3"


@pytest.mark.parametrize(("data", "reason"), [pytest.param(d, r, id=name) for name, d, r in broken_files()])
def test_a_broken_or_foreign_file_is_an_invalid_checkpoint_that_names_the_path(tmp_path, data, reason):
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    with pytest.raises(InvalidCheckpoint) as caught:
        Checkpoint.read(path)
    assert str(path) in str(caught.value)
    assert reason in str(caught.value)
