"""A request in, heart rate with a band out: the subject's best model, at the subject's level."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar, cast
from uuid import UUID

import numpy as np
import orjson
from anyio import to_thread

from hrmodel.prediction.predictor import Prediction, Predictor
from hrmodel.prediction.prepared import PreparedQuery
from hrmodel.signals.grid import SEGMENT_GAP_SECONDS, STEP_SECONDS
from hrmodel.workouts.workout import Workout
from service.errors import Conflict, FieldError, Unavailable
from service.predict.deps import PredictServices
from service.predict.lookup import ServingModel
from service.predict.samples import check_length, check_samples, to_workout
from service.predict.schemas import Addressed, PredictRequest
from service.registry import fallback
from service.web.fields import pointing

IN_THREAD_SAMPLES = 5000  # or steps, of one request; more are checked and prepared beside the event loop
IN_THREAD_SEGMENTS = 100
DIGITS = 2  # of an answered heart rate in bpm

Result = TypeVar("Result")


async def predict(services: PredictServices, account_id: UUID, body: PredictRequest) -> bytes:
    """The answer as JSON. Raises Unprocessable, NotFound, Conflict or Unavailable."""
    started = time.perf_counter()
    account = account_id.int  # hashed in C, unlike a UUID: the queues look it up 20 times
    services.batcher.check_room(account)
    large = len(body.speed) > IN_THREAD_SAMPLES
    workout = await _call(services, account_id, to_workout, body, large=large)
    model, predictor = await find_model(services, account_id, body)
    query = model.query(workout, correct=body.correct, coverage=body.coverage)
    prepared = await _call(services, account_id, predictor.prepare, query, large=large or _is_large(workout))
    answer = await services.batcher.predict(account, predictor, query, prepared, partial(_encode, body, model))
    services.metrics.predictions.observe(time.perf_counter() - started)
    return answer


async def predict_batch(services: PredictServices, account_id: UUID, bodies: list[PredictRequest]) -> bytes:
    """All answers as JSON, or the first wrong place. Raises Unprocessable, NotFound, Conflict or Unavailable."""
    started = time.perf_counter()
    services.batcher.check_room(account_id.int, len(bodies))
    check_samples(bodies)
    workouts = await _call(services, account_id, _to_workouts, bodies, large=True)
    models = await _all(
        find_model(services, account_id, body, f"/requests/{index}") for index, body in enumerate(bodies)
    )
    queries = [
        model.query(workout, correct=body.correct, coverage=body.coverage)
        for body, workout, (model, _) in zip(bodies, workouts, models, strict=True)
    ]

    def prepare() -> list[PreparedQuery]:
        return [predictor.prepare(query) for (_, predictor), query in zip(models, queries, strict=True)]

    prepared = await _call(services, account_id, prepare, large=True)

    async def answer(index: int) -> bytes:
        model, predictor = models[index]
        encode = partial(_encode, bodies[index], model)
        encoded = await services.batcher.predict(account_id.int, predictor, queries[index], prepared[index], encode)
        services.metrics.predictions.observe(time.perf_counter() - started)
        return encoded

    answers = await _all(map(answer, range(len(bodies))))
    return b'{"predictions":[' + b",".join(answers) + b"]}"


async def find_model(
    services: PredictServices, account_id: UUID, body: Addressed, at: str = ""
) -> tuple[ServingModel, Predictor]:
    """The model that answers the request at `at`, and its predictor; where its file is lost, another's.

    Raises NotFound, Conflict or Unavailable.
    """
    model = await _look_up(services, account_id, body, at)
    if (predictor := services.models.ready(model.version.id)) is not None:
        return model, predictor
    try:
        return model, await to_thread.run_sync(services.models.get, model.version)
    except Unavailable:
        if body.model_version_id is not None or not await to_thread.run_sync(
            fallback.replace_lost, services.database, services.store, model.version
        ):
            raise
    services.lookup.changed(account_id)
    model = await _look_up(services, account_id, body, at)
    return model, await to_thread.run_sync(services.models.get, model.version)


async def _look_up(services: PredictServices, account_id: UUID, body: Addressed, at: str) -> ServingModel:
    field = "subject" if body.model_version_id is None else "model_version_id"
    try:
        with pointing(f"{at}/{field}"):
            return await services.lookup.find(account_id, body.subject, body.model_version_id)
    except Conflict as error:
        raise replace(error, errors=[FieldError(f"{at}/model_version_id", "is another subject's")]) from error


async def _call(
    services: PredictServices, account_id: UUID, work: Callable[..., Result], *arguments: Any, large: bool
) -> Result:
    """Call it here if it is small, else in turn in a thread: a thread costs a small request more than its work."""
    if not large:
        return work(*arguments)
    async with services.decoding.of(account_id):
        return await to_thread.run_sync(work, *arguments)


async def _all(awaitables: Iterable[Awaitable[Result]]) -> list[Result]:
    """All results, or the first exception once nothing runs any more."""
    results = await asyncio.gather(*awaitables, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return cast(list[Result], results)


def _is_large(workout: Workout) -> bool:
    """Whether preparing it would hold up the event loop."""
    long = float(workout.t[-1] - workout.t[0]) > IN_THREAD_SAMPLES * STEP_SECONDS
    return long or int(np.count_nonzero(np.diff(workout.t) > SEGMENT_GAP_SECONDS)) > IN_THREAD_SEGMENTS


def _to_workouts(bodies: list[PredictRequest]) -> list[Workout]:
    workouts = [to_workout(body, f"/requests/{index}") for index, body in enumerate(bodies)]
    check_length(workouts)
    return workouts


def _encode(body: PredictRequest, model: ServingModel, prediction: Prediction) -> bytes:
    rows = np.array((prediction.heart_rate, prediction.lower, prediction.upper))
    # float32 holds so many digits exactly enough, and is encoded in two thirds of the time
    heart_rate, lower, upper = rows.round(DIGITS).astype(np.float32)
    return to_json(
        {
            "heart_rate": heart_rate,
            "lower": lower,
            "upper": upper,
            "observed_until": prediction.observed_until,
            "protocol": prediction.protocol,
            "level": prediction.level,
            "step_seconds": None if body.t is not None else body.step_seconds or STEP_SECONDS,
            "model": model.shown,
        }
    )


def to_json(answer: dict[str, Any]) -> bytes:
    """An answer with arrays in it; NaN becomes null."""
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
