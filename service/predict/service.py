"""A request in, heart rate with a band out: the subject's best model, at the subject's level."""

import asyncio
import time
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import UUID

import numpy as np
import orjson
from anyio import to_thread

from hrmodel.prediction.predictor import Prediction, Predictor, Query
from hrmodel.signals.grid import STEP_SECONDS
from hrmodel.workouts.workout import Workout
from service.deps import Services
from service.errors import Conflict, FieldError, Unavailable
from service.fields import pointing
from service.predict.batcher import call
from service.predict.lookup import Answering, Wanted
from service.predict.samples import to_workout
from service.predict.schemas import Addressed, PredictRequest
from service.registry import damage

IN_THREAD_SAMPLES = 5000  # of one request; more are checked and prepared beside the event loop
DIGITS = 2  # of an answered heart rate in bpm


async def predict(services: Services, account_id: UUID, body: PredictRequest) -> bytes:
    """The answer as JSON. Raises Unprocessable, NotFound, Conflict or Unavailable."""
    large = len(body.speed) > IN_THREAD_SAMPLES
    workout = await call(to_workout, body, "", large=large)
    return await _answer(services, account_id, body, workout, large=large)


async def predict_batch(services: Services, account_id: UUID, bodies: list[PredictRequest]) -> bytes:
    """All answers as JSON, or the first wrong place. Raises Unprocessable, NotFound, Conflict or Unavailable."""
    places = [f"/requests/{index}" for index in range(len(bodies))]
    large = sum(len(body.speed) for body in bodies) > IN_THREAD_SAMPLES
    workouts = [await call(to_workout, body, at, large=large) for body, at in zip(bodies, places, strict=True)]
    each = zip(bodies, workouts, places, strict=True)
    answers = await asyncio.gather(
        *(_answer(services, account_id, *one, large=large) for one in each), return_exceptions=True
    )
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return b'{"predictions":[' + b",".join(each for each in answers if isinstance(each, bytes)) + b"]}"


async def find(services: Services, account_id: UUID, body: Addressed, at: str = "") -> Answering:
    """Who answers the request at `at`. Raises NotFound, Conflict or Unavailable."""
    field = "subject" if body.model_version_id is None else "model_version_id"
    wanted = Wanted(account_id=account_id, subject=body.subject, version_id=body.model_version_id)
    try:
        with pointing(f"{at}/{field}"):
            return await services.lookup.find(wanted)
    except Conflict as error:
        raise replace(error, errors=[FieldError(f"{at}/model_version_id", "is another subject's")]) from error


async def ready(services: Services, account_id: UUID, body: Addressed, at: str = "") -> tuple[Answering, Predictor]:
    """Who answers, with the predictor: one whose file is lost was replaced. Raises as `find`."""
    found = await find(services, account_id, body, at)
    if (predictor := services.models.ready(found.version.id)) is not None:
        return found, predictor
    try:
        return found, await to_thread.run_sync(services.models.get, found.version)
    except Unavailable:
        if body.model_version_id is not None or not await to_thread.run_sync(
            damage.fall_back, services.database, services.store, found.version
        ):
            raise
    services.lookup.changed(account_id)
    found = await find(services, account_id, body, at)
    return found, await to_thread.run_sync(services.models.get, found.version)


async def _answer(
    services: Services, account_id: UUID, body: PredictRequest, workout: Workout, at: str = "", *, large: bool
) -> bytes:
    started = time.perf_counter()
    found, predictor = await ready(services, account_id, body, at)
    query = Query(workout=workout, correct=body.correct, coverage=body.coverage, **found.known)
    about = {"step_seconds": _step_seconds(body), "model": found.shown}
    answer = await services.batcher.predict(predictor, query, partial(_encode, about), large=large)
    services.metrics.predictions.observe(time.perf_counter() - started)
    return answer


def _step_seconds(body: PredictRequest) -> float | None:
    return None if body.t is not None else body.step_seconds or STEP_SECONDS


def _encode(about: dict[str, Any], prediction: Prediction) -> bytes:
    heart_rate, lower, upper = np.round([prediction.heart_rate, prediction.lower, prediction.upper], DIGITS)
    return to_json(
        {
            "heart_rate": heart_rate,
            "lower": lower,
            "upper": upper,
            "observed_until": prediction.observed_until,
            "protocol": prediction.protocol,
            "level": prediction.level,
            **about,
        }
    )


def to_json(answer: dict[str, Any]) -> bytes:
    """An answer with arrays in it; NaN becomes null."""
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
