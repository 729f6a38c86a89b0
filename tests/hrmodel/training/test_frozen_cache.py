import pytest
import torch

from hrmodel.network.lstm import HeartRateLSTM
from hrmodel.signals.contract import FeatureContract
from hrmodel.training.batches import Batch
from hrmodel.training.fit import fit
from hrmodel.training.frozen_cache import FrozenLayerCache
from hrmodel.training.stages import StageConfig
from hrmodel.training.views import TrainingViews, ValidationViews
from tests.network_builders import random_batch, small_scaled, tiny_network


def frozen(*layers, **config):
    model = tiny_network(**config)
    model.freeze_layers(layers)
    return model


@pytest.mark.parametrize(
    ("layers", "dropout", "count"),
    [((), 0.0, 0), ((0,), 0.2, 1), ((1,), 0.0, 0), ((0, 1), 0.0, 2), ((0, 1), 0.2, 1), ((0, 2), 0.0, 1)],
)
def test_layers_are_cacheable_from_the_lowest_up_and_not_above_a_dropout(layers, dropout, count):
    assert frozen(*layers, num_layers=3, dropout=dropout).cacheable_layers() == count


def losses(monkeypatch, cached):
    """Training and validation losses of a stage without dropout."""
    if not cached:
        monkeypatch.setattr(HeartRateLSTM, "cacheable_layers", lambda model: 0)
    scaled, contract = small_scaled(12), FeatureContract()
    stage = StageConfig(freeze_layers=(0,), epochs=10, learning_rate=1e-2, dropout=0.0, ema=0.9)
    train, val = TrainingViews(scaled[:9], contract, 0, 4), ValidationViews(scaled[9:], contract)
    history = fit(tiny_network(), train, val, stage).history
    return [entry[name] for entry in history for name in ("train_loss", "val_loss")]


def test_cached_and_uncached_losses_agree_without_dropout(monkeypatch):
    with_cache = losses(monkeypatch, cached=True)
    assert with_cache == pytest.approx(losses(monkeypatch, cached=False), abs=1e-6)


def test_the_frozen_layers_run_once_per_sequence(monkeypatch):
    model, batch, calls = frozen(0), random_batch(), []
    original = model.run_layers
    monkeypatch.setattr(model, "run_layers", lambda *arguments: calls.append(arguments) or original(*arguments))
    cache = FrozenLayerCache(model)
    first, again = cache.frozen_output(batch), cache.frozen_output(batch)
    assert torch.equal(first, again)
    assert len(calls) == len(batch.keys)


def test_a_sequences_value_does_not_depend_on_the_batch_it_comes_in():
    batch, model = random_batch(), frozen(0)
    together = FrozenLayerCache(model).frozen_output(batch)
    for rows in (slice(0, 1), slice(1, 3), slice(3, 4)):
        fields = {name: getattr(batch, name)[rows] for name in ("inputs", "target", "mask", "keys", "lengths")}
        longest = max(fields["lengths"])
        trimmed = Batch(**{**fields, "inputs": fields["inputs"][:, :longest]})
        assert torch.equal(together[rows, :longest], FrozenLayerCache(model).frozen_output(trimmed))


def test_beyond_the_byte_limit_values_are_computed_anew_and_equal():
    batch, model = random_batch(), frozen(0)
    one_sequence = 20 * 8 * 4
    limited, whole = FrozenLayerCache(model, limit_bytes=one_sequence), FrozenLayerCache(model)
    for _ in range(2):
        assert torch.equal(limited.frozen_output(batch), whole.frozen_output(batch))
    assert limited.nbytes == one_sequence < whole.nbytes


def test_nothing_is_cached_while_every_layer_trains():
    model, batch = frozen(dropout=0.0), random_batch()
    cache = FrozenLayerCache(model)
    assert torch.equal(cache.predict(batch), model(batch.inputs))
    assert cache.nbytes == 0


def test_the_padding_is_zero():
    hidden = FrozenLayerCache(frozen(0)).frozen_output(random_batch())
    assert torch.count_nonzero(hidden[3, 17:]) == 0
    assert torch.count_nonzero(hidden[3, :17]) > 0
