"""A request in, heart rate with a band out: the subject's best model, at the subject's level."""

import time
from dataclasses import replace
from typing import Any, TypedDict
from uuid import UUID

import msgspec
import numpy as np
import torch
from sqlalchemy.orm import Session

from hrmodel.prediction.intervals import Intervals
from hrmodel.prediction.predictor import Prediction, Predictor
from hrmodel.signals.grid import STEP_SECONDS
from hrmodel.signals.level import Level
from hrmodel.signals.response import Response
from hrmodel.workouts.workout import Array, Workout
from service.deps import Services
from service.errors import Conflict, FieldError, Unavailable
from service.fields import pointing
from service.predict.samples import to_workout
from service.predict.schemas import Addressed, PredictRequest
from service.registry import damage, serving
from service.registry.serving import Serving


class Known(TypedDict):
    """What `Predictor.predict` takes about a person."""

    level: Level | None
    response: Response | None
    intervals: Intervals | None


def predict(services: Services, account_id: UUID, body: PredictRequest) -> bytes:
    """The answer as JSON. Raises Unprocessable, NotFound, Conflict or Unavailable."""
    workout = to_workout(body)
    with services.database.reading() as session:
        found = find(session, account_id, body)
    return msgspec.json.encode(_answer(services, account_id, body, workout, found))


def predict_batch(services: Services, account_id: UUID, bodies: list[PredictRequest]) -> bytes:
    """All answers as JSON, or the first wrong place. Raises Unprocessable, NotFound, Conflict or Unavailable."""
    workouts = [to_workout(body, f"/requests/{index}") for index, body in enumerate(bodies)]
    with services.database.reading() as session:
        found = [find(session, account_id, body, f"/requests/{index}") for index, body in enumerate(bodies)]
    answers = [_answer(services, account_id, *each) for each in zip(bodies, workouts, found, strict=True)]
    return msgspec.json.encode({"predictions": answers})


def find(session: Session, account_id: UUID, body: Addressed, at: str = "") -> Serving:
    """Who answers the request at `at`. Raises NotFound, Conflict or Unavailable."""
    field = "subject" if body.model_version_id is None else "model_version_id"
    try:
        with pointing(f"{at}/{field}"):
            return serving.find(session, account_id, body.subject, body.model_version_id)
    except Conflict as error:
        raise replace(error, errors=[FieldError(f"{at}/model_version_id", "is another subject's")]) from error


def ready(services: Services, account_id: UUID, body: Addressed, found: Serving) -> tuple[Serving, Predictor]:
    """Who answers, with the predictor, on one thread: one whose file is lost was replaced. Raises Unavailable."""
    # Requests run side by side: threads inside one would fight over the same cores (45 ms instead of 11). The setting
    # belongs to the calling thread, and this one comes from a pool.
    torch.set_num_threads(1)
    try:
        return found, services.models.get(found.version)
    except Unavailable:
        if body.model_version_id is not None or not damage.fall_back(services.database, services.store, found.version):
            raise
    with services.database.reading() as session:
        found = find(session, account_id, body)
    return found, services.models.get(found.version)


def answered_by(found: Serving) -> dict[str, str | None]:
    """The version that answered, as `AnsweredBy`."""
    version, person = found.version, found.subject
    return {
        "version_id": str(version.id),
        "stage": version.stage.value,
        "subject": person.name if person and version.subject_id else None,
    }


def _answer(
    services: Services, account_id: UUID, body: PredictRequest, workout: Workout, found: Serving
) -> dict[str, Any]:
    started = time.perf_counter()
    found, predictor = ready(services, account_id, body, found)
    prediction = predictor.predict(workout, correct=body.correct, coverage=body.coverage, **known_of(found))
    services.metrics.predictions.observe(time.perf_counter() - started)
    return {**_series(prediction), "step_seconds": _step_seconds(body), "model": answered_by(found)}


def known_of(found: Serving) -> Known:
    """The person's level, response and bands, as far as they were followed."""
    tracked = found.tracked
    return {
        "level": _level(found),
        "response": Response.from_dict(tracked.response) if tracked else None,
        "intervals": tracked.intervals if tracked else None,
    }


def _level(found: Serving) -> Level | None:
    """A personal version brings its own level; a base takes the known subject's; else None: the population's."""
    if found.version.subject_id is not None or found.subject is None or found.subject.level is None:
        return None
    return Level.from_dict(found.subject.level)


def _step_seconds(body: PredictRequest) -> float | None:
    return None if body.t is not None else body.step_seconds or STEP_SECONDS


def _series(prediction: Prediction) -> dict[str, Any]:
    return {
        "heart_rate": rounded(prediction.heart_rate),
        "lower": rounded(prediction.lower),
        "upper": rounded(prediction.upper),
        "observed_until": prediction.observed_until,
        "protocol": prediction.protocol,
        "level": prediction.level,
    }


def rounded(values: Array, digits: int = 2) -> list[float]:
    """A row for JSON."""
    row: list[float] = np.round(values, digits).tolist()
    return row
