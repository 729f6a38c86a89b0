"""The offline commands as a person types them: `main([...])` on small real files."""

import json
import logging
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import hrmodel.__main__ as offline
from hrmodel.evaluation.targets import personal_targets
from hrmodel.network.checkpoint import Checkpoint
from hrmodel.offline import commands, paths, stages
from hrmodel.offline.data import load_data
from hrmodel.offline.start import read_checkpoint
from hrmodel.personal.bands import DEFAULT_INTERVALS
from hrmodel.signals.contract import FeatureContract
from hrmodel.training.batches import features_of
from hrmodel.training.fit import fit
from hrmodel.workouts.simulate import simulate_runner, simulate_workouts
from service.cli.demo import write_parquet
from tests.original_writer import write_original_dataset
from tests.prediction_builders import make_checkpoint

PERSONAL = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "runs" / "personal.parquet"
RUNS = simulate_runner(workouts=12)
ALL_OF_IT = ("P1", "P2-60", "P2-180", "P2-600", "P3-30", "score")


@pytest.fixture(autouse=True)
def nothing_shipped(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "SHIPPED_FOLDER", tmp_path / "pretrained")


@pytest.fixture
def base(tmp_path):
    path = tmp_path / "base.safetensors"
    make_checkpoint(gain=1.0, intervals=DEFAULT_INTERVALS).write(path)
    return path


