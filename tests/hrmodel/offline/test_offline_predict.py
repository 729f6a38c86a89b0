"""`python -m hrmodel predict`: from the saved file alone, what `evaluate` promises."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import hrmodel.__main__ as offline
from hrmodel.network.checkpoint import Checkpoint
from hrmodel.network.original_format import to_original_pt
from hrmodel.offline import paths
from hrmodel.offline.start import read_checkpoint
from hrmodel.personal.bands import DEFAULT_INTERVALS
from hrmodel.personal.state import PersonState
from hrmodel.prediction.predictor import Predictor
from hrmodel.workouts.simulate import simulate_runner
from hrmodel.workouts.workout import Workout
from service.cli.demo import write_parquet
from tests import gpx_writer
from tests.original_writer import write_original_dataset
from tests.prediction_builders import make_checkpoint, predict_one

RUNS = simulate_runner(workouts=14, seed=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A person's runs, and what stage 1 wrote of them."""
    path = tmp_path_factory.mktemp("offline")
    make_checkpoint(gain=1.0, intervals=DEFAULT_INTERVALS).write(path / "base.safetensors")
    write_parquet(RUNS, path / "runs.parquet")
    options = ["--data", path / "runs.parquet", "--pretrained", path / "base.safetensors", "--epochs", 1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "SHIPPED_FOLDER", path / "nothing")
        assert offline.main(["stage1", *map(str, options), "--out", str(path)]) == 0
    return path


@pytest.fixture(autouse=True)
def nothing_shipped(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "SHIPPED_FOLDER", tmp_path / "pretrained")


@pytest.fixture
def hrmodel(capsys, folder):
    """Run a command; its exit code, stdout and stderr."""

    def run(command, *arguments, out=folder):
        code = offline.main([command, *map(str, arguments), "--out", str(out)])
        return code, *capsys.readouterr()

    return run


