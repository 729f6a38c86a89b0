"""A tiny predictor and short workouts for the tests of prediction and evaluation."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from hrmodel.evaluation.calibration import person_states
from hrmodel.evaluation.forecasters import EvaluationData, Forecaster, NetworkForecaster, Question
from hrmodel.evaluation.protocols import Task
from hrmodel.evaluation.report import Report, evaluate
from hrmodel.network.architectures import build_network
from hrmodel.network.checkpoint import Checkpoint
from hrmodel.network.config import NetworkConfig
from hrmodel.personal.bands import REGIMES, Intervals, half_widths
from hrmodel.personal.kalman import ResponseFilter
from hrmodel.personal.response import NAMES, Response
from hrmodel.personal.state import PersonState
from hrmodel.prediction.formula import StepPrediction
from hrmodel.prediction.predictor import Prediction, Predictor, Query
from hrmodel.prediction.prepared import ObservedView, StepQuery
from hrmodel.signals.contract import FeatureContract
from hrmodel.signals.grid import GriddedWorkout, Segment
from hrmodel.signals.scale import SubjectScale
from hrmodel.signals.steps import measured_heart_rate
from hrmodel.workouts.workout import Array, Workout

LEVEL = SubjectScale(heart_rate=150.0, spread=12.0, speed=2.8, speed_spread=0.5, workouts=20)


def make_checkpoint(*, seed: int = 0, gain: float = 4.0, hidden: int = 8, **overrides: Any) -> Checkpoint:
    """Random weights; `gain` makes history and the output count, so that leaks and errors show."""
    torch.manual_seed(seed)
    network = build_network(NetworkConfig(hidden_size=hidden))
    with torch.no_grad():
        network.lstm.weight_ih_l0[:, 2] *= gain
        network.fc.weight *= gain
    fields: dict[str, Any] = {
        "network": network.config,
        "contract": FeatureContract(),
        "weights": network.state_dict(),
        "stage": "base",
        "configuration": {},
        "history": [],
    }
    return Checkpoint(**fields | overrides)


def make_predictor(**overrides: Any) -> Predictor:
    """`make_checkpoint`, ready to predict."""
    return Predictor(make_checkpoint(**overrides))


def report_of(predictor: Predictor, data: EvaluationData) -> Report:
    """The report of a model, with the person's workouts replayed for it."""
    network = NetworkForecaster(predictor=predictor, level=data.level)
    return evaluate(network, data, person_states(network, data))


def predict_one(predictor: Predictor, workout: Workout, **terms: Any) -> Prediction:
    """The prediction of one workout; `terms` are the other fields of `Query`."""
    (prediction,) = predictor.predict([Query(workout=workout, **terms)])
    return prediction


def predict_views(
    predictor: Predictor, workout: GriddedWorkout, views: Sequence[Array], **known: Any
) -> list[StepPrediction]:
    """One workout's steps, once per view; `known` are the level and the response."""
    query = StepQuery(gridded=workout, views=[ObservedView(heart_rate=view) for view in views], **known)
    (predictions,) = predictor.predict_steps([query])
    return predictions


def answer_views(
    forecaster: Forecaster, workout: GriddedWorkout, views: Sequence[Array], state: PersonState
) -> list[Array]:
    """A forecaster's heart rate of one workout's steps, once per view."""
    measured = np.isfinite(measured_heart_rate(workout))
    tasks = [Task(view=view, scored=measured) for view in views]
    (answers,) = forecaster.answers([Question.of(workout, state, tasks)])
    return [answer.heart_rate for answer in answers]


def half_width(intervals: Intervals, regime: str, coverage: float, lead_minutes: float = 0.0) -> float:
    """Half width in bpm of one step's band."""
    (width,) = half_widths(intervals, np.array([REGIMES.index(regime)]), coverage, np.array([lead_minutes]))
    return float(width)


def make_gridded(heart_rate: Sequence[float], *, digest: str = "", speed: float = 2.8) -> GriddedWorkout:
    """One segment with this heart rate per step, at one speed on the flat."""
    values = np.asarray(heart_rate, dtype=np.float64)
    steps = len(values)
    segment = Segment(first_step=0, speed=np.full(steps, speed), altitude=np.zeros(steps), heart_rate=values)
    return GriddedWorkout(segments=(segment,), bin_of_sample=np.arange(steps), digest=digest)


def make_response(*, variance: float = 20.0, **weights: float) -> Response:
    """A response with these weights in bpm by name, all others 0."""
    return Response(weights=np.array([weights.get(name, 0.0) for name in NAMES]), variance=variance)


def make_state(**weights: float) -> PersonState:
    """The state of a person whose response is `make_response(**weights)`."""
    response = make_response(**weights)
    covariance = np.diag([response.variance, *[4.0] * (len(NAMES) - 1)])
    return PersonState(filter=ResponseFilter(mean=response.weights, covariance=covariance))
