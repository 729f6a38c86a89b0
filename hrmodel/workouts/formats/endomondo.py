"""Endomondo workouts of many people, one a line, as the FitRec data set holds them (Ni, Muhlstein, McAuley, WWW 2019).

A line is a JSON object or the same as Python prints it. Speed is in km/h unless the source says otherwise, times are
irregular unix seconds. Lines of FitRec's processed variant (with `tar_heart_rate`) hold standardised numbers under the
usual names: of them only what was kept unscaled is read. Positions serve to derive speed and are not kept.
"""

import math
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated

import msgspec
import numpy as np

from hrmodel.workouts.errors import InvalidFile
from hrmodel.workouts.formats.source import Source
from hrmodel.workouts.formats.sport import decided
from hrmodel.workouts.formats.tracks import COLUMNS, MAX_POINTS, MAX_VALUE, Track, to_workout
from hrmodel.workouts.units import Units
from hrmodel.workouts.workout import Workout

CHUNK_BYTES = 1 << 18
MAX_LINE_BYTES = 2 << 20  # 25 000 points, where FitRec has 500; short numbers take 16 times as much once decoded
MAX_TOKENS = 100_000  # strings and words of a line
MAX_BAD_LINES = 1000
MAX_BAD_BYTES = 4 * MAX_LINE_BYTES
MAX_NAME = 40  # characters of a sport, a person or an id
USUAL_UNITS = Units(speed="km/h")

Numbers = Annotated[list[float | None], msgspec.Meta(max_length=MAX_POINTS)] | None
Name = int | str | None


class Line(msgspec.Struct):
    """What is read of a line; other keys are passed over."""

    timestamp: Numbers = None  # unix seconds
    heart_rate: Numbers = None  # bpm
    tar_heart_rate: Numbers = None
    speed: Numbers = None
    derived_speed: Numbers = None
    tar_derived_speed: Numbers = None
    altitude: Numbers = None  # m
    latitude: Numbers = None  # degrees
    longitude: Numbers = None
    sport: str | None = None
    userId: Name = None  # noqa: N815
    id: Name = None


# what needs no change, then a string of either quote, a word, or anything else: never fails, so never looks back
TOKEN = re.compile(
    rb"([^'\"A-Za-z]*+)('(?:[^'\\]|\\.)*+(?:'|\\?\Z)|\"(?:[^\"\\]|\\.)*+(?:\"|\\?\Z)|[A-Za-z]++|.|\Z)", re.DOTALL
)
WORDS = {b"True": b"true", b"False": b"false", b"u": b""}
UNKNOWN = (b"None", b"nan", b"NaN", b"inf", b"Infinity")
ESCAPE = re.compile(rb"\\(?:(')|x([0-9a-fA-F]{2}))|(\")|(\\.)", re.DOTALL)


def read(source: Source) -> Iterator[Workout]:
    """One workout per line. Raises InvalidFile at the end when lines were damaged; the others have been handed over."""
    units = source.units or USUAL_UNITS
    damage = _Damage()
    found = 0
    for number, line in enumerate(_lines(source), start=1):
        if line is not None and not line.strip():
            continue
        try:
            workout = _workout(line, number, units)
        except InvalidFile as error:
            damage.note(number, MAX_LINE_BYTES if line is None else len(line), error)
            continue
        found += 1
        yield decided(workout, source)
    if damage.lines:
        raise damage.problem()
    if not found:
        raise InvalidFile("no_workouts", "", "it holds no workouts")


@dataclass(kw_only=True)
class _Damage:
    """The lines that could not be read."""

    first: int = 0
    reason: str = ""
    lines: int = 0
    size: int = 0

    def note(self, number: int, size: int, error: InvalidFile) -> None:
        """A line of so many bytes. Raises InvalidFile when there are too many."""
        if not self.lines:
            self.first, self.reason = number, error.hint
        self.lines += 1
        self.size += size
        if self.lines >= MAX_BAD_LINES or self.size > MAX_BAD_BYTES:
            raise self.problem("; the file is read no further")

    def problem(self, end: str = "") -> InvalidFile:
        """What to say of them."""
        count = f"; {self.lines} lines are damaged in all" if self.lines > 1 else ""
        return InvalidFile("bad_line", f"line {self.first}", f"{self.reason}{count}{end}")


