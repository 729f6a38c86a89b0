import math

import pytest
import torch

from hrmodel.signals.contract import FeatureContract
from hrmodel.training.fit import NonFiniteLoss, Stop, explain_out_of_memory, fit, masked_mse
from hrmodel.training.stages import StageConfig
from hrmodel.training.views import FixedViews, TrainingViews, ValidationViews
from tests.network_builders import random_batch, small_scaled, tiny_network

TRAIN = [random_batch(seed=1), random_batch(seed=2, sequences=3, steps=12)]
VAL = [random_batch(seed=3, part="val")]


def stage(**overrides):
    return StageConfig(**{"epochs": 3, "learning_rate": 1e-2, "dropout": 0.0, **overrides})


class HopelessViews(FixedViews):
    """Validation batches whose target moves away faster than anything could learn it."""

    def batches(self, epoch=1):
        for batch in self._batches:
            moved = batch.target + 100.0 * epoch
            yield type(batch)(
                inputs=batch.inputs, target=moved, mask=batch.mask, keys=batch.keys, lengths=batch.lengths
            )


def test_training_lowers_both_losses():
    state = fit(tiny_network(), TRAIN, TRAIN, stage(epochs=40))
    assert state.history[-1]["train_loss"] < 0.5 * state.history[0]["train_loss"]
    assert state.history[-1]["val_loss"] < 0.5 * state.history[0]["val_loss"]


def test_frozen_layer_keeps_its_weights_bit_for_bit_and_all_others_move():
    model = tiny_network()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    state = fit(model, TRAIN, VAL, stage(freeze_layers=(0,), ema=0.97, dropout=0.2))
    for name, p in model.named_parameters():
        assert torch.equal(p, before[name]) == name.endswith("_l0"), name
        assert torch.equal(state.best_weights[name], before[name]) == name.endswith("_l0"), name


def test_only_layer_1_and_fc_have_optimiser_state_while_layer_0_is_frozen():
    model = tiny_network()
    state = fit(model, TRAIN, VAL, stage(freeze_layers=(0,)))
    named = {id(p): name for name, p in model.named_parameters()}
    held = {named[id(p)] for p in state.optimizer.state}
    assert held == {name for name in named.values() if "_l1" in name or name.startswith("fc.")}
    assert all(p.grad is None for name, p in model.named_parameters() if "_l0" in name)


def test_the_history_says_what_each_epoch_was():
    state = fit(tiny_network(), TRAIN, VAL, stage(freeze_layers=(0,)))
    assert [entry["epoch"] for entry in state.history] == [1, 2, 3]
    names = {"epoch", "train_loss", "val_loss", "learning_rate", "epoch_time", "trainable_parameters"}
    assert all(set(entry) == names for entry in state.history)
    assert state.history[0]["trainable_parameters"] == 4 * 8 * (8 + 8 + 2) + 9
    assert state.history[0]["learning_rate"] == 1e-2


def test_losses_are_weighted_by_measured_steps_not_by_batch():
    model = tiny_network()
    with torch.no_grad():
        predictions = [model.eval()(batch.inputs) for batch in TRAIN]
        squares = [
            (prediction - batch.target).square()[batch.mask]
            for prediction, batch in zip(predictions, TRAIN, strict=True)
        ]
    state = fit(model, TRAIN, TRAIN, stage(epochs=1, learning_rate=1e-9, weight_decay=0.0))
    expected = torch.cat(squares).mean().item()
    assert state.history[0]["train_loss"] == pytest.approx(expected, rel=1e-4)
    assert state.history[0]["val_loss"] == pytest.approx(expected, rel=1e-4)


def test_one_step_is_adam_on_the_clipped_gradient_with_weight_decay():
    model, reference = tiny_network(), tiny_network()
    fit(model, TRAIN[:1], [], stage(epochs=1, gradient_clip=0.01, weight_decay=0.1))
    masked_mse(reference(TRAIN[0].inputs), TRAIN[0].target, TRAIN[0].mask).backward()
    norm = math.sqrt(sum(p.grad.square().sum().item() for p in reference.parameters()))
    assert norm > 0.01
    for name, p in reference.named_parameters():
        gradient = p.grad * 0.01 / (norm + 1e-6) + 0.1 * p.detach()
        expected = p.detach() - 1e-2 * gradient / (gradient.abs() + 1e-8)  # Adam's first step
        assert torch.allclose(model.state_dict()[name], expected, atol=1e-5), name


def test_averaged_weights_follow_the_formula_and_are_what_validation_scores():
    model, seen = tiny_network(), []
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    note = lambda state: seen.append({name: p.detach().clone() for name, p in model.named_parameters()})  # noqa: E731
    state = fit(model, TRAIN[:1], VAL, stage(epochs=2, ema=0.9), on_batch=note)
    for name, tensor in state.weights().items():
        expected = 0.81 * start[name] + 0.09 * seen[0][name] + 0.1 * seen[1][name]
        assert torch.allclose(tensor, expected, atol=1e-6), name
    averaged = tiny_network().eval()
    averaged.load_state_dict(state.weights())
    loss = masked_mse(averaged(VAL[0].inputs), VAL[0].target, VAL[0].mask).item()
    assert state.history[-1]["val_loss"] == pytest.approx(loss, abs=1e-6)


def test_after_validation_the_model_goes_on_with_its_own_weights():
    model, seen = tiny_network(), []
    fit(model, TRAIN[:1], VAL, stage(epochs=1, ema=0.9), on_batch=lambda state: seen.append(model.fc.weight.clone()))
    assert torch.equal(model.fc.weight, seen[0])


