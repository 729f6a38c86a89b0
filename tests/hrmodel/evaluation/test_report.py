import json
from dataclasses import replace

import numpy as np
import pytest

from hrmodel.evaluation.baselines import BASELINES
from hrmodel.evaluation.calibration import person_states, states_and_report
from hrmodel.evaluation.forecasters import Answer, EvaluationData, NetworkForecaster, Question, score
from hrmodel.evaluation.metrics import METRICS, mae
from hrmodel.evaluation.protocols import PROTOCOLS
from hrmodel.evaluation.report import evaluate
from hrmodel.personal.kalman import ResponseFilter
from hrmodel.personal.response import NAMES, response_features
from hrmodel.personal.state import BlindTerms, PersonState, replay
from hrmodel.signals.contract import FeatureContract
from hrmodel.signals.grid import to_grid
from hrmodel.signals.scale import fit_scale
from hrmodel.signals.steps import measured_heart_rate
from hrmodel.workouts.simulate import simulate_runner
from hrmodel.workouts.splits import chronological_split
from tests.prediction_builders import make_gridded, make_predictor, predict_views, report_of

SERIES = ("minutes", "measured", "predicted", "lower", "upper", "after_180_s")


def simulated(count: int = 10, *, known_people: bool = True) -> EvaluationData:
    gridded = [to_grid(workout, workout.digest) for workout in simulate_runner(workouts=count, seed=5)]
    split = chronological_split(count)
    part = {name: [w for w, s in zip(gridded, split, strict=True) if s == name] for name in ("train", "val", "test")}
    level = fit_scale(part["train"] + part["val"], FeatureContract()) if known_people else None
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
    network = NetworkForecaster(predictor=predictor, level=data.level)
    states = person_states(network, data)
    return evaluate(network, data, states, on_progress=heard.append)


def test_the_report_is_json_with_every_protocol_metric_and_baseline(report):
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert list(report["protocols"]) == list(PROTOCOLS)
    for table in report["protocols"].values():
        assert table["workouts"] == 3
        assert set(table["mean"]) == set(table["median"]) == set(METRICS)
        assert list(table["reliability"]) == ["0.5", "0.6", "0.7", "0.8", "0.9", "0.95"]
        for level, row in table["reliability"].items():
            assert (0 <= row["measured"] <= 1, row["half_width"] > 0) == (True, True), level
    assert set(report["baselines"]) == set(BASELINES)
    for table in report["baselines"].values():
        assert {name: set(metrics) for name, metrics in table.items()} == {name: set(METRICS) for name in PROTOCOLS}


def test_the_score_is_the_mean_of_the_blind_and_the_three_minute_error(report):
    errors = [report["protocols"][name]["mean"]["mae"] for name in ("P1", "P2-180")]
    assert report["score"] == pytest.approx(np.mean(errors))
    assert report["selected_on"] == "test"
    for i, name in enumerate(("P1", "P2-180")):
        assert np.mean([row[name] for row in report["per_workout"]]) == pytest.approx(errors[i])


def test_each_test_workout_is_predicted_with_the_response_followed_up_to_it(predictor, data, report):
    state, errors = PersonState.start(len(NAMES)), []
    for workout in (*data.train, *data.val, *data.test):
        followed = state.before(workout.started_at)
        truth, features = measured_heart_rate(workout), response_features(workout, data.level, FeatureContract())
        known = {"level": data.level, "response": followed.response}
        (blind,) = predict_views(predictor, workout, [np.full(len(truth), np.nan)], **known)
        errors.append(np.nanmean(np.abs(truth - blind.heart_rate)))
        after = followed.update(features, truth - blind.heart_rate)
        state = PersonState(filter=after, last_workout=workout.started_at, workouts=state.workouts + 1)
    assert [row["P1"] for row in report["per_workout"]] == pytest.approx(errors[-len(data.test) :])
    assert [row["digest"] for row in report["per_workout"]] == [workout.digest for workout in data.test]


def test_without_test_workouts_the_tables_are_empty_and_the_score_is_none(predictor):
    report = report_of(predictor, simulated(6))
    assert report == {
        "score": None, "selected_on": "test", "test_workouts": 0, "protocols": {}, "baselines": {},
        "per_workout": [], "examples": [],
    }  # fmt: skip


def test_people_never_seen_before_are_scored_without_a_response(predictor):
    report = report_of(predictor, simulated(9, known_people=False))
    assert report["score"] > 0
    assert report["baselines"]["ridge"]["P1"]["mae"] > 0


def test_test_workouts_too_short_for_a_protocol_leave_it_empty_and_the_score_none(predictor, data):
    short = [make_gridded(np.full(20, 140.0), digest=str(i)) for i in range(3)]
    report = report_of(predictor, EvaluationData(train=data.train, val=data.val, test=short, level=data.level))
    json.dumps(report, allow_nan=False)
    assert report["protocols"]["P2-600"] == {"workouts": 0, "mean": {}, "median": {}, "reliability": {}}
    assert report["protocols"]["P1"]["workouts"] == 3
    assert report["score"] is None
    assert report["per_workout"][0]["P2-180"] is None


