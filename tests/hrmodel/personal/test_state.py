import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from hrmodel.personal.kalman import ResponseFilter
from hrmodel.personal.response import NAMES, response_features
from hrmodel.personal.state import BlindTerms, PersonState, in_time, replay
from hrmodel.signals.contract import FeatureContract
from hrmodel.signals.grid import GriddedWorkout, to_grid
from hrmodel.signals.scale import fit_scale
from hrmodel.signals.steps import measured_heart_rate
from hrmodel.workouts.simulate import simulate_runner

WORKOUTS = [to_grid(workout, workout.digest) for workout in simulate_runner(workouts=9, seed=4)]
LEVEL = fit_scale(WORKOUTS, FeatureContract())


class Plain:
    """Predicts the level and the response, and counts its predictions."""

    size = len(NAMES)

    def __init__(self) -> None:
        self.predicted = 0

    def features(self, workout):
        return response_features(workout, LEVEL, FeatureContract())

    def blind_terms(self, workouts):
        for workout in workouts:
            self.predicted += 1
            features = self.features(workout)
            yield BlindTerms(features=features, rest=np.full(len(features), LEVEL.heart_rate))


class Nobody(Plain):
    """Knows no person."""

    size = 0

    def features(self, workout):
        return np.empty((len(measured_heart_rate(workout)), 0))


def started(workout: GriddedWorkout, days: int) -> GriddedWorkout:
    return replace(workout, started_at=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=days))


def test_before_any_workout_nothing_but_the_filters_start_is_known():
    state = PersonState.start(len(NAMES))
    assert (state.workouts, state.last_workout, state.intervals) == (0, None, None)
    assert (state.response_at(None).weights == 0).all()
    assert PersonState.start(0).response_at(None) is None


def test_a_replay_has_the_state_before_each_workout_and_the_last_after_them_all():
    states = replay(Plain(), WORKOUTS)
    assert [state.workouts for state in states] == list(range(10))
    assert [state.last_workout for state in states[1:]] == [workout.sort_key for workout in WORKOUTS]


def test_each_workout_is_predicted_with_the_weights_before_it_and_only_then_learned_from():
    plain, followed, last = Plain(), ResponseFilter.start(len(NAMES)), None
    for state, workout in zip(replay(plain, WORKOUTS), WORKOUTS, strict=False):
        if last is not None:
            followed = followed.predict((workout.started_at - last).total_seconds() / 86400)
        before = state.before(workout.started_at)
        assert np.array_equal(before.mean, followed.mean)
        blind = LEVEL.heart_rate + plain.features(workout) @ followed.mean
        followed = followed.update(plain.features(workout), measured_heart_rate(workout) - blind)
        last = workout.started_at


def test_a_person_who_comes_back_after_a_year_has_an_unsure_level_and_learns_a_new_one_at_once():
    plain, state = Plain(), replay(Plain(), WORKOUTS[:8])[-1]
    higher = [
        replace(segment, heart_rate=segment.heart_rate + 15.0) for segment in started(WORKOUTS[8], days=0).segments
    ]
    moved, variances = [], []
    for days in (2, 365):
        when = state.last_workout + timedelta(days=days)
        before = state.response_at(when)
        (after,) = state.advance(plain, [replace(WORKOUTS[8], segments=tuple(higher), started_at=when)])
        variances.append(before.variance)
        moved.append(after.filter.mean[0] - before.offset)
    assert variances[1] > 4 * variances[0]
    assert moved[1] > 1.5 * moved[0]


def test_where_times_are_not_known_a_day_lies_between_workouts():
    known = PersonState.start(len(NAMES)).advance(Plain(), [started(WORKOUTS[0], days=1)])[-1]
    next_day = known.response_at(known.last_workout + timedelta(days=1))
    timeless = PersonState.start(len(NAMES)).advance(Plain(), [replace(WORKOUTS[0], started_at=None)])[-1]
    for response in (known.response_at(None), timeless.response_at(known.last_workout), timeless.response_at(None)):
        assert response.to_dict() == next_day.to_dict()


