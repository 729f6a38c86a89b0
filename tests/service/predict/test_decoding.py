"""Bodies of predictions: whichever way they are decoded, the same is made of them, and the schema alone refuses."""

import json
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from service.errors import ServiceError
from service.predict.schemas import BatchRequest, PredictRequest, decode_batch, decode_request
from service.web.body import parse

VERSION = "0d4d9b0e-5f7c-4f58-9d5f-8d7a3f3a54cf"
FULL = {
    "subject": "Zoë 😀",
    "model_version_id": VERSION,
    "speed": [2.5, None, 3, 0],
    "altitude": [100, 101.5, None, -3],
    "heart_rate": [120, None, None, None],
    "step_seconds": 5,
    "units": {"speed": "km/h", "altitude": "ft"},
    "correct": False,
    "coverage": 0.8,
}
RIGHT = [
    {"speed": [2.5]},
    FULL,
    {"speed": [2.5, 2.6], "t": [0, 7.5], "altitude": None, "heart_rate": None, "step_seconds": None},
    {"speed": [2.5], "subject": None, "model_version_id": None, "t": None, "units": {}},
    {"speed": [1e299]},
]
WRONG = [
    b"",
    b"null",
    b"[]",
    b'"text"',
    b'{"speed": []}',
    b'{"speed": [NaN]}',
    b'{"speed": [Infinity]}',
    b'{"speed": [1e400]}',
    b'{"speed": [1e300]}',
    b'{"speed": [' + b"9" * 5000 + b"]}",
    b'{"speed": [true]}',
    b'{"speed": ["2"]}',
    b'{"speed": [[2]]}',
    b'{"speed": 2}',
    b'{"speed": null}',
    b'{"speed": ' + b"[" * 3000 + b"]" * 3000 + b"}",
    b'{"altitude": [1]}',
    b'{"speed": [2.5], "speed": [3]}',
    b'{"speed": [2.5], "subject": "a", "subject": "b"}',
    b'{"speed": [2.5], "units": {"speed": "m/s", "speed": "km/h"}}',
    b'{"speed": [2.5], "units": {"speed": "knots"}}',
    b'{"speed": [2.5], "units": null}',
    b'{"speed": [2.5], "pace": [1]}',
    b'{"speed": [2.5], "subject": ""}',
    b'{"speed": [2.5], "subject": " a"}',
    b'{"speed": [2.5], "subject": "a/b"}',
    b'{"speed": [2.5], "subject": "\\u0000"}',
    b'{"speed": [2.5], "subject": "\\ud800"}',
    b'{"speed": [2.5], "subject": "\xed\xa0\x80"}',
    b'{"speed": [2.5], "subject": "\xff"}',
    b'{"speed": [2.5], "subject": "\xc2\x85"}',
    b'{"speed": [2.5], "subject": "' + b"a" * 101 + b'"}',
    b'{"speed": [2.5], "subject": 1}',
    b'{"speed": [2.5], "model_version_id": "nobody"}',
    b'{"speed": [2.5], "step_seconds": 0}',
    b'{"speed": [2.5], "step_seconds": "5"}',
    b'{"speed": [2.5], "step_seconds": 1e400}',
    b'{"speed": [2.5], "coverage": 1}',
    b'{"speed": [2.5], "coverage": null}',
    b'{"speed": [2.5], "correct": 1}',
    b'{"speed": [2.5], "correct": null}',
    b'{"speed": [2.5],}',
    b'{"speed": [2.5]} x',
    b"\xef\xbb\xbf" + b'{"speed": [2.5]}',
    b'{"speed": [' + b"1," * 50_000 + b"1]}",
]


def by_schema(body: bytes, kind: type = PredictRequest) -> PredictRequest | BatchRequest | None:
    """None where the schema refuses."""
    try:
        return kind.model_validate(parse(body))
    except (ValidationError, ServiceError):
        return None


def content(request: PredictRequest) -> dict:
    fields = {name: getattr(request, name) for name in PredictRequest.model_fields}
    rows = {name: None if value is None else value.tolist() for name, value in fields.items() if name in ROWS}
    units = request.units
    return {**fields, **rows, "units": (units.speed, units.altitude)}


ROWS = ("speed", "altitude", "heart_rate", "t")


def same(one: PredictRequest, other: PredictRequest) -> None:
    np.testing.assert_equal(content(one), content(other))
    assert type(one.model_version_id) is type(other.model_version_id)


@pytest.mark.parametrize("value", RIGHT, ids=range(len(RIGHT)))
def test_what_is_right_needs_no_second_look_and_means_the_same(value):
    body = json.dumps(value, ensure_ascii=False).encode()
    decoded, expected = decode_request(body), by_schema(body)
    assert decoded is not None
    assert isinstance(decoded.speed, np.ndarray)
    same(decoded, expected)


@pytest.mark.parametrize("body", WRONG, ids=range(len(WRONG)))
def test_what_the_schema_refuses_is_left_to_the_schema(body):
    assert by_schema(body) is None
    assert decode_request(body) is None
    assert decode_batch(b'{"requests": [{"speed": [2.5]}, ' + body + b"]}") is None


@pytest.mark.parametrize("escaped", [b'"\\u0061"', b'"\\""', b'"\\/a"'])
def test_escaped_texts_take_the_way_through_the_schema(escaped):
    assert decode_request(b'{"speed": [2.5], "subject": ' + escaped + b"}") is None


def test_batches_are_compared_too():
    body = json.dumps({"requests": RIGHT}, ensure_ascii=False).encode()
    for one, other in zip(decode_batch(body).requests, by_schema(body, BatchRequest).requests, strict=True):
        same(one, other)
    for wrong in ({"requests": []}, {"requests": [{"speed": [1]}] * 65}, {"requests": [FULL], "more": 1}):
        assert decode_batch(json.dumps(wrong).encode()) is None
        assert by_schema(json.dumps(wrong).encode(), BatchRequest) is None


NUMBERS = st.none() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=True) | st.booleans() | st.text(max_size=2)
FIELDS = {
    "speed": st.lists(NUMBERS, max_size=4) | NUMBERS,
    "altitude": st.lists(NUMBERS, max_size=4) | st.none(),
    "heart_rate": st.lists(NUMBERS, max_size=4) | st.none(),
    "t": st.lists(NUMBERS, max_size=4),
    "subject": st.text(max_size=4) | NUMBERS,
    "model_version_id": st.uuids().map(str) | st.uuids().map(lambda each: each.hex) | st.text(max_size=3),
    "step_seconds": NUMBERS,
    "units": st.fixed_dictionaries(
        {}, optional={"speed": st.sampled_from(["m/s", "min/km", "x"]), "altitude": NUMBERS}
    ),
    "correct": NUMBERS,
    "coverage": NUMBERS | st.floats(0.5, 0.99),
    "more": NUMBERS,
}


@settings(max_examples=400, deadline=None)
@given(st.fixed_dictionaries({}, optional=FIELDS), st.booleans(), st.data())
def test_any_body_means_the_same_on_both_ways(value, ascii_only, data):
    body = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    if value and data.draw(st.booleans()):
        again = data.draw(st.sampled_from(sorted(value)))
        body = body[:-1] + b"," + json.dumps({again: value[again]}).encode()[1:]
    decoded = decode_request(body)
    if decoded is not None:
        same(decoded, by_schema(body))


def test_a_version_is_a_uuid_on_both_ways():
    body = json.dumps({"speed": [2.5], "model_version_id": VERSION}).encode()
    assert decode_request(body).model_version_id == by_schema(body).model_version_id == UUID(VERSION)
