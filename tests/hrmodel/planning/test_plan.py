"""Pace plans: they keep the cap, they are fast, they look like what a runner would do."""

from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from hrmodel.network.checkpoint import Checkpoint
from hrmodel.network.lstm import HeartRateLSTM
from hrmodel.personal.zones import ZONES, likely_highest, seconds_in_zones
from hrmodel.planning.pacing import HEADROOM, TOLERANCE
from hrmodel.planning.plan import PlanTooLong, known_speeds, plan_route
from hrmodel.planning.route import FASTEST_DOWNHILL, MAX_SEGMENTS, Route, run, slope_factors
from hrmodel.prediction.predictor import Prediction, Predictor
from hrmodel.signals.scale import population_scale
from hrmodel.workouts.running import FASTEST, SLOWEST
from tests.prediction_builders import LEVEL, make_predictor, make_response

BASE = Path(__file__).resolve().parents[3] / "hrmodel" / "pretrained" / "base.safetensors"
ONE_HILL = Route(distance=[0, 2000, 3000, 4000, 6000], altitude=[100, 100, 150, 100, 100])


@pytest.fixture(scope="module")
def base():
    """The shipped base, for a runner of average speed."""
    torch.set_num_threads(1)
    predictor = Predictor(Checkpoint.read(BASE))
    level = population_scale(predictor.checkpoint.contract, 2.8)
    return partial(plan_route, partial(predictor.predict, level=level), slowest=SLOWEST, fastest=known_speeds(level)[1])


def flat(metres):
    return Route(distance=[0, metres])


def heart(workout, *, per_speed=25.0, per_climb=150.0, added=0.0):
    """A heart that is as simple as can be: a first-order response with a time constant of a minute."""
    climb = 0.0 if workout.altitude is None else np.gradient(workout.altitude, 10.0)
    wanted = 75.0 + per_speed * workout.speed + per_climb * climb + added
    value, keep, row = 90.0, np.exp(-10.0 / 60.0), []
    for target in wanted:
        value = keep * value + (1 - keep) * target
        row.append(value)
    rates = np.array(row)
    return Prediction(
        heart_rate=rates, lower=rates - 10, upper=rates + 10, observed_until=None, protocol="blind", level="subject"
    )


def speeds(plan):
    return np.array([segment.speed for segment in plan.segments])


def highest(plan):
    return plan.prediction.heart_rate.max()


@pytest.mark.parametrize("route", [flat(4000), ONE_HILL], ids=["flat", "hill"])
@pytest.mark.parametrize("cap", [135, 150, 165])
def test_the_whole_plan_predicted_blind_keeps_the_cap(base, route, cap):
    plan = base(route, cap)
    assert cap - 15 < highest(plan) <= cap + TOLERANCE
    assert plan.over_cap_seconds == 0
    assert not any(segment.over_cap for segment in plan.segments)
    assert all(segment.highest <= cap + TOLERANCE for segment in plan.segments)


def test_a_higher_cap_is_never_slower(base):
    times = [base(ONE_HILL, cap).seconds for cap in (120, 135, 150, 165, 180)]
    assert all(later <= 1.01 * sooner for sooner, later in pairwise(times))
    assert times[0] > 1.2 * times[-1]


def test_uphill_is_slower_and_downhill_faster_than_the_flat(base):
    plan = base(ONE_HILL, 150)
    climbs = np.array([segment.climb for segment in plan.segments])
    up, down, even = (speeds(plan)[where].mean() for where in (climbs > 5, climbs < -5, np.abs(climbs) < 1))
    assert up < 0.9 * even < even < down


def test_a_cap_that_nobody_can_keep_is_said_and_run_at_the_slowest_speed(base):
    plan = base(flat(3000), 80)
    assert set(speeds(plan)) == {SLOWEST}
    assert all(segment.over_cap for segment in plan.segments)
    assert plan.over_cap_seconds == plan.seconds == pytest.approx(3000 / SLOWEST)


