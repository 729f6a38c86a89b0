"""Predictions over HTTP."""

from anyio import to_thread
from fastapi import APIRouter
from starlette.responses import Response

from service.deps import ApiRoute, PredictCaller, ServicesDep
from service.openapi import problems
from service.predict import service
from service.predict.schemas import BatchRead, BatchRequest, PredictionRead, PredictRequest

router = APIRouter(prefix="/predict", tags=["predict"], route_class=ApiRoute)


@router.post("", response_model=PredictionRead, responses=problems(404, 409, body=True))
async def predict(body: PredictRequest, caller: PredictCaller, services: ServicesDep) -> Response:
    """Predict heart rate for every sample of a workout.

    Without `heart_rate` the answer is blind. With the first minutes observed it is a forecast of the rest; with all
    but the last sample it is a nowcast. No value ever sees the heart rate at or after its own time.
    """
    answer = await to_thread.run_sync(service.predict, services, caller.account_id, body, limiter=services.compute)
    return Response(answer, media_type="application/json")


@router.post("/batch", response_model=BatchRead, responses=problems(404, 409, body=True))
async def predict_batch(body: BatchRequest, caller: PredictCaller, services: ServicesDep) -> Response:
    """Predict up to 64 workouts at once; one wrong request refuses all, and the answer says which."""
    bodies = body.requests
    answer = await to_thread.run_sync(
        service.predict_batch, services, caller.account_id, bodies, limiter=services.compute
    )
    return Response(answer, media_type="application/json")
