import math
import random
from contextlib import suppress

import pytest
import torch

from hrmodel.network.checkpoint import Checkpoint
from hrmodel.signals.contract import FeatureContract
from hrmodel.training.fit import Stop, fit
from hrmodel.training.stages import StageConfig
from hrmodel.training.state import TrainingState
from hrmodel.training.views import TrainingViews, ValidationViews
from tests.network_builders import small_scaled, tiny_network

CONTRACT = FeatureContract()
SCALED = small_scaled(14)
STAGES = {
    "stage1": StageConfig(stage="stage1", freeze_layers=(0,), epochs=8, learning_rate=1e-2, batch_size=4, ema=0.9),
    "stage2": StageConfig(stage="stage2", epochs=8, learning_rate=1e-2, batch_size=4, ema=0.9),
    "seed": StageConfig(stage="stage1", freeze_layers=(0,), epochs=8, batch_size=4),
    "early": StageConfig(stage="stage1", freeze_layers=(0,), epochs=8, learning_rate=0.5, batch_size=4, patience=2),
    "plateau": StageConfig(epochs=8, seed=3, learning_rate=0.5, batch_size=4, scheduler_patience=0, patience=6),
}


def train(model, stage, **options):
    views = TrainingViews(SCALED[:11], CONTRACT, stage.seed, stage.batch_size)
    return fit(model, views, ValidationViews(SCALED[11:], CONTRACT), stage, **options)


def file_of(model, state):
    """The bytes that a worker would write after an epoch."""
    training, meta = state.to_tensors()
    return Checkpoint(
        network=model.config,
        contract=CONTRACT,
        weights=state.weights(),
        stage=state.stage.stage,
        configuration=state.stage.to_dict(),
        history=[{**entry, "epoch_time": 0.0} for entry in state.history],
        training=training,
        training_meta={**meta, "history": [{**entry, "epoch_time": 0.0} for entry in meta["history"]]},
    ).to_bytes()


def attempt(stage, data, *, dies_at=(math.inf, 0)):
    """What a process writes after each epoch that starts from a file (None: from the beginning) and dies in an epoch
    after so many batches. Its random state is its own.
    """  # fmt: skip
    torch.manual_seed(12345)
    files: list[bytes] = []

    def on_batch(state):
        if (state.epoch + 1, state.batch) == dies_at:
            raise Stop

    model, resume = tiny_network(), None
    if data is not None:
        checkpoint = Checkpoint.from_bytes(data)
        model = checkpoint.build()
        resume = TrainingState.from_tensors(model, stage, checkpoint.training, checkpoint.training_meta)
    with suppress(Stop):
        train(model, stage, resume=resume, on_batch=on_batch, on_epoch=lambda *end: files.append(file_of(*end)))
    return files


@pytest.mark.parametrize("name", STAGES)
def test_a_job_that_dies_in_every_epoch_at_a_random_batch_is_the_uninterrupted_one_bit_for_bit(name):
    stage, chance = STAGES[name], random.Random(name)
    straight = attempt(stage, None)  # weights, averages, optimiser, scheduler, early stopping, history
    assert len(straight) == (7 if name == "early" else 8)
    for epoch in range(1, len(straight) + 1):
        start = straight[epoch - 2] if epoch > 1 else None
        assert attempt(stage, start, dies_at=(epoch, chance.randint(1, 3))) == []
        assert attempt(stage, start, dies_at=(epoch + 1, chance.randint(1, 3))) == [straight[epoch - 1]], epoch
    assert attempt(stage, straight[3])[-1] == straight[-1]


def test_the_plateau_case_really_lowers_its_learning_rate_on_both_sides_of_a_stop():
    rates = [entry["learning_rate"] for entry in train(tiny_network(), STAGES["plateau"]).history]
    assert rates[0] > rates[2] > rates[-1]


def test_a_finished_job_that_is_resumed_trains_no_more():
    model = tiny_network()
    state = train(model, STAGES["stage2"])
    assert attempt(STAGES["stage2"], file_of(model, state)) == []


def test_an_incomplete_state_is_an_error_that_names_what_is_missing():
    model = tiny_network()
    tensors, meta = train(model, STAGES["stage2"]).to_tensors()
    del tensors["average.fc.bias"]
    with pytest.raises(KeyError, match=r"average\.fc\.bias"):
        TrainingState.from_tensors(tiny_network(), STAGES["stage2"], tensors, meta)
