"""A new stage is one entry of STAGES: every command of `python -m hrmodel` takes it from there."""

import json

import pytest
import torch

import hrmodel.__main__ as offline
from hrmodel.offline.start import read_checkpoint
from hrmodel.training.stages import STAGES, StageConfig, TrainingStage
from hrmodel.workouts.simulate import simulate_runner
from tests.original_writer import write_original_dataset
from tests.prediction_builders import make_checkpoint

RUNS = simulate_runner(workouts=9)
NAME = "lower"


@pytest.fixture(autouse=True)
def one_entry(monkeypatch):
    stage = TrainingStage(
        personal=True,
        starts_from="stage1",
        summary="layer 1 is frozen, layer 0 and the output train",
        original=StageConfig(stage=NAME, freeze_layers=(1,), learning_rate=1e-3, epochs=1),
    )
    monkeypatch.setitem(STAGES, NAME, stage)


def test_a_stage_that_freezes_layer_1_trains_is_scored_and_serves(tmp_path, capsys):
    base = tmp_path / "base.safetensors"
    make_checkpoint(gain=1.0).write(base)
    write_original_dataset({"train": RUNS[:5], "val": RUNS[5:7], "test": RUNS[7:]}, tmp_path / "data")
    common = ["--data", str(tmp_path / "data"), "--out", str(tmp_path)]
    assert offline.main(["stage1", *common, "--pretrained", str(base), "--epochs", "1"]) == 0
    assert offline.main([NAME, *common, "--recipe", "original"]) == 0
    assert offline.main(["evaluate", *common, "--pretrained", str(base)]) == 0
    assert offline.main(["predict", *common]) == 0
    before, after = (
        read_checkpoint(tmp_path / "checkpoints" / stage / "best_model.pt").checkpoint for stage in ("stage1", NAME)
    )
    same = {name for name, weight in after.weights.items() if torch.equal(weight, before.weights[name])}
    assert same == {name for name in after.weights if name.endswith("_l1")}
    versions = json.loads((tmp_path / "results" / "evaluation.json").read_text())["versions"]
    assert [name for name, report in versions.items() if report] == sorted(["base", "stage1", NAME])
    assert f"predicts with {tmp_path}/checkpoints/{NAME}/best_model.pt" in capsys.readouterr().out


def test_its_help_and_the_table_of_its_parameters_come_from_its_entry(capsys):
    with pytest.raises(SystemExit):
        offline.main(["--help"])
    assert "train from a stage1 model: layer 1 is frozen" in " ".join(capsys.readouterr().out.split())
    assert offline.main(["parameters", "--stage", NAME]) == 0
    rows = {line.split()[0]: line.split()[-1] for line in capsys.readouterr().out.splitlines()}
    assert (rows["lstm.weight_ih_l0"], rows["lstm.weight_ih_l1"], rows["fc.weight"]) == ("trains", "frozen", "trains")
