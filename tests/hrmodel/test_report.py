import json

import numpy as np
import pytest

from hrmodel.evaluation.baselines import BASELINES
from hrmodel.evaluation.contenders import Answer, EvaluationData, Network, replay, score
from hrmodel.evaluation.metrics import METRICS, mae
from hrmodel.evaluation.protocols import PROTOCOLS
from hrmodel.evaluation.report import evaluate
from hrmodel.prediction.steps import measured_heart_rate
from hrmodel.signals.features import FeatureContract
from hrmodel.signals.grid import to_grid
from hrmodel.signals.level import fit_level
from hrmodel.workouts.simulate import simulate_runner
from hrmodel.workouts.splits import chronological_split
from tests.prediction_builders import make_gridded, make_predictor


def simulated(count: int = 10, *, known_people: bool = True) -> EvaluationData:
    gridded = [to_grid(workout, workout.digest) for workout in simulate_runner(workouts=count, seed=5)]
    split = chronological_split(count)
    part = {name: [w for w, s in zip(gridded, split, strict=True) if s == name] for name in ("train", "val", "test")}
    level = fit_level(part["train"] + part["val"], FeatureContract()) if known_people else None
    return EvaluationData(**part, level=level)


@pytest.fixture(scope="module")
def predictor():
    return make_predictor(gain=1.0)


@pytest.fixture(scope="module")
def data() -> EvaluationData:
    return simulated()


@pytest.fixture(scope="module")
def heard() -> list[float]:
    return []


@pytest.fixture(scope="module")
def report(predictor, data, heard):
    return evaluate(predictor, data, on_progress=heard.append)


def test_the_report_is_json_with_every_protocol_metric_and_baseline(report):
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert list(report["protocols"]) == list(PROTOCOLS)
    for table in report["protocols"].values():
        assert table["workouts"] == 3
        assert set(table["mean"]) == set(table["median"]) == set(METRICS)
        assert set(table["coverage"]) == {"0.8", "0.9"}
    assert set(report["baselines"]) == set(BASELINES)
    for table in report["baselines"].values():
        assert {name: set(metrics) for name, metrics in table.items()} == {name: set(METRICS) for name in PROTOCOLS}


def test_the_score_is_the_mean_of_the_blind_and_the_three_minute_error(report):
    errors = [report["protocols"][name]["mean"]["mae"] for name in ("P1", "P2-180")]
    assert report["score"] == pytest.approx(np.mean(errors))
    assert report["selected_on"] == "test"
    for i, name in enumerate(("P1", "P2-180")):
        assert np.mean([row[name] for row in report["per_workout"]]) == pytest.approx(errors[i])


def test_each_test_workout_is_predicted_with_the_offset_before_it(predictor, data, report):
    offset, errors = 0.0, []
    for workout in (*data.val, *data.test):
        truth = measured_heart_rate(workout)
        blind = predictor.predict_steps(workout, [np.full(len(truth), np.nan)], level=data.level, offset=offset)[0]
        errors.append(np.nanmean(np.abs(truth - blind.heart_rate)))
        offset += 0.3 * np.nanmedian(truth - blind.heart_rate)
    assert report["offset"] == pytest.approx(offset)
    assert [row["P1"] for row in report["per_workout"]] == pytest.approx(errors[len(data.val) :])
    assert [row["digest"] for row in report["per_workout"]] == [workout.digest for workout in data.test]


def test_without_test_workouts_the_tables_are_empty_and_the_score_is_none(predictor):
    report = evaluate(predictor, simulated(6))
    assert report == {
        "score": None, "selected_on": "test", "test_workouts": 0, "offset": 0.0, "protocols": {}, "baselines": {}, "per_workout": [],
    }  # fmt: skip


def test_people_never_seen_before_are_scored_without_level_tracking(predictor):
    report = evaluate(predictor, simulated(9, known_people=False))
    assert report["offset"] == 0.0
    assert report["score"] > 0
    assert report["baselines"]["ridge"]["P1"]["mae"] > 0


def test_test_workouts_too_short_for_a_protocol_leave_it_empty_and_the_score_none(predictor, data):
    short = [make_gridded(np.full(20, 140.0), digest=str(i)) for i in range(3)]
    report = evaluate(predictor, EvaluationData(train=data.train, val=data.val, test=short, level=data.level))
    json.dumps(report, allow_nan=False)
    assert report["protocols"]["P2-600"] == {"workouts": 0, "mean": {}, "median": {}, "coverage": {}}
    assert report["protocols"]["P1"]["workouts"] == 3
    assert report["score"] is None
    assert report["per_workout"][0]["P2-180"] is None


def test_progress_rises_to_one(report, heard):
    assert heard == sorted(heard)
    assert heard[-1] == 1.0


class Oracle:
    """Knows the true heart rate, but for a constant per workout."""

    tracked = True

    def __init__(self, misses: dict[str, float]) -> None:
        self.misses = misses

    def answers(self, workout, views, offset):
        return [Answer(heart_rate=measured_heart_rate(workout) - self.misses[workout.digest] + offset) for _ in views]


def test_level_tracking_moves_by_the_gain_times_the_median_residual(data):
    workouts = data.train[:3]
    oracle = Oracle({workout.digest: 10.0 for workout in workouts})
    assert replay(oracle, workouts, 0.3) == pytest.approx([0, 3, 5.1, 6.57])


def test_an_oracle_scores_its_known_error(data):
    workout = data.test[0]
    tasks = PROTOCOLS["P3-30"](workout)
    results = score(Oracle({workout.digest: 4.0}), workout, tasks, offset=1.0, max_heart_rate=200.0)
    assert [mae(scored) for scored in results] == pytest.approx([3.0] * len(tasks))


def test_forecasts_in_batches_equal_forecasts_one_by_one(predictor, data):
    workout, network = data.test[0], Network(predictor=predictor, level=data.level)
    tasks = PROTOCOLS["P3-30"](workout)
    assert len(tasks) > 16
    together = score(network, workout, tasks, offset=0.0, max_heart_rate=200.0)
    for task, scored in zip(tasks[::7], together[::7], strict=True):
        alone = network.answers(workout, [task.view], 0.0)[0].heart_rate
        np.testing.assert_allclose(scored.prediction[task.scored], alone[task.scored], atol=1e-3)
