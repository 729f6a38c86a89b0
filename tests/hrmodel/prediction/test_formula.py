"""The formula on its own: network outputs and observed heart rate in, heart rate and half width out."""

import numpy as np
import pytest

from hrmodel.personal.bands import DEFAULT_INTERVALS, REGIMES
from hrmodel.prediction.formula import HIGHEST, LOWEST, predict_heart_rate
from hrmodel.prediction.predictor import Query
from hrmodel.prediction.prepared import Outputs, PreparedQuery
from hrmodel.workouts.workout import Workout
from tests.prediction_builders import LEVEL, half_width, make_predictor, make_response

STEPS = 60
RESPONSE = make_response(level=3.0, speed=2.0)
NOTHING = np.full(STEPS, np.nan)


@pytest.fixture(scope="module")
def query():
    workout = Workout(t=np.arange(STEPS) * 10.0, speed=np.full(STEPS, 3.0))
    return make_predictor().prepare(Query(workout=workout, level=LEVEL, response=RESPONSE))


def observed(bpm: float, steps: slice) -> np.ndarray:
    values = NOTHING.copy()
    values[steps] = bpm
    return values


def outputs(query: PreparedQuery, network: np.ndarray) -> Outputs:
    return Outputs(network=network, response=query.response)


def test_blind_is_the_network_in_the_subjects_scale_plus_the_response(query):
    network = np.linspace(-1.0, 1.0, STEPS)
    steps = predict_heart_rate(query, outputs(query, network), NOTHING)
    assert np.array_equal(steps.heart_rate, LEVEL.heart_rate + LEVEL.spread * network + query.response)
    assert np.array_equal(steps.heart_rate, steps.blind)
    assert {REGIMES[regime] for regime in steps.regimes} == {"blind"}
    np.testing.assert_allclose(steps.lead_minutes, np.arange(STEPS) / 6)


def test_a_free_run_answers_instead_of_the_correction(query):
    network, view = np.zeros(STEPS), observed(150.0, slice(0, 6))
    free_run = outputs(query, np.linspace(-1.0, 1.0, STEPS))
    steps = predict_heart_rate(query, outputs(query, network), view, free_run=free_run)
    assert np.array_equal(steps.heart_rate, LEVEL.heart_rate + LEVEL.spread * free_run.network + query.response)
    assert np.array_equal(steps.blind, LEVEL.heart_rate + query.response)


def test_a_step_reads_nothing_that_was_observed_less_than_the_horizon_before_it(query):
    network = np.zeros(STEPS)
    early, late = (predict_heart_rate(query, outputs(query, network), observed(170.0, slice(0, n)), 3) for n in (8, 11))
    assert np.array_equal(early.heart_rate[:11], late.heart_rate[:11])
    assert early.heart_rate[11] != late.heart_rate[11]
    assert late.at(np.array([11])).heart_rate == late.heart_rate[11]


def test_each_step_has_the_half_width_of_its_regime_and_lead_time(query):
    network = np.zeros(STEPS)
    steps = predict_heart_rate(query, outputs(query, network), observed(150.0, slice(0, 12)))
    for step, regime in ((0, "blind"), (1, "nowcast"), (12, "nowcast"), (13, "forecast_180"), (59, "forecast_180")):
        assert steps.half_width[step] == pytest.approx(half_width(DEFAULT_INTERVALS, regime, 0.9)), step


def test_no_heart_rate_is_outside_what_a_heart_can_do(query):
    network = np.linspace(-50.0, 50.0, STEPS)
    steps = predict_heart_rate(query, outputs(query, network), NOTHING)
    assert (steps.heart_rate.min(), steps.heart_rate.max()) == (LOWEST, HIGHEST)