def test_a_hill_that_is_too_steep_for_the_cap_does_not_slow_the_rest_of_the_way():
    route = Route(distance=[0, 3000, 3500, 6000], altitude=[0, 0, 150, 150])
    plan = plan_route(partial(heart, per_climb=300.0), route, 140)
    over = [number for number, segment in enumerate(plan.segments) if segment.over_cap]
    assert 6 in over
    assert plan.segments[6].speed == SLOWEST
    assert plan.over_cap_seconds > 60
    assert speeds(plan)[:4].min() > 2.2
    assert speeds(plan)[9:].min() > 2.2


def test_with_a_simple_heart_the_flat_is_run_at_the_speed_whose_heart_rate_is_the_cap():
    plan = plan_route(heart, flat(8000), 150)
    assert speeds(plan) == pytest.approx(np.full(16, 3.0), abs=0.05)
    assert plan.seconds == pytest.approx(8000 / 3.0, rel=0.02)


def test_nobody_sprints_while_heart_rate_is_still_low(base):
    even = plan_route(heart, flat(8000), 150)
    assert speeds(even).max() <= HEADROOM * speeds(even).min()
    plan = base(flat(5000), 150)
    started = [segment for segment in plan.segments if segment.ends / segment.speed <= 300]
    assert max(segment.speed for segment in started) < 1.02 * 5000 / plan.seconds


def test_a_heart_rate_that_falls_again_beyond_a_speed_does_not_tempt():
    def odd(workout):
        speed = np.where(workout.speed > 4.5, 1.0, workout.speed)
        return heart(type(workout)(t=workout.t, speed=speed))

    assert speeds(plan_route(odd, flat(5000), 150)).max() < 3.5


def test_what_counts_over_the_whole_workout_is_seen(base):
    def moody(workout):
        return heart(workout, added=8 * (workout.speed.mean() - 2.5) + 3 * np.log(len(workout.t) / 100))

    plan = plan_route(moody, ONE_HILL, 150)
    assert highest(plan) == moody(plan.passage.workout).heart_rate.max()
    assert 145 < highest(plan) <= 150 + TOLERANCE


def test_a_plan_over_16_hours_is_refused():
    with pytest.raises(PlanTooLong, match="16 h"):
        plan_route(heart, flat(100_000), 105)


@pytest.mark.parametrize(
    ("cap", "slowest", "fastest"),
    [(79, 1, 6.5), (221, 1, 6.5), (float("nan"), 1, 6.5), (150, 0.1, 6.5), (150, 3, 3), (150, 1, 9), (150, 1, np.nan)],
)
def test_bounds_are_checked(cap, slowest, fastest):
    with pytest.raises(ValueError, match="must"):
        plan_route(heart, flat(1000), cap, slowest=slowest, fastest=fastest)


@pytest.mark.parametrize(
    ("distance", "altitude"),
    [
        ([0], None),
        ([0, 10, 10], None),
        ([1, 2], None),
        ([0, np.nan], None),
        ([0, np.inf], None),
        ([0, 200_001], None),
        (np.arange(2001.0), None),
        ([[0, 1]], None),
        ([0, 1], [0]),
        ([0, 1], [0, np.nan]),
    ],
)
def test_a_route_that_is_none_is_refused(distance, altitude):
    with pytest.raises(ValueError, match=r"route|distances"):
        Route(distance=distance, altitude=altitude)


@pytest.mark.parametrize("metres", [1, 200, 760, 10_000, 26_000, 42_195, 100_000])
def test_segments_are_about_500_m_long_and_never_too_many(metres):
    edges = flat(metres).edges()
    assert (edges[0], edges[-1]) == (0, metres)
    assert 1 <= len(edges) - 1 <= MAX_SEGMENTS
    assert metres < 750 or np.diff(edges).min() >= 375
    assert metres > 15_000 or np.diff(edges).max() < 751


