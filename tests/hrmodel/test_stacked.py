import dataclasses

import pytest
import torch

from hrmodel.network.stacked import run_upper
from hrmodel.signals.batches import Batch
from hrmodel.signals.features import FeatureContract
from hrmodel.signals.views import FixedViews, TrainingViews, ValidationViews
from hrmodel.training.fit import NonFiniteLoss, Stop, fit
from hrmodel.training.stacked import fit_many
from hrmodel.training.stages import StageConfig
from hrmodel.training.state import TrainingState
from tests.network_builders import random_batch, small_scaled, tiny_network

CONTRACT = FeatureContract()
WORKOUTS, STEPS = (14, 5, 9, 3, 8), (20, 40, 12, 26, 9)  # of each of five people
FROZEN = {"stage": "stage1", "freeze_layers": (0,)}


def stage(**overrides):
    return StageConfig(**{"epochs": 4, "learning_rate": 1e-2, "batch_size": 4, "dropout": 0.0, **overrides})


def views(place, own):
    """A person's batches; the fourth has nothing to validate on."""
    scaled = small_scaled(WORKOUTS[place], steps=STEPS[place])
    held_out = 0 if place == 3 else max(len(scaled) // 4, 1)
    train, val = scaled[held_out:], scaled[:held_out]
    return TrainingViews(train, CONTRACT, own.seed, own.batch_size), ValidationViews(val, CONTRACT, 3)


def alone_and_together(stages, *, seeds=(0, 0, 0, 0, 0)):
    """What `fit` and `fit_many` make of the same people."""
    alone = [
        fit(tiny_network(seed=seed), *views(place, own), own)
        for place, (own, seed) in enumerate(zip(stages, seeds, strict=False))
    ]
    trains, vals = zip(*(views(place, own) for place, own in enumerate(stages)), strict=True)
    models = [tiny_network(seed=seed) for _, seed in zip(stages, seeds, strict=False)]
    return alone, fit_many(models, trains, vals, stages)


def same(ours, theirs):
    """Histories, weights, moments, averages and random numbers are equal within rounding."""
    assert len(ours.history) == len(theirs.history)
    for mine, its in zip(ours.history, theirs.history, strict=True):
        assert {**mine, "epoch_time": 0} == pytest.approx({**its, "epoch_time": 0}, abs=1e-5)
    assert (ours.best_epoch, ours.epochs_without_improvement) == (theirs.best_epoch, theirs.epochs_without_improvement)
    tensors, meta = ours.to_tensors()
    expected, expected_meta = theirs.to_tensors()
    assert tensors.keys() == expected.keys()
    for name, tensor in tensors.items():
        if name.startswith("random"):
            assert torch.equal(tensor, expected[name]), name
        else:
            torch.testing.assert_close(tensor, expected[name], atol=1e-5, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")
    assert meta["scheduler"] == pytest.approx(expected_meta["scheduler"], abs=1e-5)


@pytest.mark.parametrize("frozen", [{}, FROZEN], ids=["stage2", "stage1"])
@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize("ema", [None, 0.9])
def test_five_people_together_are_the_five_one_by_one(frozen, dropout, ema):
    for alone, together in zip(*alone_and_together([stage(**frozen, dropout=dropout, ema=ema)] * 5), strict=True):
        same(together, alone)


@pytest.mark.parametrize("frozen", [{}, FROZEN], ids=["stage2", "stage1"])
def test_everybody_has_their_own_numbers_and_start(frozen):
    stages = [
        stage(**frozen, seed=1, dropout=0.2, epochs=3),
        stage(**frozen, seed=2, ema=0.8, weight_decay=0.1, gradient_clip=0.05),
        stage(**frozen, seed=3, batch_size=2, learning_rate=3e-3),
        stage(**frozen, seed=4, dropout=0.5, epochs=6),
        stage(**frozen, seed=5, batch_size=1, dropout=0.1, ema=0.97),
    ]
    for alone, together in zip(*alone_and_together(stages, seeds=(0, 1, 1, 0, 2)), strict=True):
        same(together, alone)


def test_people_stop_early_at_different_epochs_and_the_others_go_on():
    own = stage(**FROZEN, epochs=14, learning_rate=0.1, patience=2, scheduler_patience=0)
    alone, together = alone_and_together([own] * 5)
    assert len({state.epoch for state in alone}) >= 3
    assert len({state.learning_rate for state in alone}) >= 2
    for mine, its in zip(together, alone, strict=True):
        same(mine, its)


def test_one_person_together_is_that_person_alone():
    (alone,), (together,) = alone_and_together([stage(dropout=0.2, ema=0.9)])
    same(together, alone)


def test_frozen_weights_stay_bit_for_bit_and_models_share_no_memory_afterwards():
    before = tiny_network().state_dict()
    _, together = alone_and_together([stage(**FROZEN)] * 3)
    for state in together:
        for name, weight in state.model.state_dict().items():
            assert torch.equal(weight, before[name]) == name.endswith("_l0"), name
    first, second = (list(state.model.parameters())[-1] for state in together[:2])
    assert first.untyped_storage().data_ptr() != second.untyped_storage().data_ptr()


def test_the_global_random_state_is_the_same_afterwards():
    torch.manual_seed(7)
    before = torch.get_rng_state()
    fit_many([tiny_network()], [[random_batch()]], [[]], [stage(dropout=0.2)])
    assert torch.equal(torch.get_rng_state(), before)


def broken(batch):
    return Batch(**{**vars(batch), "target": batch.target * torch.nan})


@pytest.mark.parametrize("part", ["train", "val"])
def test_a_loss_that_is_not_finite_ends_one_person_and_no_other(part):
    own = stage(learning_rate=1e-3)  # Adam makes rounding of small gradients larger, as much as its steps are
    train = [[random_batch(seed=place)] for place in range(3)]
    val = [[random_batch(seed=place + 9, part="val")] for place in range(3)]
    alone = [fit(tiny_network(), train[place], val[place], own) for place in (0, 2)]
    spoiled = {"train": train, "val": val}[part]
    spoiled[1] = [broken(spoiled[1][0])]
    results = fit_many([tiny_network() for _ in range(3)], train, val, [own] * 3)
    assert isinstance(results[1], NonFiniteLoss)
    assert results[1].epoch == 1
    same(results[0], alone[0])
    same(results[2], alone[1])


def test_a_stop_after_an_epoch_ends_its_person_and_no_other():
    def on_epoch(place, state):
        if (place, state.epoch) == (1, 2):
            raise Stop

    train = [[random_batch(seed=place)] for place in range(3)]
    results = fit_many([tiny_network() for _ in range(3)], train, [[]] * 3, [stage()] * 3, on_epoch=on_epoch)
    assert isinstance(results[1], Stop)
    assert [results[place].epoch for place in (0, 2)] == [4, 4]


def test_a_state_written_together_is_gone_on_with_alone_and_the_other_way_round():
    own = stage(**FROZEN, dropout=0.2, ema=0.9)
    straight = fit(tiny_network(), *views(0, own), own)

    def half(train_half):
        model, short = tiny_network(), dataclasses.replace(own, epochs=2)
        return train_half(model, short).to_tensors()

    def resumed(tensors, meta):
        model = tiny_network()
        return model, TrainingState.from_tensors(model, own, tensors, meta)

    def together(model, own, resume=None):
        train, val = views(0, own)
        other = stage(**FROZEN)
        others = views(1, other)
        both = [model, tiny_network()], [train, others[0]], [val, others[1]], [own, other]
        return fit_many(*both, resume=[resume, None])[0]

    model, state = resumed(*half(together))
    same(fit(model, *views(0, own), own, resume=state), straight)
    model, state = resumed(*half(lambda model, own: fit(model, *views(0, own), own)))
    same(together(model, own, state), straight)


def test_people_who_cannot_be_together_are_told():
    train, val = [[random_batch()]] * 2, [[]] * 2
    with pytest.raises(ValueError, match="person 1 has another network"):
        fit_many([tiny_network(), tiny_network(hidden_size=4)], train, val, [stage()] * 2)
    with pytest.raises(ValueError, match="person 1 freezes other layers"):
        fit_many([tiny_network(), tiny_network()], train, val, [stage(), stage(**FROZEN)])
    with pytest.raises(ValueError, match="person 1 has a measured"):
        fit_many([tiny_network(), tiny_network()], [train[0], []], val, [stage()] * 2)


def test_the_stacked_network_is_the_networks():
    models = [tiny_network(seed=seed, num_layers=3, dropout=0.0) for seed in range(3)]
    weights = {name: torch.stack([m.get_parameter(name).detach() for m in models]) for name in models[0].state_dict()}
    inputs = torch.randn(3, 4, 11, 3)
    expected = torch.stack([model(inputs[place]) for place, model in enumerate(models)])
    ours = run_upper(weights, inputs.transpose(1, 2), 0, 3, [])
    torch.testing.assert_close(ours.transpose(1, 2), expected)


def test_batches_of_a_fixed_list_count_too():
    views_of_two = [
        FixedViews([random_batch(seed=1), random_batch(seed=2, sequences=2, steps=9)]),
        [random_batch(seed=3)],
    ]
    alone = [fit(tiny_network(), each, [], stage()) for each in views_of_two]
    for mine, its in zip(
        fit_many([tiny_network(), tiny_network()], views_of_two, [[]] * 2, [stage()] * 2), alone, strict=True
    ):
        same(mine, its)