@pytest.fixture
def data(tmp_path):
    write_original_dataset({"train": RUNS[:6], "val": RUNS[6:9], "test": RUNS[9:]}, tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def hrmodel(capsys, out):
    """Run a command with `--out`; its exit code, stdout and stderr."""

    def run(command, *arguments):
        code = offline.main([command, *map(str, arguments), *(["--out", str(out)] if command != "parameters" else [])])
        return code, *capsys.readouterr()

    return run


def one_sentence(stderr):
    assert stderr.count("\n") == 1
    assert "Traceback" not in stderr
    return stderr.strip()


def test_stage1_stage2_and_evaluate_write_the_originals_files(hrmodel, base, data, out):
    code, stdout, _ = hrmodel("stage1", "--data", data, "--pretrained", base, "--epochs", 2)
    assert code == 0
    assert "585 of 1001 parameters train; frozen layers: 0" in stdout
    assert "epoch 2/2: train" in stdout
    code, stdout, _ = hrmodel("stage2", "--data", data, "--epochs", 1, "--recipe", "original")
    assert (code, "1001 of 1001 parameters train; frozen layers: none" in stdout) == (0, True)
    for stage in ("stage1", "stage2"):
        for file in ("best_model.pt", "latest_model.pt"):
            assert set(torch.load(out / "checkpoints" / stage / file)) >= {"model_state_dict", "config", "history"}
        assert (out / "results" / stage / "training_curves.png").read_bytes().startswith(b"\x89PNG")
        (log,) = (out / "logs").glob(f"training_{stage}_*.log")
        assert "best epoch" in log.read_text()
    code, stdout, _ = hrmodel("evaluate", "--data", data, "--pretrained", base)
    assert code == 0
    rows: dict[str, list[str]] = {}
    for line in stdout.splitlines():
        rows.setdefault(line.split()[0], line.split()[1:])  # tables of bands and workouts follow
    assert rows["MAE,"] == ["bpm", "base", "stage1", "stage2", "training_mean", "elapsed_curve", "persistence", "ridge"]
    assert all(len(rows[name]) == 7 and "-" not in rows[name] for name in ALL_OF_IT)
    report = json.loads((out / "results" / "evaluation.json").read_text())
    assert rows["score"][1] == f"{report['versions']['stage1']['score']:.2f}"
    assert report["workouts"] == {"train": 6, "val": 3, "test": 3}
    best = min(report["versions"], key=lambda name: report["versions"][name]["score"])
    assert f"evaluation.png, of {best}" in stdout
    assert (out / "results" / "evaluation.png").read_bytes().startswith(b"\x89PNG")
    for row in report["versions"][best]["per_workout"]:
        assert rows[row["digest"][:8]][:3] == [f"{row['minutes']:.1f}", f"{row['heart_rate']:.1f}", f"{row['P1']:.2f}"]


def test_the_history_is_the_originals_with_a_list_per_number(hrmodel, base, data, out):
    hrmodel("stage1", "--data", data, "--pretrained", base, "--epochs", 2)
    history = json.loads((out / "results" / "stage1" / "training_history.json").read_text())
    names = {"train_loss", "val_loss", "learning_rate", "epoch_times", "trainable_parameters"}
    assert set(history) == names | {"best_epoch", "best_val_loss"}
    assert all(len(history[name]) == 2 for name in names)
    assert history["best_val_loss"] == min(history["val_loss"]) == history["val_loss"][history["best_epoch"] - 1]


def test_a_checkpoint_that_we_wrote_comes_back_whole(hrmodel, base, data, out):
    arguments = ("--learning-rate", "2e-3", "--dropout", 0.1, "--batch-size", 4, "--seed", 3, "--epochs", 1)
    hrmodel("stage1", "--data", data, "--pretrained", base, *arguments)
    found = read_checkpoint(out / "checkpoints" / "stage1" / "best_model.pt")
    checkpoint, start = found.checkpoint, Checkpoint.read(base)
    assert found.warning is None
    assert (checkpoint.stage, checkpoint.network.dropout, checkpoint.network.hidden_size) == ("stage1", 0.1, 8)
    assert checkpoint.configuration["recipe"] == "auto"
    assert (checkpoint.configuration["learning_rate"], checkpoint.configuration["seed"]) == (2e-3, 3)
    assert checkpoint.level.workouts == 9
    assert (len(checkpoint.history), len(checkpoint.data_digest)) == (1, 64)
    assert (
        checkpoint.intervals == start.intervals == DEFAULT_INTERVALS
    )  # the person's own bands are made when it serves
    for name, weight in start.weights.items():
        assert torch.equal(checkpoint.weights[name], weight) == name.endswith("_l0"), name


def test_a_stage_learns_what_the_response_under_its_start_leaves(hrmodel, base, data, monkeypatch):
    learned = {}

    def watched(model, train, val, *rest, **more):
        for batch in [*train.batches(1), *val.batches(1)]:
            for row, key in enumerate(batch.keys):
                learned[key.part, key.workout] = batch.target[row, : batch.lengths[row]].numpy()
        return fit(model, train, val, *rest, **more)

    monkeypatch.setattr(stages, "fit", watched)
    hrmodel("stage1", "--data", data, "--pretrained", base, "--epochs", 1)
    targets = dict(zip(("train", "val"), personal_targets(Checkpoint.read(base), load_data(data)), strict=True))
    assert len(learned) == 6 + 3
    assert all(np.abs(scaled.response).max() > 0.1 for scaled in (*targets["train"][1:], *targets["val"]))
    for part, workouts in targets.items():
        for features in features_of(workouts, FeatureContract()):
            assert np.array_equal(learned[part, features.workout], features.target), (part, features.workout)


def test_without_a_pretrained_model_the_path_and_the_two_ways_out_are_named(hrmodel, data, out, tmp_path):
    code, _, stderr = hrmodel("stage1", "--data", data)
    assert code == 2
    message = one_sentence(stderr)
    assert str(tmp_path / "pretrained" / "base.safetensors") in message
    assert "python -m hrmodel base --data" in message
    assert "--pretrained FILE" in message
    assert not out.exists()
    assert str(tmp_path / "other.pt") in hrmodel("stage1", "--data", data, "--pretrained", tmp_path / "other.pt")[2]


def test_without_a_stage1_checkpoint_the_path_and_the_two_ways_out_are_named(hrmodel, data, out):
    code, _, stderr = hrmodel("stage2", "--data", data)
    assert code == 2
    message = one_sentence(stderr)
    assert str(out / "checkpoints" / "stage1" / "best_model.pt") in message
    assert "python -m hrmodel stage1 --data" in message
    assert "--checkpoint FILE" in message


def test_the_shipped_base_is_used_when_no_file_is_named(hrmodel, base, data):
    paths.SHIPPED_FOLDER.mkdir()
    base.rename(paths.SHIPPED_FOLDER / "base.safetensors")
    code, stdout, _ = hrmodel("stage1", "--data", data, "--epochs", 1)
    assert (code, "pretrained/base.safetensors (base)" in stdout) == (0, True)


def test_a_pt_of_the_original_starts_stage1_with_a_warning_and_is_never_scored(hrmodel, data, tmp_path):
    weights, config = make_checkpoint().weights, {"input_size": 3, "hidden_size": 8, "num_layers": 2}
    torch.save({"model_state_dict": weights, "config": config}, tmp_path / "seed.pt")
    code, stdout, _ = hrmodel("stage1", "--data", data, "--pretrained", tmp_path / "seed.pt", "--epochs", 1)
    assert (code, "warning: " in stdout, "original's format" in stdout) == (0, True, True)
    code, stdout, _ = hrmodel("evaluate", "--data", data, "--pretrained", tmp_path / "seed.pt")
    assert (code, "base -: not scored" in stdout) == (0, True)
    (score,) = [line.split() for line in stdout.splitlines() if line.startswith("score")]
    assert (score[1], score[3]) == ("-", "-")
    assert float(score[2]) > 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("stage2", "--pretrained", "x.pt"), "starts from a stage1 model: name it with --checkpoint, not"),
        (("stage1", "--checkpoint", "x.pt"), "starts from a base model: name it with --pretrained, not"),
        (("stage1", "--learning-rate", "1"), "learning_rate must be a number from 1e-06 to 0.1, not 1.0"),
        (("stage1", "--learning-rate", "nan"), "learning_rate must be a number"),
        (("stage1", "--batch-size", "0"), "batch_size must be a whole number from 1 to 256"),
        (("stage1", "--freeze-layers", "7"), "freeze_layers must be a list of layer indexes from 0 to 1"),
        (("stage1", "--device", "cuda", "--pretrained", "BASE"), "--device cpu"),
        (("stage1", "--pretrained", "DATA"), "Is a directory"),
        (("stage1", "--pretrained", "DATA/train.pt"), "model_state_dict"),
        (("stage1", "--pretrained", "BASE", "--person", "p9"), "name no person, so leave --person out"),
        (("stage1", "--pretrained", "BASE", "--data", "nowhere"), "--data nowhere does not exist"),
        (("evaluate", "--checkpoint", "x.pt"), "--checkpoint x.pt does not exist"),
        (("evaluate",), "There is no model to evaluate"),
    ],
)
def test_what_a_person_can_put_right_is_one_sentence_and_exit_code_2(
    hrmodel, base, data, monkeypatch, arguments, words
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    places = {"BASE": str(base), "DATA": str(data), "DATA/train.pt": str(data / "train.pt")}
    command, *rest = [places.get(word, word) for word in arguments]
    code, _, stderr = hrmodel(command, *(() if "--data" in rest else ("--data", data)), *rest)
    assert code == 2
    assert words in one_sentence(stderr)


def test_help_loads_no_torch_and_names_the_architectures():
    code = "import sys\nfrom hrmodel.__main__ import main\ntry: main(['base', '--help'])\nexcept SystemExit: pass\n"
    code += "print('torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert ("--architecture {lstm}" in shown, shown.splitlines()[-1]) == (True, "False")


@pytest.mark.parametrize("arguments", [["stage1"], ["stage3"], [], ["stage1", "--data", "x", "--epochs", "many"]])
def test_arguments_that_make_no_sense_are_one_line_and_exit_code_2(capsys, arguments):
    with pytest.raises(SystemExit) as caught:
        offline.main(arguments)
    assert caught.value.code == 2
    assert "--help" in one_sentence(capsys.readouterr().err)


def test_ctrl_c_ends_with_a_sentence_and_the_last_finished_epoch_on_disk(hrmodel, base, data, out, monkeypatch):
    def line_then_ctrl_c(entry, epochs, best):
        if entry["epoch"] == 2:
            signal.raise_signal(signal.SIGINT)
        return "epoch"

    monkeypatch.setattr(stages, "epoch_line", line_then_ctrl_c)
    code, _, stderr = hrmodel("stage1", "--data", data, "--pretrained", base)
    assert code == 130
    assert (
        "stage1/latest_model.pt holds epoch 2, the last finished one; the same command with --resume"
        in one_sentence(stderr)
    )
    assert len(read_checkpoint(out / "checkpoints" / "stage1" / "latest_model.pt").checkpoint.history) == 2
    assert len(json.loads((out / "results" / "stage1" / "training_history.json").read_text())["val_loss"]) == 2
    assert logging.getLogger("hrmodel").handlers == []


def test_gpu_out_of_memory_says_what_to_do(hrmodel, base, data, monkeypatch):
    def too_large(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(stages, "fit", too_large)
    code, _, stderr = hrmodel("stage1", "--data", data, "--pretrained", base)
    assert code == 2
    assert "lower batch_size (it is 8) or use --device cpu" in one_sentence(stderr)


def test_peak_memory_is_in_the_line_and_in_the_history_of_a_gpu():
    entry = {"epoch": 1, "train_loss": 0.5, "val_loss": None, "learning_rate": 1e-3, "epoch_time": 0.2}
    entry |= {"trainable_parameters": 5, "gpu_peak_bytes": 300 * 2**20}
    line = stages.epoch_line(entry, 9, best=False)
    assert line == "epoch 1/9: train 0.5000, val -, learning rate 0.001, 0.2 s, GPU peak 300 MiB"
    assert stages.original_history([entry])["gpu_peak_bytes"] == [300 * 2**20]
    assert stages.original_history([entry])["best_epoch"] is None


def test_fewer_than_8_workouts_all_train_without_early_stopping_and_cannot_be_scored(hrmodel, base, out, tmp_path):
    few = write_parquet(RUNS[:5], tmp_path / "few.parquet")
    code, stdout, _ = hrmodel("stage1", "--data", few, "--pretrained", base, "--epochs", 3, "--patience", 1)
    assert (code, "5 train, 0 val, 0 test" in stdout, "no early stopping" in stdout) == (0, True, True)
    assert "epoch 3/3" in stdout
    assert read_checkpoint(out / "checkpoints" / "stage1" / "best_model.pt").checkpoint.level.workouts == 5
    (out / "results" / "evaluation.png").write_bytes(b"of other data")
    code, stdout, _ = hrmodel("evaluate", "--data", few, "--pretrained", base)
    assert (code, "there are no test workouts: nothing can be scored" in stdout) == (0, True)
    assert json.loads((out / "results" / "evaluation.json").read_text())["versions"]["stage1"] is None
    assert not (out / "results" / "evaluation.png").exists()


def test_a_missing_stage_is_a_dash_with_a_note_and_other_data_a_warning(hrmodel, base, data, tmp_path):
    hrmodel("stage1", "--data", data, "--pretrained", base, "--epochs", 1)
    others = simulate_workouts(people=2, workouts=8, seed=1)[8:]
    code, stdout, _ = hrmodel("evaluate", "--data", write_parquet(others, tmp_path / "other.parquet"))
    assert code == 0
    assert "base -: " in stdout
    assert "python -m hrmodel stage2 --data DIR" in stdout
    assert "warning: stage1 was trained on other data" in stdout
    (score,) = [line.split() for line in stdout.splitlines() if line.startswith("score")]
    assert (score[1], score[3]) == ("-", "-")


def test_evaluate_scores_a_further_checkpoint_in_a_column_of_its_own(hrmodel, base, data, out):
    hrmodel("stage1", "--data", data, "--pretrained", base, "--epochs", 1)
    file = out / "checkpoints" / "stage1" / "best_model.pt"
    _, stdout, _ = hrmodel("evaluate", "--data", data, "--checkpoint", file)
    (score,) = [line.split() for line in stdout.splitlines() if line.startswith("score")]
    assert score[2] == score[4]
    assert set(json.loads((out / "results" / "evaluation.json").read_text())["versions"]) >= {"stage1", "checkpoint"}


def test_parameters_shows_what_trains_in_each_stage_and_the_originals_total(hrmodel):
    code, stdout, _ = hrmodel("parameters")
    assert code == 0
    lines = {line.split()[0]: line.split()[1:] for line in stdout.splitlines()}
    assert lines["lstm.weight_hh_l0"] == ["256x64", "16,384", "frozen", "trains"]
    assert lines["fc.bias"] == ["1", "1", "trains", "trains"]
    assert (lines["total"], lines["trainable"]) == (["51,009"], ["33,345", "51,009"])
    assert lines["frozen"] == ["17,664", "0"]


def test_parameters_of_a_file_at_chosen_layers(hrmodel, base):
    _, stdout, _ = hrmodel("parameters", "--pretrained", base, "--freeze-layers", 0, 1)
    assert [line.split() for line in stdout.splitlines()][-3:] == [
        ["total", "1,001"],
        ["trainable", "9"],
        ["frozen", "992"],
    ]
    code, _, stderr = hrmodel("parameters", "--freeze-layers", 5)
    assert (code, "no layer 5; this network has the layers 0, 1" in one_sentence(stderr)) == (2, True)


def test_base_hands_its_arguments_on_and_logs(hrmodel, out, tmp_path, monkeypatch):
    def train_base(data, folder, hyperparameters, architecture):
        logging.getLogger("hrmodel.base").info("train %s %s %s %s", architecture, data, folder, hyperparameters)
        if data == Path("bad"):
            raise ValueError("a population needs a person and a split")

    monkeypatch.setattr(commands, "train_base", train_base)
    monkeypatch.chdir(tmp_path)
    code, stdout, _ = hrmodel("base", "--data", "many.parquet", "--epochs", 2)
    assert (code, stdout) == (0, f"train lstm many.parquet {out} {{'epochs': 2}}\n")
    (log,) = Path("logs").glob("training_base_*.log")
    assert "many.parquet" in log.read_text()
    code, _, stderr = hrmodel("base", "--data", "bad")
    assert (code, one_sentence(stderr)) == (2, "error: a population needs a person and a split")


@pytest.mark.slow
def test_both_stages_on_a_real_person_from_the_shipped_base(hrmodel, out, monkeypatch):
    shipped = Path(offline.__file__).parent / "pretrained"
    monkeypatch.setattr(paths, "SHIPPED_FOLDER", shipped)
    if not PERSONAL.exists() or not (shipped / "base.safetensors").exists():
        pytest.skip(
            "needs shared/data/runs/personal.parquet beside the project and hrmodel/pretrained/base.safetensors"
        )
    for command in ("stage1", "stage2", "evaluate"):
        assert hrmodel(command, "--data", PERSONAL, "--person", "p004")[0] == 0
    versions = json.loads((out / "results" / "evaluation.json").read_text())["versions"]
    errors = {name: report["protocols"]["P1"]["mean"]["mae"] for name, report in versions.items()}
    curve = versions["base"]["baselines"]["elapsed_curve"]["P1"]["mae"]
    assert max(errors["base"], errors["stage1"], errors["stage2"]) < curve
    assert min(errors["stage1"], errors["stage2"]) <= 6.0
