"""JSON by RFC 8259 and I-JSON: ambiguous keys and non-finite numbers are refused, with the place named."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from starlette.requests import Request

from service.errors import BadRequest, FieldError, TooLarge, Unprocessable, UnsupportedType
from service.web.error_handlers import escape

IN_THREAD_BYTES = 64 * 1024  # larger bodies are parsed beside the event loop
MAX_DEPTH = 32
MAX_FIELDS = 1000  # of one object
MAX_VALUES = 60_000  # objects, lists and texts; rows of numbers count once
LARGEST = 1e300
_NUMBERS = {int, float, type(None), bool}


@dataclass(frozen=True, kw_only=True)
class BodyLimit:
    """How much JSON an operation takes."""

    bytes: int
    values: int  # numbers, texts, lists and objects
    texts: int  # keys and lists and objects, too: each of them is an object in memory


USUAL = BodyLimit(bytes=64 * 1024, values=10_000, texts=4000)
LIMITS = {  # by operation; every other is USUAL
    "predict": BodyLimit(bytes=4 * 1024**2, values=210_000, texts=4000),  # 4 rows of 50,000 numbers
    "predict_batch": BodyLimit(bytes=8 * 1024**2, values=410_000, texts=8000),  # 4 rows of 100,000 in all
    "plan_pace": BodyLimit(bytes=256 * 1024, values=10_000, texts=4000),  # 2 rows of 2000
    "submit_fleet": BodyLimit(bytes=1024**2, values=20_000, texts=20_000),
}


class _Duplicate(dict[str, Any]):
    """An object that named a key twice; `key` is the first such one."""

    key = ""


async def read_json_body(request: Request, limit: BodyLimit = USUAL) -> bytes:
    """The whole body, which says that it is JSON; empty when there is none.

    Raises UnsupportedType, TooLarge, or Unprocessable for more values than anybody could need: they are counted before
    any of them takes memory.
    """
    body = await read_body(request, limit.bytes)
    _count_values(body, limit)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if body and kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise UnsupportedType("json_required", "Send the body as JSON with Content-Type: application/json.")
    return body


def to_json(body: bytes) -> Any:
    """The parsed body; None for an empty one.

    Raises BadRequest for what cannot be read, Unprocessable for values that are no finite numbers or no text.
    """
    return parse(body) if body else None


def _count_values(body: bytes, limit: BodyLimit) -> None:
    """At most as many as these signs say, inside texts too: no valid text holds thousands of them."""
    begun, commas = body.count(b"{") + body.count(b"["), body.count(b",")
    values, texts = commas + begun + 1, body.count(b'"') // 2 + begun
    if begun > MAX_DEPTH * (commas + 1):  # a value without a comma before it is the first of an object or list
        raise _too_deep("")
    if values > limit.values or texts > limit.texts:
        message = f"holds more than {limit.values} values, or more than {limit.texts} keys, texts, lists and objects"
        raise Unprocessable("invalid_request", f"The JSON {message}.", [_at(_longest_row(body), message)])


def _longest_row(body: bytes) -> str:
    """The longest list of a short object, unparsed; else the whole body."""
    opened = body.split(b"[", 9)
    if not 2 <= len(opened) <= 9:
        return ""
    _, before = max(zip((part.count(b",") for part in opened[1:]), opened, strict=False), key=itemgetter(0))
    key = before.rstrip().removesuffix(b":").rstrip().removesuffix(b'"').rpartition(b'"')[2]
    return f"/{key.decode()}" if len(key) <= 40 and key.replace(b"_", b"").isalnum() else ""


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body. Raises TooLarge at its first byte over `limit`."""
    chunks, size = [], 0
    check_announced_size(request, limit)
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise too_large(limit)
        chunks.append(chunk)
    body = b"".join(chunks)
    request._body = body  # Starlette's cache: a second read finds it here
    return body


def check_announced_size(request: Request, limit: int) -> int:
    """Refuse a body by its Content-Length, before reading any of it; the number of bytes announced, 0 without."""
    announced = request.headers.get("content-length", "")
    if not (announced.isascii() and announced.isdigit()):
        return 0
    if len(announced) > 18 or int(announced) > limit:
        raise too_large(limit)
    return int(announced)


