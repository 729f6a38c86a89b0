"""A route in, a pace plan under a heart-rate cap out."""

from dataclasses import replace
from typing import Any
from uuid import UUID

import numpy as np
import torch
from anyio import to_thread

from hrmodel.personal.zones import ZONES, likely_highest, seconds_in_zones
from hrmodel.planning.plan import Plan, PlannedSegment, PlanTooLong, known_speeds, plan_route
from hrmodel.planning.route import MAX_METRES, Route
from hrmodel.prediction.predictor import Prediction, Predictor
from hrmodel.signals.scale import SubjectScale, population_scale
from hrmodel.workouts.running import TYPICAL_SPEED
from hrmodel.workouts.units import METRES_PER_FOOT
from hrmodel.workouts.workout import Array, Workout
from service.predict.deps import PredictServices
from service.predict.lookup import ServingModel
from service.predict.plan_schemas import DistanceUnit, PlanRequest
from service.predict.samples import ALTITUDES, refuse, wrong
from service.predict.service import DIGITS, find_model, to_json

MIN_METRES = 200.0
METRES: dict[DistanceUnit, float] = {"m": 1.0, "km": 1000.0, "mi": 1609.344}


async def plan(services: PredictServices, account_id: UUID, body: PlanRequest) -> bytes:
    """The plan as JSON. Raises Unprocessable, NotFound, Conflict or Unavailable."""
    route = await to_thread.run_sync(to_route, body)
    model, predictor = await find_model(services, account_id, body)
    async with services.compute.of(account_id):
        return await to_thread.run_sync(_plan, body, route, model, predictor)


def _plan(body: PlanRequest, route: Route, model: ServingModel, predictor: Predictor) -> bytes:
    torch.set_num_threads(1)  # plans run side by side; the setting belongs to the thread, and this one is from a pool
    person = model.level or predictor.checkpoint.level
    level = person or _usual_runner(predictor)
    slowest, fastest = known_speeds(level)

    def predict(workout: Workout) -> Prediction:
        (prediction,) = predictor.predict([replace(model.query(workout, coverage=body.coverage), level=level)])
        return prediction

    try:
        blind = predictor.tries(level, model.response)
        made = plan_route(predict, route, body.heart_rate_cap, slowest=slowest, fastest=fastest, blind=blind)
    except PlanTooLong as error:
        raise wrong("/heart_rate_cap", f"is too low for this route: {error}") from error
    answer = {
        **_show(made),
        **_zones(made, body.max_heart_rate or likely_highest(level)),
        "fastest": round(fastest, 3),
        "level": "subject" if person else "population",
        "model": model.shown,
    }
    return to_json(answer)


def to_route(body: PlanRequest) -> Route:
    """What the request says, in metres. Raises Unprocessable at the first wrong value."""
    distance = body.distance * METRES[body.units.distance]
    refuse(~np.isfinite(distance), "/distance", "must be a number; every point needs its distance")
    if distance[0] != 0:
        raise wrong("/distance/0", "must be 0; distances count from the start")
    refuse(np.diff(distance, prepend=-1.0) <= 0, "/distance", "must be farther than the point before it")
    _check_length(float(distance[-1]), body.units.distance)
    return Route(distance=distance, altitude=None if body.altitude is None else _altitude(body.altitude, body))


def _altitude(row: Array, body: PlanRequest) -> Array:
    if len(row) != len(body.distance):
        raise wrong("/altitude", f"has {len(row)} points, but distance has {len(body.distance)}")
    altitude = row * (METRES_PER_FOOT if body.units.altitude == "ft" else 1.0)
    refuse(~np.isfinite(altitude), "/altitude", "must be a number; leave the row out where it is not known")
    low, high = ALTITUDES
    outside = (altitude < low) | (altitude > high)
    refuse(outside, "/altitude", f"must be within {low:g}..{high:g} m when read as {body.units.altitude}")
    return altitude


def _check_length(metres: float, unit: DistanceUnit) -> None:
    if MIN_METRES <= metres <= MAX_METRES:
        return
    written = metres / METRES[unit]
    likely = [other for other, length in METRES.items() if MIN_METRES <= written * length <= MAX_METRES]
    advice = f"; it looks like {' or '.join(likely)}" if likely else ""
    message = f"makes a route of {metres:.4g} m when read as {unit}, but a plan takes 200 m to 100 km{advice}"
    raise wrong("/distance", message)


def _usual_runner(predictor: Predictor) -> SubjectScale:
    """The level of an unknown runner in a plan. Their usual speed cannot be that of the request, as it is for
    /predict: every pace would then be usual, and none too fast.
    """  # fmt: skip
    return population_scale(predictor.checkpoint.contract, TYPICAL_SPEED)


def _show(plan: Plan) -> dict[str, Any]:
    steps, prediction = plan.passage, plan.prediction
    return {
        "feasible": plan.over_cap_seconds == 0,
        "seconds": round(plan.seconds, 1),
        "over_cap_seconds": round(plan.over_cap_seconds, 1),
        "segments": [_segment(segment) for segment in plan.segments],
        "t": np.round(steps.t, DIGITS),
        "distance": np.round(steps.distance, DIGITS),
        "speed": np.round(steps.speed, 3),
        "altitude": None if steps.altitude is None else np.round(steps.altitude, DIGITS),
        "heart_rate": np.round(prediction.heart_rate, DIGITS),
        "lower": np.round(prediction.lower, DIGITS),
        "upper": np.round(prediction.upper, DIGITS),
    }


def _segment(segment: PlannedSegment) -> dict[str, Any]:
    return {
        "begins": round(segment.begins, 1),
        "ends": round(segment.ends, 1),
        "climb": round(segment.climb, 1),
        "speed": round(segment.speed, 3),
        "seconds_per_km": round(1000.0 / segment.speed, 1),
        "seconds": round(segment.seconds, 1),
        "heart_rate": round(segment.heart_rate, 2),
        "highest_heart_rate": round(segment.highest, 2),
        "over_cap": segment.over_cap,
    }


def _zones(plan: Plan, highest: float) -> dict[str, Any]:
    seconds = seconds_in_zones(plan.prediction.heart_rate, plan.passage.seconds, highest)
    zones = [
        {
            "zone": number,
            "from_bpm": round(low * highest, 1),
            "to_bpm": round(high * highest, 1) if np.isfinite(high) else None,
            "seconds": round(spent, 1),
        }
        for number, ((low, high), spent) in enumerate(zip(ZONES, seconds, strict=True), 1)
    ]
    return {"zones": zones, "max_heart_rate": round(highest, 1)}
