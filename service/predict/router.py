"""Predictions over HTTP."""

from collections.abc import Callable
from functools import partial
from typing import Any

from anyio import to_thread
from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from service.predict import planning, service
from service.predict.deps import PredictServicesDep
from service.predict.plan_schemas import PlanRead, PlanRequest
from service.predict.schemas import (
    BatchRead,
    BatchRequest,
    PredictionRead,
    PredictRequest,
    decode_batch,
    decode_request,
)
from service.web.body import IN_THREAD_BYTES
from service.web.deps import ApiRoute, PredictCaller
from service.web.openapi import problems
from service.web.shortcut import QuickRoute


class PredictRoute(ApiRoute):
    """A route that changes nothing."""

    changes = False


router = APIRouter(prefix="/predict", tags=["predict"], route_class=PredictRoute)


@router.post("", response_model=PredictionRead, responses=problems(404, 409, body=True))
async def predict(body: PredictRequest, caller: PredictCaller, services: PredictServicesDep) -> Response:
    """Predict heart rate for every sample of a workout.

    Without `heart_rate` the answer is blind: send a planned route and pace (`speed`, `altitude`) to see what if. With
    the first minutes observed it is a forecast of the rest; with all but the last sample it is a nowcast. No value
    ever sees the heart rate at or after its own time.
    """
    answer = await service.predict(services, caller.account_id, body)
    return Response(answer, media_type="application/json")


@router.post("/batch", response_model=BatchRead, responses=problems(404, 409, body=True))
async def predict_batch(body: BatchRequest, caller: PredictCaller, services: PredictServicesDep) -> Response:
    """Predict up to 64 workouts at once; one wrong request refuses all, and the answer says which.

    All of them together may hold 100,000 samples and last 100 h.
    """
    bodies = body.requests
    services.limits.count_more(caller.account_id, len(bodies) - 1)
    answer = await service.predict_batch(services, caller.account_id, bodies)
    return Response(answer, media_type="application/json")


@router.post("/plan", response_model=PlanRead, responses=problems(404, 409, body=True))
async def plan_pace(body: PlanRequest, caller: PredictCaller, services: PredictServicesDep) -> Response:
    """Plan the fastest pace for a route whose predicted heart rate stays under a cap.

    One speed per segment of about 500 m (longer beyond 15 km): slower uphill, at the even effort for the first 5
    minutes, then at most 15 % above it; beyond 45 km at the even effort all the way. A route may have 100 km and take
    16 h. Where even the slowest speed is over the cap, the plan keeps that speed and
    says so. `t`, `speed` and `altitude` can go to `POST /predict` as they are, later with the heart rate observed so
    far. Without a subject the plan is for a runner of average speed and heart rate.
    """
    answer = await planning.plan(services, caller.account_id, body)
    return Response(answer, media_type="application/json")


async def _answer(endpoint: Any, decode: Callable[[bytes], Any], request: Request, body: bytes) -> Response | None:
    """The endpoint's answer to a body that needs no second look, decoded into arrays at once."""
    caller, services = request.state.caller, request.app.state.services
    if len(body) < IN_THREAD_BYTES:
        decoded = decode(body)
    else:
        async with services.decoding.of(caller.account_id):
            decoded = await to_thread.run_sync(decode, body)
    if decoded is None:
        return None
    response: Response = await endpoint(decoded, caller, services)
    return response


_DECODERS = {predict: decode_request, predict_batch: decode_batch}
QUICK_ROUTES = {
    route.path: QuickRoute(
        route=route, scope="predict", answer=partial(_answer, route.endpoint, _DECODERS[route.endpoint])
    )
    for route in router.routes
    if isinstance(route, APIRoute) and route.endpoint in _DECODERS
}