def too_large(limit: int) -> TooLarge:
    """The error for a body of more than `limit` bytes."""
    return TooLarge("body_too_large", f"The body is larger than {limit} bytes, which is the most that is taken here.")


def parse(body: bytes) -> Any:
    """Strict JSON. Raises BadRequest or Unprocessable."""
    try:
        text = body.decode("utf-8")
        value = _load(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise BadRequest("malformed_json", f"The body is not valid JSON: see {place}.", [_at("", place)]) from error
    except UnicodeDecodeError as error:
        detail = f"The body is not UTF-8: see byte {error.start}."
        raise BadRequest("malformed_json", detail, [_at("", f"byte {error.start}")]) from error
    except RecursionError as error:
        raise _too_deep("") from error
    _check(value)
    return value


def _load(text: str) -> Any:
    options: dict[str, Any] = {"object_pairs_hook": _object, "parse_constant": lambda name: math.inf}
    try:
        return json.loads(text, **options)
    except json.JSONDecodeError:
        raise
    except ValueError:  # Python refuses whole numbers of thousands of digits
        return json.loads(text, parse_int=_whole_number, **options)


def _whole_number(digits: str) -> int | float:
    return int(digits) if len(digits) < 300 else math.inf


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) == len(pairs):
        return value
    twice, seen = _Duplicate(value), set()
    for key, _ in pairs:
        if key in seen:
            twice.key = key
        seen.add(key)
    return twice


def _check(root: Any) -> None:
    """Walk the value without recursion; a wrong place is named."""
    todo: list[tuple[str, int, Any]] = [("", 0, root)]
    while todo:
        pointer, depth, value = todo.pop()
        if depth > MAX_DEPTH:
            raise _too_deep(pointer)
        if isinstance(value, dict):
            _check_size(pointer, len(value), MAX_FIELDS)
            todo.extend((f"{pointer}/{escape(key)}", depth + 1, item) for key, item in _fields(pointer, value))
        elif isinstance(value, list):
            # one quick look at the kinds: the rows that requests hold are long
            if set(map(type, value)) <= _NUMBERS:
                _check_numbers(pointer, value)
            else:
                _check_size(pointer, len(value) + len(todo), MAX_VALUES)
                todo.extend((f"{pointer}/{index}", depth + 1, item) for index, item in enumerate(value))
        elif isinstance(value, str):
            _check_text(pointer, value)
        elif isinstance(value, int | float):
            _check_numbers(pointer, [value], single=True)


def _check_size(pointer: str, size: int, limit: int) -> None:
    """Long rows of numbers are fine; so many of anything else are no valid request."""
    if size > limit:
        message = f"holds more than {limit} values"
        raise Unprocessable("invalid_request", "The JSON holds too much.", [_at(pointer, message)])


def _fields(pointer: str, value: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    if isinstance(value, _Duplicate):
        _check_text(pointer, value.key)
        place = [_at(f"{pointer}/{escape(value.key)}", "is there twice")]
        raise BadRequest("malformed_json", "A key may come only once in a JSON object.", place)
    for key in value:
        _check_text(pointer, key)
    yield from value.items()


def _check_numbers(pointer: str, values: list[Any], *, single: bool = False) -> None:
    """Finite and within what a float can compute with; fast for the long rows that requests hold."""
    for index, value in enumerate(values):
        if value is not None and not -LARGEST < value < LARGEST:
            place = pointer if single else f"{pointer}/{index}"
            message = "must be a finite number; NaN, Infinity and numbers beyond 1e300 are not taken"
            raise Unprocessable("invalid_request", f"There is no finite number at {place}.", [_at(place, message)])


def _check_text(pointer: str, text: str) -> None:
    if text.isascii() and "\x00" not in text:
        return
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        message = "holds half of a surrogate pair, which is no character"
        raise Unprocessable("invalid_request", "A text is no valid Unicode.", [_at(pointer, message)]) from error
    if "\x00" in text:
        raise Unprocessable("invalid_request", "A text holds a NUL character.", [_at(pointer, "holds a NUL character")])


def _too_deep(pointer: str) -> BadRequest:
    message = f"is nested deeper than {MAX_DEPTH} levels"
    return BadRequest("malformed_json", f"The JSON {message}.", [_at(pointer[:100], message)])


def _at(pointer: str, message: str) -> FieldError:
    return FieldError(pointer, message)
