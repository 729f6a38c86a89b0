"""What POST /predict takes and gives. Rows of numbers are read as arrays: an error per element would be the request.

`decode_request` and `decode_batch` are a fast path past FastAPI for valid bodies. Any other body takes the ordinary
path, which alone reports errors; tests compare both.
"""

import math
from array import array
from collections.abc import Iterable
from types import NoneType
from typing import Annotated, Any, Literal, TypedDict
from uuid import UUID

import msgspec
import numpy as np
from pydantic import ConfigDict, Field, PlainValidator, StrictBool, StrictFloat, WithJsonSchema
from pydantic_core import PydanticCustomError

from hrmodel.workouts.units import AltitudeUnit, SpeedUnit
from hrmodel.workouts.workout import Array
from service.registry.tables import Stage
from service.web.body import LARGEST
from service.web.fields import Read, SubjectName, Write, example

MAX_SAMPLES = 50_000
MAX_REQUESTS = 64
MAX_BATCH_SAMPLES = 100_000  # of all requests
MAX_BATCH_HOURS = 100.0
_NUMBERS = {float, int, NoneType}
_REQUEST = {"subject": "me", "speed": [2.4, 2.6, 2.8, 2.8], "heart_rate": [98, 107, None, None], "step_seconds": 10}
MODEL_EXAMPLE = {"version_id": "0d4d9b0e-5f7c-4f58-9d5f-8d7a3f3a54cf", "stage": "stage2", "subject": "me"}
_PREDICTION = {
    "heart_rate": [99.1, 106.2, 114.8, 121.3],
    "lower": [94.0, 101.1, 105.2, 110.9],
    "upper": [104.2, 111.3, 124.4, 131.7],
    "observed_until": 20.0,
    "protocol": "forecast",
    "step_seconds": 10.0,
    "level": "subject",
    "model": MODEL_EXAMPLE,
}


def decode_row(value: Any, least: int = 1, most: int = MAX_SAMPLES) -> Array:
    """A JSON list of numbers and nulls, or what `_row` made of it, as (N,) floats, null as NaN.

    The first wrong element is named.
    """
    if not isinstance(value, list | np.ndarray):
        raise PydanticCustomError("row_type", "must be a list of numbers and nulls")
    if not least <= len(value) <= most:
        raise PydanticCustomError("row_length", f"must hold {least} to {most} samples")
    if isinstance(value, np.ndarray):
        return value
    if not set(map(type, value)) <= _NUMBERS:
        wrong = next(index for index, item in enumerate(value) if type(item) not in _NUMBERS)
        raise PydanticCustomError("row_item", "must be a number or null", {"at": (wrong,)})
    return _row(value)


def _row(numbers: list[Any]) -> Array:
    """(N,) floats, null as NaN."""
    try:
        known = array("d", numbers)  # np.array takes three times as long
    except TypeError:
        known = array("d", [math.nan if number is None else number for number in numbers])
    return np.frombuffer(known)


_ROW_SCHEMA = {"type": "array", "items": {"type": ["number", "null"]}, "minItems": 1, "maxItems": MAX_SAMPLES}
Row = Annotated[Any, PlainValidator(decode_row), WithJsonSchema(_ROW_SCHEMA)]
TimeRow = Annotated[
    Any, PlainValidator(decode_row), WithJsonSchema({**_ROW_SCHEMA, "items": {"type": "number", "minimum": 0}})
]


Coverage = Annotated[StrictFloat, Field(ge=0.5, le=0.99, description="Share of heart rates that the band holds.")]


class UnitsChoice(Write):
    """The units of the request."""

    speed: SpeedUnit = "m/s"
    altitude: AltitudeUnit = "m"