def _lines(source: Source) -> Iterator[bytes | None]:
    """The lines; None for one that is too long."""
    rest, too_long = b"", False
    for chunk in source.chunks(CHUNK_BYTES):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield None if too_long or len(line) > MAX_LINE_BYTES else line
            too_long = False
        if len(rest) > MAX_LINE_BYTES:
            rest, too_long = b"", True
    if rest or too_long:
        yield None if too_long else rest


def _workout(line: bytes | None, number: int, units: Units) -> Workout:
    """Raises InvalidFile."""
    where = f"line {number}"
    if line is None:
        raise InvalidFile("bad_line", where, f"it is longer than {MAX_LINE_BYTES} bytes")
    fields = _decode(line.removeprefix(b"\xef\xbb\xbf"), where)
    if not fields.timestamp:
        raise InvalidFile("bad_line", where, "it has no times")
    lists = _lists(fields)
    if any(values is not None and len(values) != len(fields.timestamp) for values in lists.values()):
        raise InvalidFile("bad_line", where, "its lists differ in length")
    missing = [math.nan] * len(fields.timestamp)
    values = {name: _array(lists.get(name) or missing) for name in COLUMNS}
    _to_metric(values, units)
    sport = (fields.sport or "").strip()[:MAX_NAME]
    track = Track(label=where, sport=sport, times=_array(fields.timestamp), values=values)
    place = where if fields.id is None else f"workout {str(fields.id)[:MAX_NAME]}"
    person = None if fields.userId is None else str(fields.userId)[:MAX_NAME]
    return replace(to_workout(track, place), person=person)


def _lists(fields: Line) -> dict[str, list[float | None] | None]:
    """The recorded values of each channel."""
    if fields.tar_heart_rate is not None:  # positions, altitude ... without `tar_` are standardised
        return {"heart_rate": fields.tar_heart_rate, "speed": fields.tar_derived_speed}
    return {
        "heart_rate": fields.heart_rate,
        "speed": fields.derived_speed if fields.speed is None else fields.speed,
        "altitude": fields.altitude,
        "latitude": fields.latitude,
        "longitude": fields.longitude,
    }


def _to_metric(values: "dict[str, array[float]]", units: Units) -> None:
    speed, altitude = units.to_metric(np.array(values["speed"]), np.array(values["altitude"]))
    assert altitude is not None
    values |= {"speed": array("d", speed.tobytes()), "altitude": array("d", altitude.tobytes())}


def _array(values: list[float | None] | list[float]) -> "array[float]":
    return array("d", [math.nan if value is None or abs(value) > MAX_VALUE else value for value in values])


def _decode(line: bytes, where: str) -> Line:
    """Raises InvalidFile."""
    try:
        return DECODER.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass  # then it may be what Python prints
    try:
        return DECODER.decode(TOKEN.sub(as_json, line, MAX_TOKENS))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidFile("bad_line", where, f"it is no workout in JSON: {str(error)[:100]}") from error


def as_json(token: re.Match[bytes]) -> bytes:
    """A token of Python's notation as one of JSON."""
    before, text = token.groups()
    if text[:1] in (b"'", b'"'):
        return bytes(before + b'"' + ESCAPE.sub(_escape, text[1:-1]) + b'"')
    if text in UNKNOWN:
        return bytes(before.removesuffix(b"-") + b"null")
    return bytes(before + WORDS.get(text, text))


def _escape(token: re.Match[bytes]) -> bytes:
    quote, code, double_quote, other = token.groups()
    if quote is not None:
        return b"'"
    if code is not None:
        return b"\\u00" + code
    return b'\\"' if double_quote is not None else bytes(other)


DECODER = msgspec.json.Decoder(Line)
