"""The public Python API on simulated workouts and a tiny base model."""

import json
import math
import pydoc
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import torch

import hrmodel
import hrmodel.__main__ as offline
from hrmodel.offline.start import read_checkpoint
from hrmodel.workouts.errors import InvalidFile
from hrmodel.workouts.simulate import simulate_runner, simulate_workouts
from hrmodel.workouts.splits import chronological_split
from service.cli.demo import write_parquet
from tests.original_writer import write_original_dataset
from tests.prediction_builders import make_checkpoint
from tests.readme import DOCS, python_blocks

RUNS = simulate_runner(workouts=12)


@pytest.fixture(scope="module")
def base():
    return make_checkpoint(gain=1.0)


@pytest.fixture(scope="module")
def stage1(base):
    return hrmodel.train_stage1(base, RUNS, epochs=2)


def weights_are_equal(one, other):
    return all(torch.equal(weight, other.weights[name]) for name, weight in one.weights.items())


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return write_parquet(RUNS, tmp_path_factory.mktemp("data") / "runs.parquet")


def test_workouts_of_a_file_come_as_they_were_recorded(file):
    workouts = hrmodel.load_workouts(str(file))
    for workout, run in zip(workouts, RUNS, strict=True):
        np.testing.assert_array_equal(workout.heart_rate, run.heart_rate)


def test_one_person_is_chosen_of_a_file_of_several(tmp_path):
    path = write_parquet(simulate_workouts(people=2, workouts=8, seed=3), tmp_path / "two.parquet")
    with pytest.raises(ValueError, match=r"of 2 people \(s000, s001\): keep one person's"):
        hrmodel.split(hrmodel.load_workouts(path))
    assert {workout.person for workout in hrmodel.split(hrmodel.load_workouts(path, person="s001"))} == {"s001"}


def test_a_file_that_cannot_be_read_says_why(tmp_path):
    (tmp_path / "notes.txt").write_text("not a workout")
    with pytest.raises(InvalidFile):
        hrmodel.load_workouts(tmp_path / "notes.txt")
    with pytest.raises(FileNotFoundError):
        hrmodel.load_workouts(tmp_path / "missing.fit")


def test_the_split_is_in_time_order_and_leaves_out_what_teaches_nothing():
    short = replace(RUNS[0], **{name: getattr(RUNS[0], name)[:20] for name in ("t", "speed", "altitude", "heart_rate")})
    chosen = hrmodel.split([*RUNS[::-1], short, RUNS[3]])
    assert [workout.digest for workout in chosen] == [workout.digest for workout in RUNS]
    assert [workout.split for workout in chosen] == chronological_split(12)


def test_a_split_that_every_workout_brings_stays():
    names = ["test"] * 3 + ["val"] * 3 + ["train"] * 6
    marked = [replace(workout, split=name) for workout, name in zip(RUNS, names, strict=True)]
    assert [workout.split for workout in hrmodel.split(marked)] == names


def test_without_a_workout_to_learn_from_the_reason_is_told():
    with pytest.raises(ValueError, match=r"no workout to learn from: 1 no_heart_rate"):
        hrmodel.split([replace(RUNS[0], heart_rate=None)])


def test_both_stages_give_the_models_that_the_commands_write(tmp_path, file, base):
    base.write(tmp_path / "base.safetensors")
    common = ["--data", str(file), "--epochs", "2", "--out", str(tmp_path)]
    offline.main(["stage1", "--pretrained", str(tmp_path / "base.safetensors"), *common])
    offline.main(["stage2", *common])
    workouts = hrmodel.load_workouts(file)
    stage1 = hrmodel.train_stage1(base, workouts, epochs=2)
    stage2 = hrmodel.train_stage2(stage1, workouts, epochs=2)
    for model in (stage1, stage2):
        written = read_checkpoint(tmp_path / "checkpoints" / model.stage / "best_model.pt").checkpoint
        assert weights_are_equal(model, written)
        assert model.followed.to_dict() == written.followed.to_dict()
        assert (model.level, model.data_digest) == (written.level, written.data_digest)


def test_the_original_files_keep_their_split(tmp_path, base):
    write_original_dataset({"train": RUNS[:6], "val": RUNS[6:9], "test": RUNS[9:]}, tmp_path / "data")
    workouts = hrmodel.split(hrmodel.load_workouts(tmp_path / "data"))
    assert [workout.split for workout in workouts] == ["train"] * 6 + ["val"] * 3 + ["test"] * 3
    assert hrmodel.train_stage1(base, workouts, epochs=1).level.workouts == 9


def test_stage1_leaves_its_base_and_layer_0_as_they_are(base, stage1):
    assert weights_are_equal(base, make_checkpoint(gain=1.0))
    for name, weight in base.weights.items():
        assert torch.equal(weight, stage1.weights[name]) == name.endswith("_l0"), name


