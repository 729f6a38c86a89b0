"""The accuracy benchmark on simulated runners: small, but whole."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import bench_accuracy
from accuracy import experiment, people
from accuracy.experiment import choose
from accuracy.goals import goals
from accuracy.rows import boosted_trees
from accuracy.scoring import score_baseline, score_network
from hrmodel.evaluation.baselines import ridge, training_mean
from hrmodel.evaluation.forecasters import NetworkForecaster
from hrmodel.evaluation.promotion import compare
from hrmodel.evaluation.protocols import PROTOCOLS
from hrmodel.prediction.predictor import Predictor
from hrmodel.signals.steps import measured_heart_rate
from hrmodel.training.stages import resolve
from hrmodel.workouts.simulate import simulate_workouts
from service.cli.demo import write_parquet
from tests.prediction_builders import make_checkpoint, report_of


def write(path, splits, *, people, name="p"):
    """Each person's simulated workouts, with these splits in time order."""
    workouts = simulate_workouts(people=people, workouts=len(splits), seed=1)
    table = pq.read_table(write_parquet([replace(w, person=f"{name}{w.person}") for w in workouts], path))
    pq.write_table(table.append_column("split", pa.array(splits * people)), path)
    return path


@pytest.fixture
def personal(tmp_path):
    return write(tmp_path / "personal.parquet", ["train"] * 8 + ["val"] * 3 + ["test"] * 2, people=2)


@pytest.fixture
def runner(personal):
    return people.read_runners(personal, dev=False)[0]


def test_a_runner_without_test_workouts_keeps_the_last_ten_for_it(tmp_path):
    path = write(tmp_path / "personal.parquet", ["train"] * 9 + ["peer_test"] * 2 + ["val"], people=1)
    (only,) = people.read_runners(path, dev=False)
    assert (len(only.known), len(only.test)) == (2, 10)


def test_tuning_never_sees_a_test_workout(personal, runner):
    tuning = people.read_runners(personal, dev=True)[0]
    assert [w.digest for w in (*tuning.known, *tuning.test)] == [w.digest for w in runner.known]
    assert (len(tuning.known), len(tuning.test)) == (9, 2)


def test_the_last_workouts_before_the_test_are_split_as_an_upload_of_them_would_be(runner):
    splits = people.split(runner.last(9))
    inner, outer = splits.inner, splits.outer
    assert (len(inner.train), len(inner.val), len(inner.test)) == (4, 2, 3)
    assert [w.digest for w in outer.workouts] == [w.digest for w in (*runner.known[-9:], *runner.test)]
    assert inner.level == outer.level
    assert inner.level.workouts == 6


def test_scores_are_those_of_the_report(runner):
    data = people.split(runner.last(9)).outer
    predictor = Predictor(make_checkpoint())
    report = report_of(predictor, data)
    scores = score_network(NetworkForecaster(predictor=predictor, level=data.level), data, tuple(PROTOCOLS))
    assert [{name: w[name]["mae"] for name in PROTOCOLS} for w in scores] == [
        {name: row[name] for name in PROTOCOLS} for row in report["per_workout"]
    ]
    for name in PROTOCOLS:
        reliable = report["protocols"][name]["reliability"]["0.8"]
        assert np.mean([w[name]["covered_0.8"] for w in scores]) == pytest.approx(reliable["measured"])
        assert np.mean([w[name]["half_width_0.8"] for w in scores]) == pytest.approx(reliable["half_width"])
    easy = score_baseline(ridge(data), data, ("P1",))
    assert np.mean([w["P1"]["mae"] for w in easy]) == pytest.approx(report["baselines"]["ridge"]["P1"]["mae"])


def test_the_choice_is_the_services_own(runner):
    data = people.split(runner).inner
    versions = {
        name: make_checkpoint(seed=seed, gain=gain)
        for name, seed, gain in (("base", 0, 4.0), ("stage1", 1, 1.0), ("stage2", 2, 2.0))
    }
    reports = {name: report_of(Predictor(checkpoint), data) for name, checkpoint in versions.items()}
    best = "stage1" if compare(reports["stage1"], reports["base"]).promote else "base"
    best = "stage2" if compare(reports["stage2"], reports[best]).promote else best
    assert choose(versions, data) == best


def test_below_eight_workouts_the_base_is_chosen(runner):
    data = people.split(runner.last(7)).inner
    assert (
        choose({name: make_checkpoint(seed=i) for i, name in enumerate(("base", "stage1", "stage2"))}, data) == "base"
    )


def test_a_goal_without_a_measurement_is_neither_reached_nor_missed():
    assert {goal["reached"] for goal in goals({}, {}, ("P1", "P2-180"))} == {None}


def test_a_missing_file_is_told_in_a_sentence(tmp_path):
    with pytest.raises(SystemExit, match="is missing: name the file with --data"):
        bench_accuracy.main(["--data", str(tmp_path / "none.parquet")])


def test_trees_explain_the_workouts_that_they_learned_from_better_than_a_mean_does(runner):
    pytest.importorskip("sklearn", reason="scikit-learn comes with the extra `bench`")
    splits = people.split(runner)

    def error(row):
        errors = [row.blind(workout) - measured_heart_rate(workout) for workout in splits.trees.train]
        return np.nanmean(np.abs(np.concatenate(errors)))

    assert error(boosted_trees(splits.trees)) < 0.7 * error(training_mean(splits.easy))


@pytest.mark.slow
def test_the_whole_benchmark_gives_the_same_numbers_twice(tmp_path, personal, monkeypatch, capsys):
    def one_epoch(*arguments, **named):
        return replace(resolve(*arguments, **named), epochs=1)

    monkeypatch.setattr(experiment, "resolve", one_epoch)
    monkeypatch.setattr(experiment, "boosted_trees", ridge)  # scikit-learn may not be installed
    make_checkpoint().write(tmp_path / "base.safetensors")
    files = {"data": personal, "population": write(tmp_path / "v.parquet", ["val"] * 4, people=1, name="v")}
    files["base"] = tmp_path / "base.safetensors"
    arguments = [part for name, path in files.items() for part in (f"--{name}", str(path))]
    arguments += ["--sizes", "5,all", "--seeds", "1", "--processes", "1"]
    for name in ("one", "two"):
        bench_accuracy.main([*arguments, "--out", str(tmp_path / f"{name}.json")])
    one, two = ((tmp_path / f"{name}.json").read_text() for name in ("one", "two"))
    assert one == two
    content = json.loads(one)
    rows = ["training_mean", "elapsed_curve", "persistence", "ridge", "boosted_trees", "response_alone"]
    rows += ["base", "stage1", "stage2", "stage1_original", "stage2_original", "chosen"]
    assert list(content["sizes"]["all"]["errors"]) == rows
    assert content["sizes"]["5"]["choices"] == {"ps000": ["base"], "ps001": ["base"]}
    assert content["sizes"]["all"]["workouts"] == {"ps000": 11, "ps001": 11}
    assert set(content["strangers"]["held-out people"]["P2-180"]["runners"]) == {"vs000"}
    assert (tmp_path / "one.png").read_bytes().startswith(b"\x89PNG")
    text = capsys.readouterr().out
    assert "2 runners, their last 5 workouts" in text
    assert "chosen by seed" in text
