"""The promise: no output at or before t moves when any heart rate at or after t changes, its value or its presence."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrmodel.network.whitening import Whitening
from hrmodel.personal.response import NAMES, Response
from hrmodel.prediction.predictor import Predictor
from hrmodel.workouts.workout import Workout
from tests.prediction_builders import LEVEL, make_predictor, predict_one

# every weight counts: a response that read heart rate anywhere would show
RESPONSE = Response(weights=np.linspace(-6.0, 7.0, len(NAMES) + 8), variance=30.0)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    """Its network has 8 units, which the response reads, too."""
    return make_predictor(last_layer=Whitening(mean=np.linspace(-0.5, 0.5, 8), matrix=np.eye(8)))


def workout(rng: np.random.Generator, spacing: float, samples: int, known: np.ndarray) -> Workout:
    t = np.arange(samples) * spacing
    t[samples // 2 :] += rng.choice([0.0, 0.0, 95.0])  # sometimes two segments
    speed = 2.8 + np.cumsum(rng.normal(0, 0.05, samples))
    speed[rng.random(samples) < 0.02] = np.nan
    heart_rate = np.where(known, 140 + rng.normal(0, 15, samples), np.nan)
    return Workout(t=t, speed=speed, altitude=np.cumsum(rng.normal(0, 0.3, samples)), heart_rate=heart_rate)


def drawn_known(draw_protocol: str, prefix: int, rng: np.random.Generator, samples: int) -> np.ndarray:
    known = {
        "blind": np.zeros(samples, dtype=bool),
        "forecast": np.arange(samples) < prefix,
        "nowcast": np.ones(samples, dtype=bool),
        "sparse": rng.random(samples) < 0.3,
    }
    return known[draw_protocol]


def mutated(original: Workout, first: int, kind: str, rng: np.random.Generator) -> Workout:
    heart_rate = original.heart_rate.copy()
    new = 140 + rng.normal(0, 40, len(heart_rate) - first)
    later = heart_rate[first:]
    heart_rate[first:] = {
        "values": np.where(np.isfinite(later), new, np.nan),
        "gone": np.full(len(later), np.nan),
        "everywhere": new,
        "sparse": np.where(rng.random(len(later)) < 0.5, new, np.nan),
        "one": np.where(np.arange(len(later)) == len(later) - 1, new, later),
    }[kind]
    return replace(original, heart_rate=heart_rate)


@pytest.mark.parametrize(
    ("level", "response"),
    [(LEVEL, None), (LEVEL, RESPONSE), (None, None), (None, RESPONSE)],
    ids=["subject", "followed", "population", "followed_population"],
)
@pytest.mark.parametrize("spacing", [10.0, 1.0, 3.7])
@settings(max_examples=60, deadline=None)
@given(
    protocol=st.sampled_from(["blind", "forecast", "nowcast", "sparse"]),
    kind=st.sampled_from(["values", "gone", "everywhere", "sparse", "one"]),
    where=st.floats(0, 1, exclude_max=True),
    prefix=st.integers(1, 200),
    correct=st.booleans(),
    seed=st.integers(0, 10_000),
)
def test_no_output_at_or_before_t_moves_with_heart_rate_at_or_after_t(
    predictor, level, response, spacing, protocol, kind, where, prefix, correct, seed
):
    rng = np.random.default_rng(seed)
    samples = int(900 / spacing)
    original = workout(rng, spacing, samples, drawn_known(protocol, prefix, rng, samples))
    first = int(where * samples)
    changed = mutated(original, first, kind, rng)
    one = predict_one(predictor, original, level=level, response=response, correct=correct)
    other = predict_one(predictor, changed, level=level, response=response, correct=correct)
    for name in ("heart_rate", "lower", "upper"):
        assert np.array_equal(getattr(one, name)[: first + 1], getattr(other, name)[: first + 1]), name


@pytest.mark.parametrize("response", [None, RESPONSE])
def test_the_leak_test_can_fail_because_earlier_heart_rate_does_move_the_outputs(predictor, response):
    rng = np.random.default_rng(0)
    original = workout(rng, 10.0, 90, np.ones(90, dtype=bool))
    changed = mutated(original, 40, "values", rng)
    one, other = (predict_one(predictor, each, level=LEVEL, response=response) for each in (original, changed))
    assert (one.heart_rate[41:] != other.heart_rate[41:]).mean() > 0.9


def test_the_leak_test_can_fail_because_the_response_moves_every_output(predictor):
    original = workout(np.random.default_rng(0), 10.0, 90, np.zeros(90, dtype=bool))
    without, having = (predict_one(predictor, original, level=LEVEL, response=given) for given in (None, RESPONSE))
    assert (without.heart_rate != having.heart_rate).all()
