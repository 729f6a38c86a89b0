"""What the single records of an Apple Health export measure, packed into eight bytes each until workouts are known.

Records are nearly all of an export. Those that are written as Apple writes them are taken from its bytes by one
regular expression, three times faster than by an XML parser; whatever it does not match is left to the parser.
"""

import html
import re
from array import array
from collections.abc import Callable
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from hrmodel.workouts.errors import InvalidFile
from hrmodel.workouts.formats.scalars import number
from hrmodel.workouts.formats.timeline import instant

MAX_READINGS = 16_000_000  # ten years of a watch have less; 128 MB
MAX_SOURCES = 256
MAX_NAME = 200  # characters of a source's name
MAX_SECONDS = 1 << 32  # unix time that fits the packing
MAX_DAYS = 20_000  # whose unix times are kept at hand
MAX_MEAN_SECONDS = 60  # a heart rate over a longer time is no reading
MAX_INTERVAL = 1023  # s that fit the packing; over a longer time a distance says nothing about speed
MAX_RATE = (1 << 14) - 1
RATE = 500.0  # m/s and steps/s are kept to 1/500
BPM = 100.0  # heart rates are kept to 1/100

TWO_DIGITS = {b"%02d" % n: n for n in range(60)}
CLOCK = {b"%02d:%02d" % divmod(minute, 60): 60 * minute for minute in range(1440)}
HEART_RATE_UNITS = {b"count/min": 1.0, b"count/s": 60.0}
DISTANCE_UNITS = {b"km": 1000.0, b"m": 1.0, b"cm": 0.01, b"mi": 1609.344, b"yd": 0.9144, b"ft": 0.3048}
STEP_UNITS = {b"count": 1.0}
SPEED_UNITS = {b"m/s": 1.0, b"km/hr": 1 / 3.6, b"km/h": 1 / 3.6, b"mi/hr": 0.44704, b"mph": 0.44704, b"ft/s": 0.3048}

# possessive: linear in what it reads; no `<` can be in an attribute
KIND = rb"HKQuantityTypeIdentifier(?:HeartRate|DistanceWalkingRunning|StepCount|RunningSpeed)"
PLAIN = rb'[^"<&]*+'
VALUE = rb'(?:[^"<&]++|&(?:lt|gt|amp|quot|apos|#\d++|#x[\da-fA-F]++);)*+'
FIELDS = (
    rb'sourceName="(%b)"(?: sourceVersion="%b")?+(?: device="(%b)")?+ unit="(%b)"(?: creationDate="%b")?+'
    rb' startDate="(%b)" endDate="(%b)" value="(%b)"'
) % (VALUE, VALUE, VALUE, PLAIN, PLAIN, PLAIN, PLAIN, PLAIN)
ATTRIBUTES = rb'(?: [A-Za-z]++="%b")*+' % VALUE
END = rb"(?:/>|>\s*+(?:<MetadataEntry%b/>\s*+)*+</Record>)" % ATTRIBUTES
RECORD = re.compile(rb'<Record type="(?:(%b)" %b|(?!%b")%b"%b)%b' % (KIND, FIELDS, KIND, PLAIN, ATTRIBUTES, END))
GROUPS = 8  # of RECORD, and the text before a match

Packed = NDArray[np.uint64]
SourceKey = tuple[str, bool]  # its name, and whether the device is a watch


def source_of(name: str, device: str) -> SourceKey:
    """Who wrote a record. The text of the device differs from record to record."""
    return name, "Watch" in device or "watch" in name.lower()


def _number(value: bytes) -> float:
    try:
        return float(value)
    except ValueError:
        return number(value.decode("utf-8", "replace"))


class Clock:
    """Unix seconds of `2024-05-31 06:30:00 +0200`: whole ones, by the offset that each time brings."""

    def __init__(self) -> None:
        self._days: dict[bytes, int] = {}

    def seconds(self, text: bytes) -> int:
        """Raises ValueError. Times in a phone's own way (`6:30:00 AM`, other digits) are read, too."""
        try:
            day = self._days.get(text[:10] + text[19:])
            if day is None:
                day = self._day(text)
            return day + CLOCK[text[11:16]] + TWO_DIGITS[text[17:19]]
        except (KeyError, ValueError):
            second = instant(text.decode("utf-8", "replace"))
            if not 0 <= second < MAX_SECONDS - 86_400:  # also when it is NaN
                raise ValueError(f"{text[:40]!r} is no time of a health export") from None
            return int(second)

    def _day(self, text: bytes) -> int:
        key = text[:10] + text[19:]
        day = int(datetime.strptime(key.decode("ascii"), "%Y-%m-%d %z").timestamp())
        if len(text) != 25 or not 0 <= day < MAX_SECONDS - 86_400:
            raise ValueError(f"{text[:40]!r} is no time of a health export")
        if len(self._days) >= MAX_DAYS:
            self._days.clear()
        self._days[key] = day
        return day