def test_every_test_workout_has_a_row_with_its_length_heart_rate_errors_bias_and_coverage(data, report):
    means = report["protocols"]["P1"]
    for row, workout in zip(report["per_workout"], data.test, strict=True):
        assert set(row) == {"digest", "minutes", "heart_rate", *PROTOCOLS, "bias", "coverage"}
        assert row["minutes"] == pytest.approx(len(measured_heart_rate(workout)) / 6, abs=0.05)
        assert row["heart_rate"] == pytest.approx(np.nanmean(measured_heart_rate(workout)))
    assert np.mean([row["bias"] for row in report["per_workout"]]) == pytest.approx(means["mean"]["bias"])
    covered = np.mean([row["coverage"] for row in report["per_workout"]])
    assert covered == pytest.approx(means["reliability"]["0.9"]["measured"])


def test_the_examples_are_the_best_the_median_and_the_worst_workout_blind(report):
    by_error = sorted(report["per_workout"], key=lambda row: row["P1"])
    assert [example["which"] for example in report["examples"]] == ["best", "median", "worst"]
    for example, row in zip(report["examples"], by_error, strict=True):  # there are three test workouts
        assert (example["digest"], example["P1"], example["P2-180"]) == (row["digest"], row["P1"], row["P2-180"])
    for name, table in report["baselines"].items():
        for protocol in ("P1", "P2-180"):
            errors = [example["baselines"][name][protocol] for example in report["examples"]]
            assert np.mean(errors) == pytest.approx(table[protocol]["mae"])


def test_an_examples_series_give_its_errors_again(report):
    for example in report["examples"]:
        columns = {name: np.array(example[name], dtype=float) for name in SERIES}
        assert len({len(column) for column in columns.values()}) == 1
        error = np.nanmean(np.abs(columns["predicted"] - columns["measured"]))
        assert error == pytest.approx(example["P1"], abs=0.1)
        later = columns["minutes"] >= 3
        assert np.isnan(columns["after_180_s"][~later]).all()
        error = np.nanmean(np.abs(columns["after_180_s"] - columns["measured"])[later])
        assert error == pytest.approx(example["P2-180"], abs=0.1)
        assert (columns["lower"] < columns["predicted"]).all()
        assert (columns["predicted"] < columns["upper"]).all()


def test_progress_rises_to_one(report, heard):
    assert heard == sorted(heard)
    assert heard[-1] == 1.0


class Oracle:
    """Knows the true heart rate, but for a constant per workout."""

    def __init__(self, misses: dict[str, float]) -> None:
        self.misses = misses

    size = 1

    def blind_terms(self, workouts):
        for workout in workouts:
            truth = measured_heart_rate(workout)
            yield BlindTerms(features=np.ones((len(truth), 1)), rest=truth - self.misses[workout.digest])

    def answers(self, questions):
        for question in questions:
            (terms,) = self.blind_terms([question.workout])
            yield [Answer(heart_rate=terms.predict(question.response.weights)) for _ in question.tasks]


def known_offset(offset: float) -> PersonState:
    return PersonState(filter=replace(ResponseFilter.start(1), mean=np.array([offset])))


def test_replay_follows_an_offset_that_lasts_and_begins_at_0(data):
    oracle = Oracle({workout.digest: 10.0 for workout in data.workouts})
    offsets = [state.filter.mean[0] for state in replay(oracle, data.workouts)]
    assert offsets[0] == 0.0
    assert offsets[1] > 3.0  # the first workout moves it most of the way that its uncertainty allows
    assert offsets[-1] == pytest.approx(10.0, abs=1.5)


def test_an_oracle_scores_its_known_error(data):
    workout = data.test[0]
    tasks = [PROTOCOLS[name](workout) for name in ("P1", "P3-30", "P2-60")]
    question = Question.of(workout, known_offset(1.0), tasks)
    (results,) = score(Oracle({workout.digest: 4.0}), [question], 200.0)
    assert [mae(scored) for scored in results] == pytest.approx([3.0] * 3)
    assert [len(scored.errors) for scored in results] == [task.scored.sum() for task in tasks]


def test_an_evaluation_hears_of_its_progress_at_every_workout_and_baseline(heard, data):
    assert len(heard) >= len(data.workouts) * len(BASELINES) + len(data.test) * (len(BASELINES) + 1)


def test_replay_and_report_tell_of_one_progress_from_0_to_1(predictor, data, report):
    heard: list[float] = []
    network = NetworkForecaster(predictor=predictor, level=data.level)
    states, made = states_and_report(network, data, heard.append)
    assert (made, len(states)) == (report, len(data.test) + 1)
    assert heard == sorted(heard)
    assert (heard[0] < 0.1, heard[-1]) == (True, 1.0)
