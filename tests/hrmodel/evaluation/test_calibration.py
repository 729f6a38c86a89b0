from dataclasses import replace

import numpy as np
import pytest

from hrmodel.evaluation.calibration import SOURCES, person_states, residuals_of, state_after
from hrmodel.evaluation.forecasters import EvaluationData, NetworkForecaster
from hrmodel.evaluation.population import calibrate_people
from hrmodel.personal.band_fitting import LEAD_MINUTES, personal_intervals
from hrmodel.personal.bands import (
    DEFAULT_INTERVALS,
    REGIMES,
    STORED_COVERAGES,
)
from hrmodel.personal.state import PersonState, replay
from hrmodel.signals.contract import FeatureContract
from hrmodel.signals.grid import GriddedWorkout, to_grid
from hrmodel.signals.scale import fit_scale
from hrmodel.signals.steps import measured_heart_rate
from hrmodel.workouts.simulate import simulate_runner, simulate_workouts
from tests.prediction_builders import LEVEL, half_width, make_gridded, make_predictor, predict_views, report_of

PRIOR = {**DEFAULT_INTERVALS, "blind": [float(width) for width in range(5, 16)]}


@pytest.fixture(scope="module")
def data() -> EvaluationData:
    gridded = [to_grid(workout, workout.digest) for workout in simulate_runner(workouts=18, seed=7)]
    level = fit_scale(gridded[:12], FeatureContract())
    return EvaluationData(train=gridded[:8], val=gridded[8:12], test=gridded[12:], level=level)


def base(data: EvaluationData) -> NetworkForecaster:
    return NetworkForecaster(predictor=make_predictor(gain=1.0, intervals=PRIOR), level=data.level)


def personal(data: EvaluationData) -> NetworkForecaster:
    return NetworkForecaster(predictor=make_predictor(gain=1.0, intervals=PRIOR, level=data.level), level=data.level)


def higher(workout: GriddedWorkout, bpm: float = 25.0) -> GriddedWorkout:
    segments = tuple(replace(segment, heart_rate=segment.heart_rate + bpm) for segment in workout.segments)
    return replace(workout, segments=segments)


def changed_at(data: EvaluationData, place: int) -> EvaluationData:
    """The same person with another heart rate in one workout; the level stays."""
    workouts = data.workouts
    workouts[place] = higher(workouts[place])
    return replace(data, train=workouts[:8], val=workouts[8:12], test=workouts[12:])


def test_there_is_something_known_before_each_test_workout_and_after_them_all(data):
    known = person_states(base(data), data)
    assert len(known) == len(data.test) + 1
    replayed = replay(base(data), data.workouts)[len(data.train) + len(data.val) :]
    for state, plain in zip(known, replayed, strict=True):
        assert np.array_equal(state.filter.mean, plain.filter.mean)
        assert set(state.intervals) == {"levels", "minutes", *REGIMES}
        assert all(np.shape(state.intervals[kind]) == (len(LEAD_MINUTES), len(STORED_COVERAGES)) for kind in REGIMES)


@pytest.mark.parametrize(("network", "first"), [(base, 0), (personal, 8)])
def test_a_base_learns_bands_from_all_workouts_and_a_personal_version_from_those_it_was_not_trained_on(
    data, network, first
):
    network = network(data)
    states = replay(network, data.workouts)
    past = list(residuals_of(network, list(zip(data.workouts, states, strict=False))))
    for place, state in enumerate(person_states(network, data), start=12):
        assert state.intervals == personal_intervals(PRIOR, past[first:place])


@pytest.mark.parametrize(("network", "moved"), [(base, True), (personal, False)])
def test_how_wrong_a_training_workout_was_moves_the_bands_of_a_base_alone(data, network, moved):
    """The first training workout has too few steps to be followed, so that only its own residuals can differ."""
    network = network(data)
    first, *later = data.train
    (segment,) = first.segments
    people = []
    for heart_rate in (150.0, 220.0):
        few = replace(segment, heart_rate=np.where(np.arange(segment.steps) < 11, heart_rate, np.nan))
        people.append(replace(data, train=[replace(first, segments=(few,)), *later]))
    one, other = (person_states(network, person) for person in people)
    assert np.array_equal(one[0].filter.mean, other[0].filter.mean)
    assert (one[0].intervals != other[0].intervals) == moved


@pytest.mark.parametrize("network", [base, personal])
@pytest.mark.parametrize("place", [0, 4, 5])
def test_what_is_known_before_a_test_workout_comes_from_the_ones_before_it(data, network, place):
    network = network(data)
    one, other = person_states(network, data), person_states(network, changed_at(data, 12 + place))
    for i, (before, after) in enumerate(zip(one, other, strict=True)):
        same = i <= place
        assert (before.intervals == after.intervals) == same
        assert np.array_equal(before.filter.mean, after.filter.mean) == same


