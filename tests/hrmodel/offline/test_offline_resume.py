"""`stage1 --resume` and `stage2 --resume`: an interrupted training goes on as if nothing had happened."""

import json
from dataclasses import replace

import pytest
import torch

import hrmodel.__main__ as offline
from hrmodel.network.original_format import to_original_pt
from hrmodel.offline import paths, stages
from hrmodel.offline.start import read_checkpoint
from hrmodel.personal.bands import DEFAULT_INTERVALS
from hrmodel.training.fit import fit
from hrmodel.workouts.simulate import simulate_runner
from service.cli.demo import write_parquet
from tests.prediction_builders import make_checkpoint

RUNS = simulate_runner(workouts=12)
OPTIONS = ("--epochs", "4", "--batch-size", "3", "--learning-rate", "2e-3")


@pytest.fixture(autouse=True)
def nothing_shipped(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "SHIPPED_FOLDER", tmp_path / "pretrained")


@pytest.fixture
def arguments(tmp_path):
    make_checkpoint(gain=1.0, intervals=DEFAULT_INTERVALS).write(tmp_path / "base.safetensors")
    write_parquet(RUNS, tmp_path / "runs.parquet")
    return ["--data", tmp_path / "runs.parquet", "--pretrained", tmp_path / "base.safetensors", *OPTIONS]


@pytest.fixture
def hrmodel(capsys):
    def run(command, *arguments, out):
        code = offline.main([command, *map(str, arguments), "--out", str(out)])
        return code, *capsys.readouterr()

    return run


def interrupt(monkeypatch, epoch, batch):
    """Press Ctrl-C in the middle of an epoch."""

    def interrupted(*positional, on_batch, **named):
        def look(state):
            if (state.epoch + 1, state.batch) == (epoch, batch):
                raise KeyboardInterrupt
            on_batch(state)

        return fit(*positional, on_batch=look, **named)

    monkeypatch.setattr(stages, "fit", interrupted)


def weights_of(out, stage="stage1", which="best_model.pt"):
    return read_checkpoint(out / "checkpoints" / stage / which).checkpoint.weights


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(("epoch", "batch"), [(2, 1), (4, 2)])
def test_an_interrupted_training_goes_on_bit_for_bit(hrmodel, arguments, tmp_path, monkeypatch, epoch, batch):
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    assert hrmodel("stage1", *arguments, out=straight)[0] == 0
    interrupt(monkeypatch, epoch, batch)
    code, _, stderr = hrmodel("stage1", *arguments, out=broken)
    assert (code, f"holds epoch {epoch - 1}" in stderr, "--resume goes on" in stderr) == (130, True, True)
    monkeypatch.setattr(stages, "fit", fit)
    torch.manual_seed(99)
    code, stdout, _ = hrmodel("stage1", *arguments, "--resume", out=broken)
    assert (code, f"goes on after epoch {epoch - 1} of 4" in stdout) == (0, True)
    for which in ("best_model.pt", "latest_model.pt"):
        assert same(weights_of(straight, which=which), weights_of(broken, which=which))
    ours, theirs = (read_checkpoint(out / "checkpoints/stage1/best_model.pt").checkpoint for out in (straight, broken))
    assert ours.followed.to_dict() == theirs.followed.to_dict()
    histories = [json.loads((out / "results/stage1/training_history.json").read_text()) for out in (straight, broken)]
    assert histories[0]["val_loss"] == histories[1]["val_loss"]
    assert histories[0]["train_loss"] == histories[1]["train_loss"]


def test_a_training_that_was_interrupted_under_the_recipes_old_name_goes_on(hrmodel, arguments, tmp_path, monkeypatch):
    out = tmp_path / "out"
    interrupt(monkeypatch, 2, 1)
    assert hrmodel("stage1", *arguments, "--recipe", "seed", out=out)[0] == 130
    monkeypatch.setattr(stages, "fit", fit)
    latest = out / "checkpoints/stage1/latest_model.pt"
    stored = read_checkpoint(latest).checkpoint
    assert stored.configuration["recipe"] == "original"
    to_original_pt(replace(stored, configuration={**stored.configuration, "recipe": "seed"}), latest)
    assert hrmodel("stage1", *arguments, "--recipe", "original", "--resume", out=out)[0] == 0


def test_the_second_stage_goes_on_too(hrmodel, arguments, tmp_path, monkeypatch):
    out, other = tmp_path / "out", tmp_path / "other"
    assert hrmodel("stage1", *arguments, out=out)[0] == 0
    start = ["--data", arguments[1], "--checkpoint", out / "checkpoints" / "stage1" / "best_model.pt", *OPTIONS]
    assert hrmodel("stage2", *start, out=other)[0] == 0
    interrupt(monkeypatch, 3, 1)
    assert hrmodel("stage2", *start, out=out)[0] == 130
    monkeypatch.setattr(stages, "fit", fit)
    assert hrmodel("stage2", *start, "--resume", out=out)[0] == 0
    assert same(weights_of(out, "stage2"), weights_of(other, "stage2"))


def test_what_cannot_be_gone_on_with_is_told_in_a_sentence(hrmodel, arguments, tmp_path, monkeypatch):
    out = tmp_path / "out"
    code, _, stderr = hrmodel("stage1", *arguments, "--resume", out=out)
    assert (code, "there is no training to resume" in stderr) == (2, True)
    interrupt(monkeypatch, 3, 1)
    hrmodel("stage1", *arguments, out=out)
    monkeypatch.setattr(stages, "fit", fit)
    code, _, stderr = hrmodel("stage1", *arguments, "--seed", 7, "--resume", out=out)
    assert (code, "seed was 42 and is 7" in stderr or "seed was 0 and is 7" in stderr) == (2, True)
    make_checkpoint(seed=5, gain=1.0, intervals=DEFAULT_INTERVALS).write(tmp_path / "base.safetensors")
    code, _, stderr = hrmodel("stage1", *arguments, "--resume", out=out)
    assert (code, "it started from another model" in stderr) == (2, True)
    make_checkpoint(gain=1.0, intervals=DEFAULT_INTERVALS).write(tmp_path / "base.safetensors")
    write_parquet(RUNS[1:], tmp_path / "runs.parquet")
    code, _, stderr = hrmodel("stage1", *arguments, "--resume", out=out)
    assert (code, "it was trained on other --data" in stderr) == (2, True)
    write_parquet(RUNS, tmp_path / "runs.parquet")
    assert hrmodel("stage1", *arguments, "--resume", out=out)[0] == 0
    code, _, stderr = hrmodel("stage1", *arguments, "--resume", out=out)
    assert (code, "has ended" in stderr) == (2, True)