def test_without_averaging_the_kept_weights_are_the_models():
    model = tiny_network()
    state = fit(model, TRAIN, [], stage(ema=None))
    assert all(torch.equal(state.best_weights[name], p) for name, p in model.state_dict().items())


def test_the_best_weights_are_those_of_the_epoch_with_the_lowest_validation_loss():
    kept = {}
    model = tiny_network()
    state = fit(
        model,
        TRAIN,
        VAL,
        stage(epochs=12, learning_rate=0.1, ema=0.5),
        on_epoch=lambda model, state: kept.update({state.epoch: state.weights()}),
    )
    by_loss = min(state.history, key=lambda entry: entry["val_loss"])
    assert 1 < state.best_epoch == by_loss["epoch"] < 12
    assert state.best_val_loss == by_loss["val_loss"]
    assert all(torch.equal(tensor, kept[state.best_epoch][name]) for name, tensor in state.best_weights.items())


def test_without_validation_workouts_the_loss_is_none_and_the_last_epoch_is_kept():
    state = fit(tiny_network(), TRAIN, [], stage(patience=1))
    assert [entry["val_loss"] for entry in state.history] == [None] * 3
    assert (state.best_epoch, state.best_val_loss) == (3, None)
    assert {entry["learning_rate"] for entry in state.history} == {1e-2}


def test_early_stopping_waits_for_patience_epochs_without_improvement():
    state = fit(tiny_network(), TRAIN, HopelessViews(VAL), stage(epochs=30, patience=4))
    assert (len(state.history), state.best_epoch) == (5, 1)


def test_the_learning_rate_halves_after_four_epochs_without_improvement():
    state = fit(tiny_network(), TRAIN, HopelessViews(VAL), stage(epochs=10, patience=30))
    rates = [entry["learning_rate"] for entry in state.history]
    assert rates == [1e-2] * 5 + [5e-3] * 4 + [2.5e-3]


def test_with_few_training_workouts_every_epoch_is_trained():
    few = stage(epochs=9, patience=2, early_stopping_min_workouts=8)
    assert len(fit(tiny_network(), TRAIN, HopelessViews(VAL), few).history) == 9  # 7 sequences of 7 workouts
    enough = stage(epochs=9, patience=2, early_stopping_min_workouts=7)
    assert len(fit(tiny_network(), TRAIN, HopelessViews(VAL), enough).history) == 3


def test_a_loss_that_is_not_finite_ends_training_with_its_epoch():
    batch = random_batch()
    batch.inputs[0, 3, 0] = math.nan
    with pytest.raises(NonFiniteLoss, match="not finite in epoch 1") as caught:
        fit(tiny_network(), [batch], VAL, stage())
    assert caught.value.epoch == 1
    with pytest.raises(NonFiniteLoss):
        fit(tiny_network(), TRAIN, [batch], stage())


def test_a_gradient_that_is_not_finite_ends_training_too():
    batch = random_batch()
    batch.target[batch.mask] = 1e30
    with pytest.raises(NonFiniteLoss):
        fit(tiny_network(), [batch], [], stage())


def test_both_callbacks_may_stop_training():
    def stop(*_):
        raise Stop

    with pytest.raises(Stop):
        fit(tiny_network(), TRAIN, VAL, stage(), on_batch=stop)
    epochs = []

    def stop_in_second(model, state):
        epochs.append(state.epoch)
        if state.epoch == 2:
            raise Stop

    with pytest.raises(Stop):
        fit(tiny_network(), TRAIN, VAL, stage(), on_epoch=stop_in_second)
    assert epochs == [1, 2]


def test_progress_rises_from_batch_to_batch_to_one():
    seen = []
    state = fit(tiny_network(), TRAIN, VAL, stage(epochs=2), on_batch=lambda state: seen.append(state.progress))
    assert seen == [0.25, 0.5, 0.75, 1.0]
    assert state.progress == 1.0


def test_the_stages_dropout_is_the_models():
    model = tiny_network(dropout=0.0)
    fit(model, TRAIN, VAL, stage(epochs=1, dropout=0.4))
    assert (model.lstm.dropout, model.config.dropout) == (0.4, 0.4)


def test_torchs_random_state_is_left_as_it_was_and_does_not_matter():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = fit(tiny_network(), TRAIN, VAL, stage(dropout=0.3, seed=5))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    again = fit(tiny_network(), TRAIN, VAL, stage(dropout=0.3, seed=5))
    other = fit(tiny_network(), TRAIN, VAL, stage(dropout=0.3, seed=6))
    assert all(torch.equal(first.best_weights[name], tensor) for name, tensor in again.best_weights.items())
    assert not torch.equal(first.best_weights["fc.weight"], other.best_weights["fc.weight"])


def test_real_views_train():
    scaled, contract = small_scaled(12), FeatureContract()
    train, val = TrainingViews(scaled[:9], contract, 0, 4), ValidationViews(scaled[9:], contract)
    state = fit(tiny_network(), train, val, stage(epochs=10))
    assert state.history[-1]["val_loss"] < state.history[0]["val_loss"]


def test_nothing_to_train_on_is_an_error():
    with pytest.raises(ValueError, match="no training workout has a measured heart rate"):
        fit(tiny_network(), [], VAL, stage())


def test_out_of_memory_is_explained():
    assert explain_out_of_memory(64) == "The GPU is out of memory: lower batch_size (it is 64) or use --device cpu."


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