class Addressed(Write):
    """Who is asked."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())
    subject: SubjectName | None = Field(None, description="Whose best model answers; without it, the base model.")
    model_version_id: UUID | None = Field(None, description="This version instead of the best one.")


class PredictRequest(Addressed):
    """One workout: all rows are equally long, null is a missing value. Heart rate is what was observed so far."""

    model_config = example(_REQUEST, extra="forbid", protected_namespaces=())
    speed: Row = Field(description="0 or more, in `units.speed`. A speed above 12 m/s counts as missing.")
    altitude: Row | None = Field(None, description="In `units.altitude`.")
    heart_rate: Row | None = Field(None, description="25 to 240 bpm where it is known.")
    step_seconds: StrictFloat | None = Field(None, ge=0.01, le=3600, description="Between samples; 10 without `t`.")
    t: TimeRow | None = Field(None, description="Seconds since the start, strictly increasing; 24 h at most.")
    units: UnitsChoice = Field(default_factory=UnitsChoice)
    correct: StrictBool = Field(True, description="False: the network alone follows observed heart rate.")
    coverage: Coverage = 0.9


class BatchRequest(Write):
    """Up to 64 predictions in one request, of at most 100,000 samples and 100 h of workouts in all."""

    model_config = example({"requests": [_REQUEST]}, extra="forbid")
    requests: list[PredictRequest] = Field(min_length=1, max_length=MAX_REQUESTS)


class AnsweredBy(Read):
    """The version that answered."""

    version_id: UUID
    stage: Stage
    subject: str | None


class PredictionRead(Read):
    """One value per sample in bpm, with a band. Values up to `observed_until` are one-step-ahead, never the input."""

    model_config = example(_PREDICTION)
    heart_rate: list[float]
    lower: list[float]
    upper: list[float]
    observed_until: float | None
    protocol: Literal["blind", "forecast", "nowcast"]
    step_seconds: float | None
    level: Literal["subject", "population"]
    model: AnsweredBy


class BatchRead(Read):
    """The predictions in the order of the requests."""

    model_config = example({"predictions": [_PREDICTION]})
    predictions: list[PredictionRead]


_Numbers = list[float | None] | None


class _Body(TypedDict, total=False):
    """A request of which only the types of the rows are checked."""

    subject: Any
    model_version_id: Any
    speed: _Numbers
    altitude: _Numbers
    heart_rate: _Numbers
    step_seconds: Any
    t: _Numbers
    units: Any
    correct: Any
    coverage: Any


class _Bodies(TypedDict):
    requests: list[_Body]


_ROWS = ("speed", "altitude", "heart_rate", "t")
_request_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(_Body)
_batch_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(_Bodies)
# not UTF-8 and the errors of pydantic are ValueErrors; a whole number beyond any float is an OverflowError
_UNREADABLE = (msgspec.DecodeError, ValueError, OverflowError, RecursionError)


def decode_request(body: bytes) -> PredictRequest | None:
    """The body of POST /predict; None when the ordinary path has to look at it."""
    try:
        value = _request_decoder.decode(body)
        request = PredictRequest.model_validate(_with_arrays(value))
    except _UNREADABLE:
        return None
    return request if _is_plain(body, value, [request]) else None


def decode_batch(body: bytes) -> BatchRequest | None:
    """The body of POST /predict/batch; None when the ordinary path has to look at it."""
    try:
        value = _batch_decoder.decode(body)
        batch = BatchRequest.model_validate({"requests": [_with_arrays(one) for one in value["requests"]]})
    except _UNREADABLE:
        return None
    return batch if _is_plain(body, value, batch.requests) else None


def _with_arrays(body: dict[str, Any]) -> dict[str, Any]:
    """The same with arrays as rows."""
    for name in _ROWS:
        if (row := body.get(name)) is not None:
            body[name] = _row(row)
    return body


def _is_plain(body: bytes, value: Any, requests: Iterable[PredictRequest]) -> bool:
    """Whether strict parsing gives the same: no key twice, no escaped text, no number beyond 1e300.

    The decoder keeps the last of two equal keys, so the texts that it kept are compared with the quotes in the body.
    """
    if b"\\" in body or body.count(b'"') != 2 * _count_texts(value):
        return False
    rows = (getattr(request, name) for request in requests for name in _ROWS)
    return not any(np.fmax.reduce(np.abs(row)) >= LARGEST for row in rows if row is not None)  # fmax: NaN is no number


def _count_texts(value: Any) -> int:
    if isinstance(value, dict):
        return len(value) + sum(map(_count_texts, value.values()))
    if isinstance(value, list) and value and isinstance(value[0], dict):  # other lists hold numbers
        return sum(map(_count_texts, value))
    return int(isinstance(value, str))
