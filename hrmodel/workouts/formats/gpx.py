"""GPX 1.1 tracks with Garmin's TrackPointExtension (v1, v2) or a plain `speed`: one workout per `trk`.

Read as a stream of tags: no tree is built, a document type (and with it every entity) is refused at its first byte,
and nothing outside the file is opened. Positions serve to derive speed and are not kept.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from re import compile as regex

import numpy as np
from lxml import etree

from hrmodel.workouts.errors import InvalidFile
from hrmodel.workouts.formats.positions import speed_from_positions
from hrmodel.workouts.units import Units
from hrmodel.workouts.workout import Array, Workout, advancing

ROOT = regex(rb"<(\w+:)?gpx[\s>]")
CHUNK_BYTES = 1 << 16
MAX_POINTS = 2_000_000  # of one track: three weeks at one a second
MAX_TEXT = 40  # characters of a value; longer ones are no numbers or times
MAX_DEPTH = 100
ONE_FOOT = 120.0  # steps/min: below this median the device counted one foot
STRAVA_SPORTS = {"1": "cycling", "9": "running", "10": "walking"}
# local name -> channel; extensions differ in namespace and prefix, hardly in these names
POINT_VALUES = {
    "ele": "altitude",
    "hr": "heart_rate",
    "heartrate": "heart_rate",
    "cad": "cadence",
    "cadence": "cadence",
    "speed": "speed",
}
CHANNELS = ("latitude", "longitude", "altitude", "heart_rate", "cadence", "speed")


def matches(head: bytes) -> bool:
    """True for a GPX document, by its first bytes."""
    return ROOT.search(head.replace(b"\0", b"")) is not None  # UTF-16 has a zero in every other byte


def read(path: Path, _units: Units | None = None) -> Iterator[Workout]:
    """One workout per track with points. Raises InvalidFile."""
    reader = _TrackReader()
    # the reader is SAX-like: only the open track is in memory
    parser = etree.XMLParser(target=reader, resolve_entities=False, no_network=True, huge_tree=False)
    found = 0
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                parser.feed(chunk)
                for track in reader.take():
                    found += 1
                    yield _to_workout(track, found)
            parser.close()
    except etree.XMLSyntaxError as error:
        raise InvalidFile(
            "broken_xml", f"line {error.lineno}", f"the XML is damaged: {(error.msg or str(error))[:200]}"
        ) from error
    if not found:
        raise InvalidFile("no_track", "", "it holds no track points; export the recorded activity, not a route")


@dataclass(kw_only=True)
class _Track:
    number: int
    sport: str = ""
    times: list[float] = field(default_factory=list)  # unix seconds, NaN without a time
    values: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in CHANNELS})


class _TrackReader:
    """Collects the points of each track. The methods are those that lxml calls."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}  # tag -> local name
        self._stack: list[str] = []
        self._text: list[str] | None = None
        self._track: _Track | None = None
        self._point: dict[str, float] | None = None
        self._tracks = 0
        self._ready: list[_Track] = []

    def take(self) -> list[_Track]:
        """The tracks that were completed since the last call."""
        ready, self._ready = self._ready, []
        return ready

    def doctype(self, _name: str, _public: str, _system: str) -> None:
        raise InvalidFile("dtd_refused", "", "the XML declares a document type, which GPX files do not need")

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        name = self._names.get(tag) or self._names.setdefault(tag, tag.rsplit("}", 1)[-1])
        if not self._stack and name != "gpx":
            raise InvalidFile("not_gpx", "", f"the root element is {name[:50]}, not gpx")
        if len(self._stack) >= MAX_DEPTH:
            raise InvalidFile("not_gpx", "", f"elements are nested more than {MAX_DEPTH} deep")
        self._stack.append(name)
        if name == "trk" and self._track is None:
            self._tracks += 1
            self._track = _Track(number=self._tracks)
        elif name == "trkpt" and self._track is not None:
            latitude, longitude = _number(attributes.get("lat")), _number(attributes.get("lon"))
            self._point = {"latitude": latitude, "longitude": longitude}
        self._text = [] if name in POINT_VALUES or name in ("time", "type") else None

    def data(self, text: str) -> None:
        if self._text is not None and len(self._text) < MAX_TEXT:
            self._text.append(text)  # lxml hands over long texts in pieces

    def end(self, _tag: str) -> None:
        name = self._stack.pop()
        text, self._text = "".join(self._text or ()).strip()[: MAX_TEXT + 1], None
        if self._track is None:
            return
        if self._point is not None:
            self._end_in_point(name, text, self._point, self._track)
        elif name == "type" and self._stack[-1] == "trk":
            self._track.sport = text.lower()
        elif name == "trk":
            self._ready.append(self._track)
            self._track = None

    def _end_in_point(self, name: str, text: str, point: dict[str, float], track: _Track) -> None:
        if name in POINT_VALUES:
            point.setdefault(POINT_VALUES[name], _number(text))
        elif name == "time" and self._stack[-1] == "trkpt":
            point["time"] = _instant(text, f"track {track.number}, point {len(track.times) + 1}")
        elif name == "trkpt":
            if len(track.times) >= MAX_POINTS:
                raise InvalidFile("too_large", f"track {track.number}", f"more than {MAX_POINTS} points")
            track.times.append(point.get("time", math.nan))
            for channel, values in track.values.items():
                values.append(point.get(channel, math.nan))
            self._point = None

    def close(self) -> None:
        return None


def _number(text: str | None) -> float:
    try:
        value = float(text or "nan")
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan


def _instant(text: str, where: str) -> float:
    """Unix seconds of an ISO 8601 time with any offset or fraction; without an offset it is UTC, as GPX says."""
    try:
        if len(text) > MAX_TEXT:  # fromisoformat takes any number of digits for a fraction
            raise ValueError(text)
        parsed = datetime.fromisoformat(text)
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError) as error:
        raise InvalidFile("bad_time", where, f"{text[:40]!r} is no time; expected 2024-05-31T06:30:00Z") from error


def _to_workout(track: _Track, number: int) -> Workout:
    times = np.array(track.times)
    timed = np.isfinite(times)
    if not timed.any():
        hint = "the points have no time; export the recorded activity, not a planned route"
        raise InvalidFile("no_time", f"track {track.number}", hint)
    kept = np.flatnonzero(timed)
    kept = kept[advancing(times[kept])]
    values = {name: np.array(column)[kept] for name, column in track.values.items()}
    t = np.round(times[kept] - times[kept[0]], 3)
    speed = values["speed"]
    if np.isfinite(speed).mean() < 0.5:
        speed = speed_from_positions(t, values["latitude"], values["longitude"])
    try:
        return Workout(
            t=t,
            speed=speed,
            altitude=_recorded(values["altitude"]),
            heart_rate=_recorded(values["heart_rate"]),
            cadence=_both_feet(values["cadence"]),
            started_at=datetime.fromtimestamp(times[kept[0]], UTC),
            sport=STRAVA_SPORTS.get(track.sport, track.sport) or "running",
            source=f"track {number}" if number > 1 else "",
            removed_samples=len(times) - len(kept),
        )
    except (ValueError, OverflowError) as error:
        raise InvalidFile("invalid_workout", f"track {track.number}", str(error)) from error


def _recorded(values: Array) -> Array | None:
    return values if np.isfinite(values).any() else None


def _both_feet(cadence: Array) -> Array | None:
    """Steps of both feet a minute, from counts that may be of one foot."""
    moving = cadence[cadence > 0]
    if not len(moving):
        return None
    return cadence * 2 if np.median(moving) < ONE_FOOT else cadence