class Records:
    """Heart rates at an instant, and rates over an interval: distance and steps by its length, and speed.

    A heart rate is packed as time (32 bits), 1/100 bpm (24), source (8); a rate as start (32), seconds (10), rate
    (14), source (8): sorting the numbers sorts by time.
    """

    def __init__(self) -> None:
        self.clock = Clock()
        self.sources: list[SourceKey] = []
        self.packed = {name: array("Q") for name in ("heart_rate", "distance", "steps", "speed")}
        self._numbers: dict[tuple[bytes, bool], int] = {}
        self._kinds = {
            b"HKQuantityTypeIdentifierHeartRate": self._heart_rate,
            b"HKQuantityTypeIdentifierDistanceWalkingRunning": self._rate("distance", DISTANCE_UNITS),
            b"HKQuantityTypeIdentifierStepCount": self._rate("steps", STEP_UNITS),
            b"HKQuantityTypeIdentifierRunningSpeed": self._rate("speed", SPEED_UNITS),
        }

    def shorten(self, piece: bytes) -> bytes:
        """Take the records out of a piece of the document, and keep those that count. Raises InvalidFile."""
        parts = RECORD.split(piece)
        for fields in zip(*(parts[group::GROUPS] for group in range(1, GROUPS)), strict=True):
            if fields[0]:
                self._add(*fields)
        return b"".join(parts[::GROUPS])

    def add(self, attributes: dict[str, str]) -> None:
        """Keep a record that the parser found, if it is one that counts. Raises InvalidFile."""
        names = ("type", "sourceName", "device", "unit", "startDate", "endDate", "value")
        self._add(*(html.escape(attributes.get(name, "")).encode() for name in names))

    def _add(self, kind: bytes, name: bytes, device: bytes | None, *fields: bytes) -> None:
        """Records that cannot be read say nothing, those in a Correlation are told twice: both do no harm."""
        if (pack := self._kinds.get(kind)) is None:
            return
        try:
            channel, reading = pack(*fields)
        except (KeyError, ValueError, OverflowError):
            return
        packed = self.packed[channel]
        packed.append(reading | self._source(name, device or b""))
        if not len(packed) & 0xFFFF and sum(map(len, self.packed.values())) > MAX_READINGS:
            raise InvalidFile("too_large", "", f"more than {MAX_READINGS} readings of heart rate, distance and steps")

    def _source(self, name: bytes, device: bytes) -> int:
        key = (name, b"Watch" in device)
        place = self._numbers.get(key)
        if place is None:
            if len(self.sources) == MAX_SOURCES:
                return MAX_SOURCES - 1  # nobody has so many
            place = self._numbers[key] = len(self.sources)
            text = html.unescape(name.decode("utf-8", "replace"))
            self.sources.append(source_of(text[:MAX_NAME], device.decode("utf-8", "replace")))
        return place

    def _heart_rate(self, unit: bytes, started: bytes, ended: bytes, value: bytes) -> tuple[str, int]:
        end = self.clock.seconds(ended)
        bpm = _number(value) * HEART_RATE_UNITS[unit]
        if not 0 < bpm < 1000:  # also when it is NaN
            raise ValueError(f"{bpm} is no heart rate")
        if started != ended and end - self.clock.seconds(started) > MAX_MEAN_SECONDS:
            raise ValueError(f"from {started!r} to {ended!r} is no reading but a mean")
        return "heart_rate", end << 32 | round(bpm * BPM) << 8

    def _rate(self, channel: str, units: dict[bytes, float]) -> Callable[..., tuple[str, int]]:
        def pack(unit: bytes, started: bytes, ended: bytes, value: bytes) -> tuple[str, int]:
            start = self.clock.seconds(started)
            seconds = self.clock.seconds(ended) - start
            if channel == "speed":
                seconds = max(seconds, 1)
            if not 0 < seconds <= MAX_INTERVAL:
                raise ValueError(f"from {started!r} to {ended!r}")
            rate = round(_number(value) * units[unit] * RATE / (1 if channel == "speed" else seconds))
            if not 0 <= rate <= MAX_RATE:
                raise ValueError(f"{value!r} in {seconds} s")
            return channel, start << 32 | seconds << 22 | rate << 8

        return pack
