import pytest
import torch

from hrmodel.network.freezing import freeze_layers
from hrmodel.signals.contract import FeatureContract
from hrmodel.training import frozen_cache as cache
from hrmodel.training.batches import Batch
from hrmodel.training.fit import fit
from hrmodel.training.frozen_cache import LowerCache, cacheable_layers
from hrmodel.training.stages import StageConfig
from hrmodel.training.views import TrainingViews, ValidationViews
from tests.network_builders import random_batch, small_scaled, tiny_network


def frozen(*layers, **config):
    model = tiny_network(**config)
    freeze_layers(model, layers)
    return model


@pytest.mark.parametrize(
    ("layers", "dropout", "count"),
    [((), 0.0, 0), ((0,), 0.2, 1), ((1,), 0.0, 0), ((0, 1), 0.0, 2), ((0, 1), 0.2, 1), ((0, 2), 0.0, 1)],
)
def test_layers_are_cacheable_from_the_lowest_up_and_not_above_a_dropout(layers, dropout, count):
    assert cacheable_layers(frozen(*layers, num_layers=3, dropout=dropout)) == count


def losses(monkeypatch, cached):
    """Training and validation losses of a stage without dropout."""
    if not cached:
        monkeypatch.setattr(cache, "cacheable_layers", lambda model: 0)
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
    original = model.lower
    monkeypatch.setattr(model, "lower", lambda *arguments: calls.append(arguments) or original(*arguments))
    lower = LowerCache(model)
    first, again = lower.lower(batch), lower.lower(batch)
    assert torch.equal(first, again)
    assert len(calls) == len(batch.keys)


def test_a_sequences_value_does_not_depend_on_the_batch_it_comes_in():
    batch, model = random_batch(), frozen(0)
    together = LowerCache(model).lower(batch)
    for rows in (slice(0, 1), slice(1, 3), slice(3, 4)):
        fields = {name: getattr(batch, name)[rows] for name in ("inputs", "target", "mask", "keys", "lengths")}
        longest = max(fields["lengths"])
        trimmed = Batch(**{**fields, "inputs": fields["inputs"][:, :longest]})
        assert torch.equal(together[rows, :longest], LowerCache(model).lower(trimmed))


def test_beyond_the_byte_limit_values_are_computed_anew_and_equal():
    batch, model = random_batch(), frozen(0)
    one_sequence = 20 * 8 * 4
    limited, whole = LowerCache(model, limit_bytes=one_sequence), LowerCache(model)
    for _ in range(2):
        assert torch.equal(limited.lower(batch), whole.lower(batch))
    assert sum(tensor.nbytes for tensor in limited._kept.values()) <= one_sequence
    assert len(limited._kept) == 1


def test_nothing_is_cached_while_every_layer_trains():
    model, batch = frozen(dropout=0.0), random_batch()
    lower = LowerCache(model)
    assert torch.equal(lower.predict(batch), model(batch.inputs))
    assert not lower._kept


def test_the_padding_is_zero():
    hidden = LowerCache(frozen(0)).lower(random_batch())
    assert torch.count_nonzero(hidden[3, 17:]) == 0
    assert torch.count_nonzero(hidden[3, :17]) > 0
