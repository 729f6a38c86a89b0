"""Schemas of a recorded workout beside its predictions."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import Path
from pydantic import Field

from service.predict.plan_schemas import ZoneRead
from service.predict.schemas import MODEL_EXAMPLE, AnsweredBy
from service.web.fields import Read, example

DIGEST_EXAMPLE = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
WorkoutId = Annotated[
    str, Path(pattern="^[0-9a-f]{64}$", description="The workout: its digest.", examples=[DIGEST_EXAMPLE])
]
_ZONE = {"zone": 2, "from_bpm": 114.0, "to_bpm": 133.0, "seconds": 20.0}
_REVIEW = {
    "digest": DIGEST_EXAMPLE,
    "started_at": "2026-04-30T17:05:00Z",
    "split": "test",
    "source": "spring.zip/31.gpx",
    "t": [0.0, 10.0],
    "speed": [2.4, 2.6],
    "altitude": [210.0, 210.4],
    "heart_rate": [98.0, None],
    "predictions": [
        {
            "name": "blind",
            "observed_seconds": 0.0,
            "heart_rate": [101.2, 107.9],
            "lower": [89.0, 95.6],
            "upper": [113.4, 120.2],
            "mae": 3.2,
            "bias": -3.2,
            "zones": [_ZONE],
        }
    ],
    "zones": [_ZONE],
    "max_heart_rate": 190.0,
    "faults": [{"code": "heart_rate_spike", "begins": 120.0, "ends": 131.0, "samples": 3}],
    "model": MODEL_EXAMPLE,
}


class ReviewedPrediction(Read):
    """What the version says of the workout when it is told the heart rate of the first `observed_seconds`.

    `mae` and `bias` (measured minus predicted, bpm) are over the steps after those.
    """

    name: Literal["blind", "forecast_180"]
    observed_seconds: float
    heart_rate: list[float | None]
    lower: list[float | None]
    upper: list[float | None]
    mae: float | None
    bias: float | None
    zones: list[ZoneRead]


class FaultRead(Read):
    """A stretch of values that were taken as missing: seconds since the start."""

    code: str
    begins: float
    ends: float
    samples: int


class ReviewRead(Read):
    """A workout in steps of 10 s, all rows equally long, null where nothing was recorded."""

    model_config = example(_REVIEW, protected_namespaces=())
    digest: str
    started_at: datetime | None
    split: str | None = Field(description="Where the workout is in the newest dataset that holds it.")
    source: str
    t: list[float] = Field(description="Seconds since the start, the beginning of each step.")
    speed: list[float | None]
    altitude: list[float | None]
    heart_rate: list[float | None] = Field(description="Measured: the mean of each step.")
    predictions: list[ReviewedPrediction]
    zones: list[ZoneRead] = Field(description="Measured time by zone.")
    max_heart_rate: float = Field(description="What the zones are fractions of: level + 3 spreads.")
    faults: list[FaultRead]
    model: AnsweredBy
