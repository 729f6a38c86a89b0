"""A request in, heart rate with a band out: the subject's best model, at the subject's level."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar, cast
from uuid import UUID

import numpy as np
import orjson
from anyio import to_thread

from hrmodel.prediction.predictor import Prediction, Predictor, Prepared, Query
from hrmodel.signals.grid import SEGMENT_GAP_SECONDS, STEP_SECONDS
from hrmodel.workouts.workout import Workout
from service.errors import Conflict, FieldError, Unavailable
from service.predict.deps import PredictServices
from service.predict.lookup import Answering, Wanted
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
    services.batcher.check_room(account_id)
    large = len(body.speed) > IN_THREAD_SAMPLES
    workout = await _call(services, account_id, to_workout, body, large=large)
    found, predictor = await ready(services, account_id, body)
    large = large or _is_large(workout)
    prepared = await _call(services, account_id, predictor.prepare, _query(body, workout, found), large=large)
    return await _answer(services, account_id, body, found, predictor, prepared, started)


async def predict_batch(services: PredictServices, account_id: UUID, bodies: list[PredictRequest]) -> bytes:
    """All answers as JSON, or the first wrong place. Raises Unprocessable, NotFound, Conflict or Unavailable."""
    started = time.perf_counter()
    services.batcher.check_room(account_id, len(bodies))
    check_samples(bodies)
    workouts = await _call(services, account_id, _to_workouts, bodies, large=True)
    each = enumerate(bodies)
    answering = await _all(ready(services, account_id, body, f"/requests/{index}") for index, body in each)
    asked = [
        (predictor, _query(body, workout, found))
        for body, workout, (found, predictor) in zip(bodies, workouts, answering, strict=True)
    ]
    prepared = await _call(services, account_id, _prepare, asked, large=True)
    answers = await _all(
        _answer(services, account_id, body, *who, what, started)
        for body, who, what in zip(bodies, answering, prepared, strict=True)
    )
    return b'{"predictions":[' + b",".join(answers) + b"]}"


async def find(services: PredictServices, account_id: UUID, body: Addressed, at: str = "") -> Answering:
    """Who answers the request at `at`. Raises NotFound, Conflict or Unavailable."""
    field = "subject" if body.model_version_id is None else "model_version_id"
    wanted = Wanted(account_id=account_id, subject=body.subject, version_id=body.model_version_id)
    try:
        with pointing(f"{at}/{field}"):
            return await services.lookup.find(wanted)
    except Conflict as error:
        raise replace(error, errors=[FieldError(f"{at}/model_version_id", "is another subject's")]) from error


async def ready(
    services: PredictServices, account_id: UUID, body: Addressed, at: str = ""
) -> tuple[Answering, Predictor]:
    """Who answers, with the predictor: one whose file is lost was replaced. Raises as `find`."""
    found = await find(services, account_id, body, at)
    if (predictor := services.models.ready(found.version.id)) is not None:
        return found, predictor
    try:
        return found, await to_thread.run_sync(services.models.get, found.version)
    except Unavailable:
        if body.model_version_id is not None or not await to_thread.run_sync(
            fallback.replace_lost, services.database, services.store, found.version
        ):
            raise
    services.lookup.changed(account_id)
    found = await find(services, account_id, body, at)
    return found, await to_thread.run_sync(services.models.get, found.version)


async def _call(
    services: PredictServices, account_id: UUID, work: Callable[..., Result], *arguments: Any, large: bool
) -> Result:
    """Call it here, or in turn beside the event loop: a thread costs a small request more than its work."""
    if not large:
        return work(*arguments)
    async with services.decoding.of(account_id):
        return await to_thread.run_sync(work, *arguments)


async def _all(each: Iterable[Awaitable[Result]]) -> list[Result]:
    """All results, or the first exception once nothing runs any more."""
    results = await asyncio.gather(*each, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return cast(list[Result], results)


def _is_large(workout: Workout) -> bool:
    """Whether the event loop must not wait for its inputs."""
    gaps = np.diff(workout.t)
    long = float(gaps.sum()) > IN_THREAD_SAMPLES * STEP_SECONDS
    return long or int(np.count_nonzero(gaps > SEGMENT_GAP_SECONDS)) > IN_THREAD_SEGMENTS


def _to_workouts(bodies: list[PredictRequest]) -> list[Workout]:
    workouts = [to_workout(body, f"/requests/{index}") for index, body in enumerate(bodies)]
    check_length(workouts)
    return workouts


def _prepare(asked: Sequence[tuple[Predictor, Query]]) -> list[Prepared]:
    return [predictor.prepare(query) for predictor, query in asked]


def _query(body: PredictRequest, workout: Workout, found: Answering) -> Query:
    return Query(workout=workout, correct=body.correct, coverage=body.coverage, **found.known)


async def _answer(
    services: PredictServices,
    account_id: UUID,
    body: PredictRequest,
    found: Answering,
    predictor: Predictor,
    prepared: Prepared,
    started: float,
) -> bytes:
    about = {"step_seconds": _step_seconds(body), "model": found.shown}
    answer = await services.batcher.predict(account_id, predictor, prepared, partial(_encode, about))
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
