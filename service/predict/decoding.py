"""The bodies of predictions, decoded straight into arrays: what is right the first time skips the schema.

Whatever this does not take (wrong, ambiguous, or only unusual) goes the way of every other body, through the schema,
which alone says what is wrong. What this takes, the schema takes, too, and makes the same of it; tests compare the two.
"""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from hrmodel.workouts.units import AltitudeUnit, SpeedUnit
from hrmodel.workouts.workout import Array
from service.predict.schemas import MAX_REQUESTS, MAX_SAMPLES, BatchRequest, PredictRequest, UnitsChoice
from service.web.body import LARGEST
from service.web.fields import check_subject

MAX_SUBJECT = 100
_Row = list[float | None] | None


class _Units(msgspec.Struct, forbid_unknown_fields=True):
    speed: SpeedUnit | UnsetType = UNSET
    altitude: AltitudeUnit | UnsetType = UNSET


class _Request(msgspec.Struct, forbid_unknown_fields=True):
    speed: list[float | None]
    altitude: _Row | UnsetType = UNSET
    heart_rate: _Row | UnsetType = UNSET
    t: _Row | UnsetType = UNSET
    subject: str | UnsetType | None = UNSET
    model_version_id: UUID | UnsetType | None = UNSET
    step_seconds: float | UnsetType | None = UNSET
    units: _Units | UnsetType = UNSET
    correct: bool | UnsetType = UNSET
    coverage: float | UnsetType = UNSET


class _Batch(msgspec.Struct, forbid_unknown_fields=True):
    requests: list[_Request]


class _Unusual(Exception):
    """The schema has to look at it."""


# pydantic asks each default anew, and takes longer for it than msgspec for the body
_DEFAULTS = {
    name: field.get_default(call_default_factory=True)
    for name, field in PredictRequest.model_fields.items()
    if not field.is_required()
}
_one = msgspec.json.Decoder(_Request)
_batch = msgspec.json.Decoder(_Batch)


def decode_request(body: bytes) -> PredictRequest | None:
    """The body of POST /predict; None: let the schema look at it."""
    try:
        request = _one.decode(body)
        _check_texts(body, [request])
        return _to_request(request)
    except (msgspec.DecodeError, _Unusual, ValueError):
        return None


def decode_batch(body: bytes) -> BatchRequest | None:
    """The body of POST /predict/batch; None: let the schema look at it."""
    try:
        batch = _batch.decode(body)
        if not 1 <= len(batch.requests) <= MAX_REQUESTS:
            return None
        _check_texts(body, batch.requests, around=1)
        return BatchRequest.model_construct(requests=[_to_request(request) for request in batch.requests])
    except (msgspec.DecodeError, _Unusual, ValueError):
        return None


def _check_texts(body: bytes, requests: list[_Request], around: int = 0) -> None:
    """Nothing is escaped, and no key is there twice (the decoder would take the last one): texts are counted."""
    texts = around + sum(_texts(request) for request in requests)
    if b"\\" in body or body.count(b'"') != 2 * texts:
        raise _Unusual


def _texts(request: _Request) -> int:
    texts = sum(1 for _ in _given(request))
    texts += isinstance(request.subject, str) + isinstance(request.model_version_id, UUID)
    return texts + (0 if request.units is UNSET else 2 * sum(1 for _ in _given(request.units)))


def _given(struct: msgspec.Struct) -> Iterator[tuple[str, Any]]:
    for name in struct.__struct_fields__:
        if (value := getattr(struct, name)) is not UNSET:
            yield name, value


def _to_request(request: _Request) -> PredictRequest:
    fields: dict[str, Any] = dict(_given(request))
    for name in ("speed", "altitude", "heart_rate", "t"):
        if (row := fields.get(name)) is not None:
            fields[name] = _array(row)
    if (units := fields.get("units")) is not None:
        fields["units"] = UnitsChoice.model_construct(**dict(_given(units)))
    if (subject := fields.get("subject")) is not None:
        if not 1 <= len(subject) <= MAX_SUBJECT:
            raise _Unusual
        check_subject(subject)
    _check_bounds(fields.get("step_seconds"), 0.01, 3600)
    _check_bounds(fields.get("coverage"), 0.5, 0.99)
    return PredictRequest.model_construct(set(fields), **(_DEFAULTS | fields))


def _array(row: list[float | None]) -> Array:
    """(N,) null as NaN."""
    if not 1 <= len(row) <= MAX_SAMPLES:
        raise _Unusual
    array = np.array(row, dtype=np.float64)
    if (np.abs(array) >= LARGEST).any():
        raise _Unusual
    return array


def _check_bounds(value: float | None, low: float, high: float) -> None:
    if value is not None and not low <= value <= high:
        raise _Unusual
