import pytest
import torch

from hrmodel.network.checkpoint import Checkpoint
from hrmodel.signals.features import FeatureContract
from hrmodel.signals.views import TrainingViews, ValidationViews
from hrmodel.training.fit import Stop, fit
from hrmodel.training.stages import StageConfig
from hrmodel.training.state import TrainingState
from tests.network_builders import small_scaled, tiny_network

CONTRACT = FeatureContract()
SCALED = small_scaled(14)
STAGES = {
    "stage1": StageConfig(stage="stage1", freeze_layers=(0,), epochs=8, learning_rate=1e-2, batch_size=4, ema=0.9),
    "stage2": StageConfig(stage="stage2", epochs=8, learning_rate=1e-2, batch_size=4, ema=0.9),
    "seed": StageConfig(stage="stage1", freeze_layers=(0,), epochs=8, batch_size=4),
    "plateau": StageConfig(epochs=8, learning_rate=0.5, batch_size=4, scheduler_patience=0, patience=6),
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


def interrupted(stage, *, after_epoch):
    """The last file before training is stopped in the middle of the epoch after `after_epoch`."""
    files = []

    def stop(state):
        if state.epoch == after_epoch and state.batch == 2:
            raise Stop

    with pytest.raises(Stop):
        train(tiny_network(), stage, on_batch=stop, on_epoch=lambda *end: files.append(file_of(*end)))
    assert len(files) == after_epoch
    return files[-1]


def resumed(data):
    """Go on from a file in what could be another process; the random state there is another."""
    torch.manual_seed(12345)
    checkpoint = Checkpoint.from_bytes(data)
    model, stage = checkpoint.build(), StageConfig.from_dict(checkpoint.configuration)
    state = TrainingState.from_tensors(model, stage, checkpoint.training, checkpoint.training_meta)
    return file_of(model, train(model, stage, resume=state))


@pytest.mark.parametrize("name", STAGES)
def test_a_job_stopped_in_its_fourth_epoch_ends_as_one_that_was_not_bit_for_bit(name):
    stage = STAGES[name]
    model = tiny_network()
    straight = file_of(model, train(model, stage))
    assert resumed(interrupted(stage, after_epoch=3)) == straight  # weights, averages, optimiser, scheduler, history


@pytest.mark.parametrize("after_epoch", [1, 7])
def test_where_it_was_stopped_does_not_matter(after_epoch):
    stage = STAGES["stage1"]
    model = tiny_network()
    straight = file_of(model, train(model, stage))
    assert resumed(interrupted(stage, after_epoch=after_epoch)) == straight


def test_the_plateau_case_really_lowers_its_learning_rate_on_both_sides_of_a_stop():
    rates = [entry["learning_rate"] for entry in train(tiny_network(), STAGES["plateau"]).history]
    assert rates[0] > rates[2] > rates[-1]


def test_a_finished_job_that_is_resumed_trains_no_more():
    model = tiny_network()
    state = train(model, STAGES["stage2"])
    finished = file_of(model, state)
    assert resumed(finished) == finished


def test_an_incomplete_state_is_an_error_that_names_what_is_missing():
    model = tiny_network()
    tensors, meta = train(model, STAGES["stage2"]).to_tensors()
    del tensors["average.fc.bias"]
    with pytest.raises(KeyError, match=r"average\.fc\.bias"):
        TrainingState.from_tensors(tiny_network(), STAGES["stage2"], tensors, meta)
