import json

import numpy as np
import pytest

from hrmodel.evaluation.promotion import compare


def report(blind, forecast=None) -> dict:
    forecast = blind if forecast is None else forecast
    rows = [{"digest": f"w{i}", "P1": b, "P2-180": f} for i, (b, f) in enumerate(zip(blind, forecast, strict=True))]
    return {"per_workout": rows}


def test_a_lower_score_is_promoted_with_its_bootstrap_interval():
    rng = np.random.default_rng(0)
    champion = rng.uniform(6, 12, 40)
    decision = compare(report(champion - 1 + rng.normal(0, 0.5, 40)), report(champion))
    assert decision.promote is True
    assert decision.candidate_score < decision.champion_score == pytest.approx(champion.mean())
    low, high = decision.interval
    assert low < decision.difference < high < 0
    width = 2 * 1.96 * 0.5 / np.sqrt(40)  # paired: the workouts' own spread is out
    assert high - low == pytest.approx(width, rel=0.35)


def test_a_decision_is_stored_as_earlier_versions_stored_it():
    decision = compare(report([5.0, 6.0, 7.0]), report([6.0, 7.0, 8.0]))
    assert json.loads(json.dumps(decision.to_dict(), allow_nan=False)) == {
        "promote": True,
        "candidate_score": 6.0,
        "champion_score": 7.0,
        "difference": -1.0,
        "interval": [-1.0, -1.0],
        "test_workouts": 3,
        "selected_on": "test",
        "reason": "Promoted: better than the champion, 6.00 against 7.00 bpm over 3 test workouts.",
    }


@pytest.mark.parametrize("scored", [(None, report([5.0] * 3)), (report([5.0] * 3), None), (None, None)])
def test_what_was_not_scored_is_not_promoted(scored):
    decision = compare(*scored)
    assert (decision.promote, decision.workouts, decision.interval) == (False, None, None)
    assert "not both scored" in decision.reason


def test_the_same_reports_always_give_the_same_decision():
    one, other = report([5.0, 6.0, 7.5]), report([5.5, 6.0, 7.0])
    assert compare(one, other) == compare(one, other)


@pytest.mark.parametrize("candidate", [[5.0, 6.0, 7.0], [5.0, 6.0, 7.1]])
def test_an_equal_or_higher_score_is_not_promoted(candidate):
    decision = compare(report(candidate), report([5.0, 6.0, 7.0]))
    assert decision.promote is False
    assert decision.reason.startswith("Not promoted")


def test_fewer_than_three_common_test_workouts_promote_nothing():
    champion = report([9.0] * 6)
    champion["per_workout"][:4] = [{**row, "digest": "other" + row["digest"]} for row in champion["per_workout"][:4]]
    decision = compare(report([1.0] * 6), champion)
    assert (decision.promote, decision.workouts) == (False, 2)
    assert "2 common test workouts" in decision.reason
    assert decision.interval is None


def test_a_protocol_that_a_workout_is_too_short_for_counts_for_neither():
    candidate = report([4.0, 4.0, 4.0], [2.0, 2.0, None])
    champion = report([5.0, 5.0, 5.0], [3.0, 3.0, 50.0])
    decision = compare(candidate, champion)
    assert (decision.candidate_score, decision.champion_score) == (3.0, 4.0)


def test_a_score_that_does_not_exist_promotes_nothing():
    decision = compare(report([4.0] * 3, [None] * 3), report([5.0] * 3, [None] * 3))
    assert decision.promote is False
    assert decision.candidate_score is None


def of_people(*people) -> dict:
    """A report over people: of each the errors of their test workouts."""
    rows = [row for number, errors in enumerate(people) for row in tagged(number, errors)]
    return {"per_workout": rows}


def tagged(person, errors):
    return [{**row, "person": person, "digest": f"{person}{row['digest']}"} for row in report(errors)["per_workout"]]


def test_of_many_people_number_and_interval_are_of_the_same_difference_in_which_each_counts_the_same():
    rng = np.random.default_rng(1)
    # four people of 3 workouts get worse by about 2, one of 60 gets better by about 1
    theirs = [np.full(3, 6.0)] * 4 + [np.full(60, 8.0)]
    ours = [e + 2 + rng.normal(0, 0.1) for e in theirs[:4]] + [theirs[4] - 1.0]
    decision = compare(of_people(*ours), of_people(*theirs))
    differences = [o.mean() - t.mean() for o, t in zip(ours, theirs, strict=True)]
    assert decision.difference == pytest.approx(np.mean(differences))  # 1.4; over workouts it would be -0.5
    assert (decision.promote, decision.workouts) == (False, 72)
    low, high = decision.interval
    assert low < decision.difference < high
    assert (low, high) == (pytest.approx(-0.4, abs=0.7), pytest.approx(2.0, abs=0.2))
    assert decision.reason.endswith("over 72 test workouts of 5 people.")


def test_one_person_held_out_gives_no_interval():
    decision = compare(of_people([5.0, 5.0, 6.0]), of_people([6.0, 6.0, 6.0]))
    assert (decision.promote, decision.interval) == (True, None)
    assert decision.difference == pytest.approx(-2 / 3)


def test_a_person_without_a_protocol_counts_for_neither():
    ours, theirs = of_people([4.0, 4.0], [1.0, 1.0]), of_people([5.0, 5.0], [9.0, 9.0])
    for row in ours["per_workout"][2:]:
        row["P2-180"] = None
    decision = compare(ours, theirs)
    assert (decision.candidate_score, decision.champion_score) == (4.0, 5.0)