def test_a_hyperparameter_out_of_its_bounds_is_named(base):
    with pytest.raises(ValueError, match="epochs must be a whole number from 1 to 500, not 0"):
        hrmodel.train_stage1(base, RUNS, epochs=0)
    with pytest.raises(ValueError, match="unknown hyperparameter 'epoch'; known: freeze_layers"):
        hrmodel.train_stage1(base, RUNS, epoch=3)


def test_the_evaluation_is_that_of_the_command(tmp_path, file, stage1):
    stage1.write(tmp_path / "stage1.safetensors")
    model = ["--checkpoint", str(tmp_path / "stage1.safetensors")]
    offline.main(["evaluate", "--data", str(file), *model, "--out", str(tmp_path)])
    written = json.loads((tmp_path / "results" / "evaluation.json").read_text())["versions"]["checkpoint"]
    report = hrmodel.evaluate(stage1, hrmodel.split(hrmodel.load_workouts(file)))
    assert json.loads(json.dumps(report)) == written
    assert set(report["baselines"]) == {"training_mean", "elapsed_curve", "persistence", "ridge"}


def test_a_model_that_was_written_predicts_the_same_again(tmp_path, stage1):
    stage1.write(tmp_path / "me.safetensors")
    again = hrmodel.Checkpoint.read(tmp_path / "me.safetensors")
    np.testing.assert_array_equal(
        hrmodel.predict(again, RUNS[-1]).heart_rate, hrmodel.predict(stage1, RUNS[-1]).heart_rate
    )


def test_a_prediction_is_blind_unless_heart_rate_is_given_to_it(stage1):
    run = RUNS[-1]
    blind = hrmodel.predict(stage1, run)
    np.testing.assert_array_equal(blind.heart_rate, hrmodel.predict(stage1, replace(run, heart_rate=None)).heart_rate)
    assert (blind.protocol, blind.level, blind.observed_until) == ("blind", "subject", None)
    assert ((blind.lower < blind.heart_rate) & (blind.heart_rate < blind.upper)).all()
    after = hrmodel.predict(stage1, run, observed=180)
    assert (after.protocol, after.observed_until) == ("forecast", 180.0)
    wrong_later = replace(run, heart_rate=np.where(run.t < 180, run.heart_rate, 60.0))
    np.testing.assert_array_equal(hrmodel.predict(stage1, wrong_later, observed=180).heart_rate, after.heart_rate)
    assert hrmodel.predict(stage1, run, observed=math.inf).protocol == "nowcast"


def test_a_base_predicts_with_the_population(base):
    assert hrmodel.predict(base, RUNS[-1]).level == "population"


def test_a_persons_state_replaces_the_models_own(stage1):
    own, unknown = hrmodel.predict(stage1, RUNS[-1]), replace(stage1, followed=None)
    assert (hrmodel.predict(unknown, RUNS[-1]).heart_rate != own.heart_rate).any()
    again = hrmodel.predict(unknown, RUNS[-1], stage1.followed)
    np.testing.assert_array_equal(again.heart_rate, own.heart_rate)
    np.testing.assert_array_equal(again.upper, own.upper)


def test_the_number_of_torch_threads_is_restored(stage1):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        hrmodel.predict(stage1, RUNS[-1])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_the_shipped_base_loads():
    assert hrmodel.load_base().stage == "base"


def test_everything_public_is_documented_and_help_shows_it():
    shown = pydoc.plain(pydoc.render_doc(hrmodel))
    for name in hrmodel.__all__:
        assert getattr(hrmodel, name).__doc__, name
        assert name in dir(hrmodel)
        assert f"{name}(" in shown
    assert not hasattr(hrmodel, "train_stage3")


def test_the_example_of_the_docs_runs(tmp_path, file, monkeypatch, capsys):
    with ZipFile(tmp_path / "runs.zip", "w") as archive:
        archive.write(file, "runs.parquet")
    monkeypatch.chdir(tmp_path)
    (example,) = python_blocks(DOCS / "how-to" / "python.md")
    exec(example, {})
    assert "[" in capsys.readouterr().out


def test_the_package_tells_type_checkers_that_it_is_typed():
    assert (Path(hrmodel.__file__).parent / "py.typed").exists()


LIGHT = """
import importlib, pkgutil, sys
import hrmodel.workouts
names = [module.name for module in pkgutil.walk_packages(hrmodel.workouts.__path__, "hrmodel.workouts.")]
for name in names:
    if name != "hrmodel.workouts.formats.original":  # its files are torch's own
        importlib.import_module(name)
print(len(names), {"torch", "pandas"} & set(sys.modules))
"""


def test_what_reads_workouts_imports_no_torch():
    shown = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=True).stdout
    count, heavy = shown.split(maxsplit=1)
    assert (int(count) > 40, heavy.strip()) == (True, "set()")
