import json

import numpy as np
import pytest

from hrmodel.evaluation.comparison import compare


def report(blind, forecast=None) -> dict:
    forecast = blind if forecast is None else forecast
    rows = [{"digest": f"w{i}", "P1": b, "P2-180": f} for i, (b, f) in enumerate(zip(blind, forecast, strict=True))]
    return {"per_workout": rows}


def test_a_lower_score_is_promoted_with_its_bootstrap_interval():
    rng = np.random.default_rng(0)
    champion = rng.uniform(6, 12, 40)
    decision = compare(report(champion - 1 + rng.normal(0, 0.5, 40)), report(champion))
    assert decision["promote"] is True
    assert decision["candidate_score"] < decision["champion_score"] == pytest.approx(champion.mean())
    low, high = decision["interval"]
    assert low < decision["difference"] < high < 0
    assert high - low == pytest.approx(
        2 * 1.96 * 0.5 / np.sqrt(40), rel=0.35
    )  # paired: the workouts' own spread is out
    assert decision["selected_on"] == "test"
    assert json.loads(json.dumps(decision, allow_nan=False)) == decision


def test_the_same_reports_always_give_the_same_decision():
    one, other = report([5.0, 6.0, 7.5]), report([5.5, 6.0, 7.0])
    assert compare(one, other) == compare(one, other)


@pytest.mark.parametrize("candidate", [[5.0, 6.0, 7.0], [5.0, 6.0, 7.1]])
def test_an_equal_or_higher_score_is_not_promoted(candidate):
    decision = compare(report(candidate), report([5.0, 6.0, 7.0]))
    assert decision["promote"] is False
    assert decision["reason"].startswith("Not promoted")


def test_fewer_than_three_common_test_workouts_promote_nothing():
    champion = report([9.0] * 6)
    champion["per_workout"][:4] = [{**row, "digest": "other" + row["digest"]} for row in champion["per_workout"][:4]]
    decision = compare(report([1.0] * 6), champion)
    assert (decision["promote"], decision["test_workouts"]) == (False, 2)
    assert "2 common test workouts" in decision["reason"]
    assert decision["interval"] is None


def test_a_protocol_that_a_workout_is_too_short_for_counts_for_neither():
    candidate = report([4.0, 4.0, 4.0], [2.0, 2.0, None])
    champion = report([5.0, 5.0, 5.0], [3.0, 3.0, 50.0])
    decision = compare(candidate, champion)
    assert (decision["candidate_score"], decision["champion_score"]) == (3.0, 4.0)


def test_a_score_that_does_not_exist_promotes_nothing():
    decision = compare(report([4.0] * 3, [None] * 3), report([5.0] * 3, [None] * 3))
    assert decision["promote"] is False
    assert decision["candidate_score"] is None