def test_a_passage_covers_the_whole_way_in_steps_of_10_s():
    passage = run(ONE_HILL, np.array([0.0, 2500.0, 6000.0]), np.array([2.0, 3.0]))
    total = 2500 / 2 + 3500 / 3
    assert passage.t == pytest.approx(np.arange(len(passage.t)) * 10.0)
    assert passage.seconds.sum() == pytest.approx(total)
    assert (passage.speed * passage.seconds).sum() == pytest.approx(6000)
    assert (passage.seconds[:-1] == 10).all()
    assert 0 < passage.seconds[-1] <= 10.1
    assert passage.altitude.max() == pytest.approx(150, abs=1.5)


def test_the_speed_of_equal_effort_falls_uphill_and_gains_little_downhill():
    factors = slope_factors(np.array([-0.5, -0.05, 0.0, 0.05, 0.1, 0.5]))
    assert factors[2] == 1
    assert (np.diff(factors[2:]) < 0).all()
    assert factors[4] == pytest.approx(0.6, abs=0.02)  # 5.97 against 3.6 J/kg/m
    assert factors[:2].tolist() == [FASTEST_DOWNHILL] * 2


def test_speeds_to_plan_with_are_those_that_the_person_is_known_to_run():
    assert known_speeds(LEVEL) == (SLOWEST, pytest.approx(3.8))
    assert known_speeds(population_scale(Checkpoint.read(BASE).contract, 9.0))[1] == FASTEST


def test_time_in_zones_by_tenths_of_the_highest_heart_rate():
    rates, seconds = np.array([90.0, 100, 119, 120, 150, 199, 210]), np.array([1.0, 2, 4, 8, 16, 32, 64])
    assert seconds_in_zones(rates, seconds, 200.0) == (6, 8, 16, 0, 96)
    assert len(ZONES) == 5
    assert likely_highest(LEVEL) == 186


def test_tries_say_what_whole_predictions_say_whatever_was_tried_before():
    predictor, response = make_predictor(), make_response(level=3.0, speed_120s=4.0, climb=-1.0, duration=2.0)
    edges = ONE_HILL.edges()
    tries, rng = predictor.tries(LEVEL, response), np.random.default_rng(3)
    speeds = np.full(len(edges) - 1, 2.6)
    for _ in range(25):
        speeds[rng.integers(len(speeds)) :] = rng.uniform(2.0, 3.4)
        passage = run(ONE_HILL, edges, speeds)
        whole = predictor.predict(passage.workout, level=LEVEL, response=response).heart_rate
        until = float(rng.uniform(0, passage.t[-1] + 10))
        before = passage.t < until
        np.testing.assert_allclose(tries.until(passage.workout, until)[before], whole[before], atol=1e-3)
        np.testing.assert_allclose(tries.many([passage.workout] * 2)[1], whole, atol=1e-3)


def test_a_plan_by_tries_is_the_plan_by_whole_predictions():
    predictor = make_predictor()
    predict = partial(predictor.predict, level=LEVEL)
    one = plan_route(predict, ONE_HILL, 140, fastest=4.0)
    other = plan_route(predict, ONE_HILL, 140, fastest=4.0, blind=predictor.tries(LEVEL))
    assert speeds(other) == pytest.approx(speeds(one), abs=0.05)
    assert other.over_cap_seconds == one.over_cap_seconds


def test_the_network_is_asked_for_little_more_than_what_changes(monkeypatch):
    steps, real = [], HeartRateLSTM.go_on
    monkeypatch.setattr(HeartRateLSTM, "go_on", lambda *asked: steps.append(asked[1].shape[1]) or real(*asked))
    tries, route, edges = make_predictor().tries(LEVEL), flat(60_000), np.linspace(0, 60_000, 21)
    planned = np.full(20, 2.5)
    tries.until(run(route, edges, planned).workout, np.inf)
    whole = sum(steps)
    for last in (2.6, 2.7, 2.8):
        steps.clear()
        planned[-1] = last
        tries.until(run(route, edges, planned).workout, np.inf)
        assert sum(steps) < whole / 5