def test_a_later_workout_costs_one_prediction_and_gives_what_a_replay_of_all_gives():
    *_, before, after = replay(Plain(), WORKOUTS)
    plain = Plain()
    state = PersonState.from_dict(json.loads(json.dumps(before.to_dict()))).advance(plain, WORKOUTS[-1:])[-1]
    assert state.to_dict() == after.to_dict()
    assert plain.predicted == 1


def test_the_bands_stay_until_they_are_computed_anew():
    bands = {"levels": [0.9], "blind": [12.0]}
    state = replace(PersonState.start(len(NAMES)), intervals=bands).advance(Plain(), WORKOUTS[:1])[-1]
    assert state.intervals == bands


def test_a_workout_before_the_latest_known_one_is_refused():
    state = PersonState.start(len(NAMES)).advance(Plain(), [started(WORKOUTS[1], days=1)])[-1]
    with pytest.raises(ValueError, match=r"2026-01-01.* is earlier than the latest known, 2026-01-02"):
        state.advance(Plain(), [started(WORKOUTS[0], days=0)])
    assert state.advance(Plain(), [started(WORKOUTS[0], days=1)])[-1].workouts == 2


def test_a_state_comes_back_exactly_from_json():
    state = replace(replay(Plain(), WORKOUTS)[-1], intervals={"levels": [0.9], "blind": [1 / 3]})
    values = json.loads(json.dumps(state.to_dict(), allow_nan=False))
    back = PersonState.from_dict(values)
    assert back.to_dict() == state.to_dict()
    assert np.array_equal(back.filter.covariance, state.filter.covariance)
    assert back.response_at(None).to_dict() == state.response_at(None).to_dict()
    start = PersonState.start(len(NAMES))
    assert PersonState.from_dict(json.loads(json.dumps(start.to_dict()))).to_dict() == start.to_dict()


def test_what_earlier_versions_stored_is_read_as_the_likelier_of_its_two_filters():
    rng = np.random.default_rng(0)
    filters = []
    for likelihood in (-30.0, -20.0):
        root = rng.normal(size=(len(NAMES), len(NAMES)))
        mean, covariance = rng.normal(size=len(NAMES)).tolist(), (root @ root.T).tolist()
        days = {"wander": 4.0, "own": 16.0, "before": 0.0}
        filters.append({"days": days, "mean": mean, "covariance": covariance, "log_likelihood": likelihood})
    stored = {"filters": filters, "weights": list(NAMES), "intervals": None, "until": "2026-01-02T07:00:00+00:00"}
    state = PersonState.from_dict({**stored, "workouts": 7})
    assert state.filter.mean.tolist() == filters[1]["mean"]
    assert state.filter.covariance.tolist() == filters[1]["covariance"]
    assert (state.workouts, state.last_workout) == (7, datetime(2026, 1, 2, 7, tzinfo=UTC))
    assert PersonState.from_dict(state.to_dict()).to_dict() == state.to_dict()


@pytest.mark.parametrize(
    "change", [{"weights": ["level"]}, {"filters": []}, {"covariance": "AAAA"}, {"until": "yesterday"}]
)
def test_a_damaged_state_is_refused(change):
    with pytest.raises(ValueError):  # noqa: PT011
        PersonState.from_dict(PersonState.start(len(NAMES)).to_dict() | change)


def test_a_forecaster_that_knows_no_person_leaves_no_response_and_nothing_to_store():
    state = replay(Nobody(), WORKOUTS[:2])[-1]
    assert (state.workouts, state.response_at(None), state.filter.variance) == (2, None, 0.0)
    with pytest.raises(ValueError, match="16 weights, not 0"):
        state.to_dict()


def test_a_replay_tells_of_each_workout_and_may_be_stopped_there():
    heard: list[int] = []

    def stop() -> None:
        heard.append(len(heard))
        if len(heard) == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        replay(Plain(), WORKOUTS, stop)
    assert heard == [0, 1, 2]


def test_workouts_are_put_in_the_order_in_which_they_were_done():
    days = [started(WORKOUTS[0], days=day) for day in (2, 0, 1)]
    assert in_time(days) == [days[1], days[2], days[0]]