def predictions(folder):
    with (folder / "results" / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return rows, json.loads((folder / "results" / "predictions.json").read_text())


def test_the_saved_checkpoint_predicts_the_test_runs_as_well_as_evaluate_says(hrmodel, folder):
    assert hrmodel("evaluate", "--data", folder / "runs.parquet")[0] == 0
    report = json.loads((folder / "results" / "evaluation.json").read_text())["versions"]["stage1"]
    code, stdout, _ = hrmodel("predict", "--data", folder / "runs.parquet", "--observed", 180)
    assert code == 0
    _, found = predictions(folder)
    means = {name: report["protocols"][name]["mean"]["mae"] for name in ("P1", "P2-180")}
    assert found["mean"]["workouts"] == report["test_workouts"]
    assert (found["mean"]["blind_error"], found["mean"]["error"]) == pytest.approx((means["P1"], means["P2-180"]))
    errors = {row["digest"]: row["blind_error"] for row in found["workouts"]}
    assert all(errors[row["digest"]] == pytest.approx(row["P1"]) for row in report["per_workout"])
    assert f"blind {means['P1']:.2f}, after 180 s {means['P2-180']:.2f}" in stdout
    assert [row["use"] for row in found["workouts"]] == ["learned from"] * 11 + ["new"] * 3
    assert "followed over 11 workouts" in stdout


def test_every_step_has_a_line_that_gives_the_errors_again(hrmodel, folder):
    hrmodel("predict", "--data", folder / "runs.parquet", "--observed", 180)
    rows, found = predictions(folder)
    last = found["workouts"][-1]
    own = [row for row in rows if row["workout"] == last["digest"][:8]]
    assert len(own) == round(last["minutes"] * 6)
    scored = [row for row in own if row["heart_rate"] and float(row["seconds"]) >= 180]
    errors = [abs(float(row["predicted"]) - float(row["heart_rate"])) for row in scored]
    assert np.mean(errors) == pytest.approx(last["error"], abs=1e-3)
    assert all(float(row["lower"]) < float(row["predicted"]) < float(row["upper"]) for row in own)
    blind = [row for row in own if float(row["seconds"]) < 10]
    assert blind[0]["blind"] == blind[0]["predicted"]


def test_a_planned_run_without_heart_rate_is_predicted_with_the_persons_response(hrmodel, folder, tmp_path):
    plan = tmp_path / "plan.gpx"
    plan.write_bytes(gpx_writer.write("apple", points=300))
    assert hrmodel("predict", "--data", plan)[0] == 0
    rows, found = predictions(folder)
    (only,) = found["workouts"]
    assert (only["use"], only["measured"], only["blind_error"]) == ("not followed", None, None)
    assert found["response"] == "followed"
    assert len(rows) == pytest.approx(30, abs=2)
    assert 60 < only["predicted"] < 220


def test_the_predictor_of_a_notebook_reads_the_response_and_the_bands_from_the_file(folder):
    checkpoint = read_checkpoint(folder / "checkpoints" / "stage1" / "best_model.pt").checkpoint
    run = RUNS[-1]
    without = predict_one(Predictor(replace(checkpoint, followed=None)), run)
    own = predict_one(Predictor(checkpoint), run)
    told = predict_one(
        Predictor(replace(checkpoint, followed=None)),
        run,
        response=checkpoint.followed.response_at(run.started_at),
        intervals=checkpoint.followed.intervals,
    )
    assert np.array_equal(own.heart_rate, told.heart_rate)
    assert np.array_equal(own.lower, told.lower)
    assert np.abs(own.heart_rate - without.heart_rate).max() > 0.1


def test_a_file_of_an_earlier_version_predicts_and_says_what_is_missing(hrmodel, folder, tmp_path):
    whole = read_checkpoint(folder / "checkpoints" / "stage1" / "best_model.pt").checkpoint
    old = replace(whole, followed=None)
    to_original_pt(old, tmp_path / "old.pt")
    assert json.loads(old.metadata())["format_version"] == 1
    code, stdout, _ = hrmodel("predict", "--data", folder / "runs.parquet", "--checkpoint", tmp_path / "old.pt")
    assert code == 0
    assert "does not hold the person's response" in stdout
    _, found = predictions(folder)
    assert found["response"] == "missing"
    assert {row["use"] for row in found["workouts"]} == {"new"}


def test_a_base_model_predicts_a_person_whom_it_has_never_seen(hrmodel, folder):
    base = folder / "base.safetensors"
    code, stdout, _ = hrmodel("predict", "--data", folder / "runs.parquet", "--checkpoint", base)
    assert (code, predictions(folder)[1]["response"]) == (0, "none")
    assert "holds no data of the person" in stdout


def test_without_any_model_or_with_one_of_the_original_the_sentence_helps(hrmodel, folder, tmp_path):
    code, _, stderr = hrmodel("predict", "--data", folder / "runs.parquet", out=tmp_path / "empty")
    assert (code, stderr.count("\n")) == (2, 1)
    network = {"input_size": 3, "hidden_size": 8, "num_layers": 2, "dropout": 0.2}
    weights = make_checkpoint().weights
    torch.save({"model_state_dict": weights, "config": network}, tmp_path / "seed.pt")
    code, _, stderr = hrmodel("predict", "--data", folder / "runs.parquet", "--checkpoint", tmp_path / "seed.pt")
    assert code == 2
    assert "cannot predict" in stderr


def test_the_persons_state_comes_back_exactly_from_both_kinds_of_file(folder, tmp_path):
    checkpoint = read_checkpoint(folder / "checkpoints" / "stage1" / "best_model.pt").checkpoint
    checkpoint.write(tmp_path / "model.safetensors")
    back = Checkpoint.read(tmp_path / "model.safetensors").followed
    assert np.array_equal(back.filter.mean, checkpoint.followed.filter.mean)
    assert np.array_equal(back.filter.covariance, checkpoint.followed.filter.covariance)
    assert (back.last_workout, back.workouts, back.intervals) == (
        checkpoint.followed.last_workout,
        11,
        checkpoint.followed.intervals,
    )
    assert json.loads(checkpoint.metadata())["format_version"] == 3


@pytest.mark.parametrize(
    "change", [{"weights": ["level"]}, {"filters": []}, {"filters": [{"mean": [0.0]}]}, {"until": "yesterday"}]
)
def test_a_damaged_state_is_an_invalid_checkpoint(folder, change):
    followed = read_checkpoint(folder / "checkpoints" / "stage1" / "best_model.pt").checkpoint.followed
    with pytest.raises((ValueError, KeyError)):
        PersonState.from_dict(followed.to_dict() | change)


def test_the_originals_own_split_has_its_days_too(hrmodel, folder, tmp_path):
    write_original_dataset({"train": RUNS[:6], "val": RUNS[6:9], "test": RUNS[9:]}, tmp_path / "original")
    options = ["--pretrained", folder / "base.safetensors", "--epochs", 1]
    assert hrmodel("stage1", "--data", tmp_path / "original", *options, out=tmp_path)[0] == 0
    assert hrmodel("predict", "--data", tmp_path / "original", out=tmp_path)[0] == 0
    _, found = predictions(tmp_path)
    assert [row["use"] for row in found["workouts"]].count("new") == 5


def test_a_recording_twice_is_predicted_once_and_a_ride_is_not_followed(hrmodel, folder, tmp_path):
    better = RUNS[-2]
    every_third = {name: getattr(better, name)[::3] for name in ("t", "speed", "altitude", "heart_rate")}
    worse = Workout(**every_third, started_at=better.started_at, person=better.person)
    (tmp_path / "mixed").mkdir()
    write_parquet([better, worse], tmp_path / "mixed" / "runs.parquet")
    (tmp_path / "mixed" / "ride.gpx").write_bytes(gpx_writer.write(points=1200, sport="cycling"))
    code, _, stderr = hrmodel("predict", "--data", tmp_path / "mixed")
    assert (code, stderr) == (0, "")
    found = predictions(folder)[1]["workouts"]
    assert sorted(row["use"] for row in found) == ["new", "not followed"]
    (ride,) = [row for row in found if row["use"] == "not followed"]
    assert "cycling" in ride["why"]