def test_a_personal_version_without_validation_starts_with_its_priors_bands(data):
    known = person_states(personal(data), replace(data, train=data.workouts[:12], val=[]))
    assert known[0].intervals == PRIOR
    assert known[1].intervals != PRIOR


def test_without_test_workouts_what_is_known_is_for_the_next_one(data):
    known = person_states(personal(data), replace(data, test=[]))
    assert len(known) == 1
    assert known[0].intervals == person_states(personal(data), data)[0].intervals
    assert np.array_equal(known[0].filter.mean, person_states(personal(data), data)[0].filter.mean)


def test_workouts_that_came_with_a_later_upload_are_followed_in_the_order_in_which_they_were_done(data):
    """After the second upload the newest workouts train; those held out before lie between them."""
    ordered = data.workouts
    later = replace(data, train=[*ordered[:6], *ordered[10:16]], val=ordered[6:8], test=[*ordered[8:10], *ordered[16:]])
    assert later.workouts == ordered
    for network in (base(data), personal(data)):
        whole = replay(network, ordered)
        known = person_states(network, later)
        for place, state in zip([8, 9, 16, 17, 18], known, strict=True):
            assert np.array_equal(state.filter.mean, whole[place].filter.mean)
        changed = person_states(network, replace(later, train=[*ordered[:6], *map(higher, ordered[10:16])]))
        assert known[1].intervals == changed[1].intervals
        assert np.array_equal(known[1].filter.mean, changed[1].filter.mean)
        assert not np.array_equal(known[2].filter.mean, changed[2].filter.mean)


def test_with_no_workout_at_all_nothing_is_known_but_the_prior(data):
    (known,) = person_states(base(data), EvaluationData(train=[], val=[], test=[], level=LEVEL))
    assert known.intervals == PRIOR


def test_people_without_a_level_have_bands_and_no_response(data):
    unknown = replace(data, level=None)
    known = person_states(base(unknown), unknown)
    assert all(len(state.filter.mean) == 0 and state.response_at(None) is None for state in known)
    assert known[-1].intervals != PRIOR


def test_a_state_knows_when_the_latest_workout_was_and_how_many_there_were(data):
    states = person_states(base(data), data)
    assert [state.workouts for state in states] == list(range(12, 19))
    assert [state.last_workout for state in states] == [workout.sort_key for workout in data.workouts[11:]]


def test_a_trained_model_leaves_the_state_before_the_first_test_workout(data):
    network = personal(data)
    state, before = state_after(network.predictor.checkpoint, data), person_states(network, data)[0]
    assert state.to_dict() == before.to_dict()


def test_bands_on_top_of_other_peoples_hold_their_share_of_the_test_workouts(data):
    others = [to_grid(workout, workout.digest) for workout in simulate_workouts(people=3, workouts=8, seed=1)]
    prior = calibrate_people(make_predictor(gain=1.0), [others[:8], others[8:16], others[16:]])
    report = report_of(make_predictor(gain=1.0, intervals=prior), data)
    for name, table in report["protocols"].items():
        assert table["reliability"]["0.8"]["measured"] == pytest.approx(0.8, abs=0.15), name
        assert table["reliability"]["0.9"]["measured"] == pytest.approx(0.9, abs=0.12), name


def test_knowing_more_gives_a_narrower_band(data):
    bands = person_states(base(data), data)[-1].intervals
    widths = [half_width(bands, kind, 0.9, 1.0) for kind in ("nowcast", "forecast_600", "blind")]
    assert widths == sorted(widths)


def test_residuals_come_from_the_steps_that_serving_calls_that_kind(data):
    workout, network = data.test[0], base(data)
    (residuals,) = residuals_of(network, [(workout, PersonState.start(network.size))])
    assert set(residuals) == set(REGIMES) == set(SOURCES)
    minutes, misses = residuals["blind"]
    truth = measured_heart_rate(workout)
    (steps,) = predict_views(network.predictor, workout, [np.full(len(truth), np.nan)], level=data.level)
    measured = np.isfinite(truth)
    assert np.array_equal(misses, (truth - steps.heart_rate)[measured])
    assert np.array_equal(minutes, np.flatnonzero(measured) / 6.0)
    for kind, first in (("forecast_60", 6), ("forecast_180", 18), ("forecast_600", 60)):
        assert len(residuals[kind][1]) == measured[first + 1 :].sum()  # the step after the prefix is a nowcast
        assert residuals[kind][0].min() == pytest.approx(0.25)  # 15 s: the middle of the second step after it


def test_a_workout_too_short_for_a_kind_says_nothing_about_it():
    short = make_gridded(140 + np.sin(np.arange(40.0)))
    network = NetworkForecaster(predictor=make_predictor(), level=LEVEL)
    start = PersonState.start(network.size)
    (residuals,) = residuals_of(network, [(short, start)])
    assert set(residuals) == set(REGIMES) - {"forecast_600"}
    silent = make_gridded(np.full(40, np.nan))
    (nothing,) = residuals_of(network, [(silent, start)])
    assert all(len(misses) == 0 for _, misses in nothing.values())
