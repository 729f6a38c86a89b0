"""A person's own weights of the network's last layer: followed, served alike by every path, and kept in files."""

import json
from dataclasses import replace

import numpy as np
import pytest

from hrmodel.evaluation.forecasters import NetworkForecaster
from hrmodel.evaluation.population import whiten_people
from hrmodel.network.checkpoint import Checkpoint, InvalidCheckpoint
from hrmodel.network.original_format import from_original_pt, to_original_pt
from hrmodel.network.whitening import Whitening
from hrmodel.offline.paths import shipped_base
from hrmodel.personal.response import NAMES, Response
from hrmodel.personal.state import PersonState, replay
from hrmodel.prediction.predictor import Predictor
from hrmodel.signals.contract import FeatureContract
from hrmodel.signals.grid import GriddedWorkout, to_grid
from hrmodel.signals.scale import fit_scale
from hrmodel.signals.steps import measured_heart_rate
from hrmodel.workouts.simulate import simulate_runner, simulate_workouts
from hrmodel.workouts.workout import Workout
from tests.prediction_builders import LEVEL, make_checkpoint, predict_one, predict_views

RUNS = simulate_runner(workouts=20, seed=7)
UNITS = 64
WEIGHTS = np.concatenate([np.linspace(-2.0, 2.0, len(NAMES)), np.random.default_rng(1).normal(0, 0.3, UNITS)])
RESPONSE = Response(weights=WEIGHTS, variance=20.0)


@pytest.fixture(scope="module")
def base() -> Checkpoint:
    return Checkpoint.read(shipped_base())


def blind_of(forecaster: NetworkForecaster, workout: GriddedWorkout, weights: np.ndarray) -> np.ndarray:
    (terms,) = forecaster.blind_terms([workout])
    return terms.rest + terms.features @ weights


def test_whitened_outputs_are_uncorrelated_with_variance_1():
    rng = np.random.default_rng(0)
    mixed = rng.normal(size=(5000, 4)) @ rng.normal(size=(4, 4)) + 3.0
    whitening = Whitening.fit([mixed[:2000], mixed[2000:]])
    features = whitening.features(mixed)
    np.testing.assert_allclose(features.mean(axis=0), 0.0, atol=1e-9)
    np.testing.assert_allclose(np.cov(features.T, bias=True), np.eye(4), atol=1e-9)
    weights = rng.normal(size=4)
    np.testing.assert_allclose(whitening.reading(weights).of(mixed), features @ weights, atol=1e-9)


def test_an_output_that_never_varies_is_not_blown_up():
    hidden = np.column_stack([np.random.default_rng(0).normal(size=500), np.full(500, 0.5)])
    whitening = Whitening.fit([hidden])
    assert np.abs(whitening.features(hidden + np.array([0.0, 1e-6]))).max() < 10.0
    with pytest.raises(ValueError, match="at least one step"):
        Whitening.fit([])


def test_the_whitening_of_people_is_over_all_their_blind_steps(base):
    people: dict[str, list[GriddedWorkout]] = {}
    for workout in simulate_workouts(people=2, workouts=3, seed=3):
        people.setdefault(str(workout.person), []).append(to_grid(workout))
    heard: list[int] = []
    whitening = whiten_people(Predictor(base), people.values(), lambda: heard.append(1))
    assert (whitening.mean.shape, whitening.matrix.shape, len(heard)) == ((UNITS,), (UNITS, UNITS), 6)


