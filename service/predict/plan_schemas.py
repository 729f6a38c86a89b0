"""What POST /predict/plan takes and gives."""

from functools import partial
from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, StrictFloat, WithJsonSchema

from hrmodel.planning.plan import CAPS
from hrmodel.planning.route import MAX_POINTS
from hrmodel.workouts.units import AltitudeUnit
from service.predict.schemas import MODEL_EXAMPLE, Addressed, AnsweredBy, Coverage, decode_row
from service.web.fields import Read, Write, example

DistanceUnit = Literal["m", "km", "mi"]
_ROW_SCHEMA = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": MAX_POINTS}
RouteRow = Annotated[Any, PlainValidator(partial(decode_row, least=2, most=MAX_POINTS)), WithJsonSchema(_ROW_SCHEMA)]
_REQUEST = {
    "subject": "me",
    "distance": [0, 0.4, 0.8, 1.2],
    "altitude": [210, 214, 236, 225],
    "heart_rate_cap": 150,
    "units": {"distance": "km", "altitude": "m"},
}
_SEGMENT = {
    "begins": 0.0,
    "ends": 600.0,
    "climb": 15.0,
    "speed": 2.586,
    "seconds_per_km": 386.7,
    "seconds": 232.0,
    "heart_rate": 137.2,
    "highest_heart_rate": 149.6,
    "over_cap": False,
}
_PLAN = {
    "feasible": True,
    "seconds": 455.1,
    "over_cap_seconds": 0.0,
    "segments": [
        _SEGMENT,
        {**_SEGMENT, "begins": 600.0, "ends": 1200.0, "climb": 0.0, "speed": 2.689, "seconds_per_km": 371.9},
    ],
    "t": [0.0, 10.0],
    "distance": [0.0, 25.9],
    "speed": [2.586, 2.586],
    "altitude": [210.13, 210.39],
    "heart_rate": [104.2, 111.9],
    "lower": [92.0, 99.7],
    "upper": [116.4, 124.1],
    "zones": [
        {
            "zone": zone,
            "from_bpm": 19.0 * (zone + 4),
            "to_bpm": 19.0 * (zone + 5) if zone < 5 else None,
            "seconds": 91.0,
        }
        for zone in range(1, 6)
    ],
    "max_heart_rate": 190.0,
    "fastest": 3.51,
    "level": "subject",
    "model": MODEL_EXAMPLE,
}


class RouteUnits(Write):
    """The units of the request. The answer is in m, m/s and s."""

    distance: DistanceUnit = "m"
    altitude: AltitudeUnit = "m"


class PlanRequest(Addressed):
    """A route of 200 m to 100 km as points, and the heart rate to stay under; it may take 16 h."""

    model_config = example(_REQUEST, extra="forbid", protected_namespaces=())
    distance: RouteRow = Field(description="From the start: 0 first, strictly increasing, in `units.distance`.")
    altitude: RouteRow | None = Field(None, description="At the same points, in `units.altitude`; without it, flat.")
    heart_rate_cap: StrictFloat = Field(ge=CAPS[0], le=CAPS[1], description="In bpm, for the predicted mean.")
    max_heart_rate: StrictFloat | None = Field(
        None, ge=100, le=240, description="The person's highest, in bpm, for the zones; estimated when left out."
    )
    units: RouteUnits = Field(default_factory=RouteUnits)
    coverage: Coverage = 0.9


class PlanSegment(Read):
    """A piece of the route at one speed. `over_cap`: even the slowest speed, 1 m/s, is over the cap."""

    begins: float = Field(description="Metres from the start.")
    ends: float
    climb: float = Field(description="Metres from its beginning to its end.")
    speed: float = Field(description="m/s")
    seconds_per_km: float
    seconds: float
    heart_rate: float = Field(description="Predicted mean.")
    highest_heart_rate: float
    over_cap: bool


class ZoneRead(Read):
    """A tenth of the highest heart rate, from 50 % up."""

    zone: int
    from_bpm: float
    to_bpm: float | None
    seconds: float


class PlanRead(Read):
    """The plan by segment, and every 10 s from `t` on. Rows are equally long; `distance` is where a step begins."""

    model_config = example(_PLAN, protected_namespaces=())
    feasible: bool = Field(description="Whether the cap is kept everywhere, within 0.5 bpm.")
    seconds: float
    over_cap_seconds: float
    segments: list[PlanSegment]
    t: list[float]
    distance: list[float]
    speed: list[float]
    altitude: list[float] | None
    heart_rate: list[float]
    lower: list[float]
    upper: list[float]
    zones: list[ZoneRead]
    max_heart_rate: float = Field(description="What the zones are fractions of: yours, or level + 3 spreads.")
    fastest: float = Field(description="m/s. No plan goes beyond it: the model has hardly seen the person faster.")
    level: Literal["subject", "population"] = Field(description="population: a runner of average speed and heart rate.")
    model: AnsweredBy