def test_a_person_whose_answer_to_effort_the_base_does_not_have_is_predicted_better(base):
    gridded = [to_grid(workout) for workout in RUNS]
    level = fit_scale(gridded, FeatureContract())
    network = NetworkForecaster(predictor=Predictor(base), level=level)
    rng = np.random.default_rng(2)
    own = np.concatenate([np.zeros(len(NAMES)), rng.normal(0, 0.7, UNITS)])
    unlike = []
    for workout in gridded:
        (segment,) = workout.segments
        heart_rate = blind_of(network, workout, own) + rng.normal(0, 3) + rng.normal(0, 2, segment.steps)
        unlike.append(replace(workout, segments=(replace(segment, heart_rate=heart_rate),)))
    errors = []
    for checkpoint in (replace(base, last_layer=None), base):
        follower = NetworkForecaster(predictor=Predictor(checkpoint), level=level)
        missed = [
            np.abs(measured_heart_rate(workout) - blind_of(follower, workout, state.before(workout.started_at).mean))
            for state, workout in zip(replay(follower, unlike), unlike, strict=False)
        ]
        errors.append(np.mean([each.mean() for each in missed[10:]]))
    assert errors[1] < 0.85 * errors[0]


def test_requests_steps_plans_and_the_followed_person_have_the_same_blind_prediction(base):
    predictor = Predictor(base)
    t = np.arange(200) * 10.0
    run = Workout(t=t, speed=2.8 + 0.5 * np.sin(t / 200.0), altitude=20 * np.sin(t / 300.0))
    gridded = to_grid(run)
    network = NetworkForecaster(predictor=predictor, level=LEVEL)
    expected = blind_of(network, gridded, WEIGHTS)
    without = blind_of(network, gridded, np.concatenate([WEIGHTS[: len(NAMES)], np.zeros(UNITS)]))
    assert np.abs(expected - without).max() > 2.0
    (steps,) = predict_views(predictor, gridded, [np.full(200, np.nan)], level=LEVEL, response=RESPONSE)
    tries = predictor.tries(LEVEL, RESPONSE)
    for heart_rate in (
        predict_one(predictor, run, level=LEVEL, response=RESPONSE).heart_rate,
        steps.heart_rate,
        tries.many([run])[0],
        tries.until(run, 2000.0),
    ):
        np.testing.assert_allclose(heart_rate, expected, atol=0.02)


def test_a_response_without_these_weights_and_a_file_without_the_whitening_go_together_with_all(base):
    run = RUNS[0]
    plain = Response(weights=WEIGHTS[: len(NAMES)], variance=20.0)
    one = predict_one(Predictor(base), run, level=LEVEL, response=plain)
    other = predict_one(Predictor(replace(base, last_layer=None)), run, level=LEVEL, response=plain)
    assert np.array_equal(one.heart_rate, other.heart_rate)
    assert NetworkForecaster(predictor=Predictor(replace(base, last_layer=None)), level=LEVEL).size == len(NAMES)


def test_a_followed_state_takes_little_room_and_comes_back_exactly(base):
    network = NetworkForecaster(predictor=Predictor(base), level=LEVEL)
    state = PersonState.start(network.size).advance(network, [to_grid(run) for run in RUNS[:3]])[-1]
    text = json.dumps(state.to_dict())
    assert len(text) < 50_000
    back = PersonState.from_dict(json.loads(text))
    assert np.array_equal(back.filter.mean, state.filter.mean)
    assert np.array_equal(back.filter.covariance, state.filter.covariance)
    assert Response.from_dict(RESPONSE.to_dict()).weights.tolist() == WEIGHTS.tolist()
    assert len(state.filter.mean) == len(NAMES) + UNITS


def test_both_kinds_of_file_keep_the_whitening(base, tmp_path):
    base.write(tmp_path / "model.safetensors")
    to_original_pt(base, tmp_path / "model.pt")
    for back in (Checkpoint.read(tmp_path / "model.safetensors"), from_original_pt(tmp_path / "model.pt")):
        assert np.array_equal(back.last_layer.mean, base.last_layer.mean)
        assert np.array_equal(back.last_layer.matrix, base.last_layer.matrix)


def test_a_whitening_of_another_size_is_an_invalid_checkpoint():
    wrong = replace(make_checkpoint(hidden=8), last_layer=Whitening(mean=np.zeros(4), matrix=np.eye(4)))
    with pytest.raises(InvalidCheckpoint, match="whitening of 4 units does not fit a network of 8"):
        Checkpoint.from_bytes(wrong.to_bytes())
