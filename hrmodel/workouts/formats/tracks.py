"""Recorded points in XML (GPX, TCX), collected track by track, and how a track becomes a workout."""

import math
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar

import numpy as np

from hrmodel.workouts.errors import InvalidFile
from hrmodel.workouts.formats import timeline
from hrmodel.workouts.formats.markup import ElementReader, feed
from hrmodel.workouts.formats.source import Source
from hrmodel.workouts.formats.speeds import Told, running_speed
from hrmodel.workouts.formats.sport import decided
from hrmodel.workouts.formats.tag_soup import recover
from hrmodel.workouts.reasons import Reason
from hrmodel.workouts.units import Units
from hrmodel.workouts.workout import CHANNELS, Array, Workout

MAX_POINTS = 150_000  # of one track: 41 hours at one a second; as many take 2 to 4 s to read
MAX_FILE_POINTS = 3_000_000  # of the tracks before one: 830 hours at one a second, in some 40 s
MAX_TRACKS = 10_000
MAX_VALUE = 1e12  # in any unit
COLUMNS = ("latitude", "longitude", "distance", *CHANNELS)


@dataclass(kw_only=True)
class Track:
    """The points of one recording, as they come. `label` is its place in the file.

    `removed` and `reasons`: what was left out or mended before. `bad_time`: the first time that is none, and its point.
    """

    label: str
    sport: str = ""  # as recorded; empty when it was not
    name: str = ""
    removed: int = 0
    reasons: tuple[Reason, ...] = ()
    bad_time: tuple[str, int] | None = None
    times: "array[float]" = field(default_factory=lambda: array("d"))  # unix seconds, NaN without a time
    values: "dict[str, array[float]]" = field(default_factory=lambda: {name: array("d") for name in COLUMNS})

    def add(self, point: dict[str, float]) -> None:
        """A point: any of `time` and COLUMNS. Raises InvalidFile when there are too many."""
        if len(self.times) >= MAX_POINTS:
            raise InvalidFile("too_large", self.label, f"more than {MAX_POINTS} points")
        value, nan = point.get, math.nan
        self.times.append(value("time", nan))
        for channel, values in self.values.items():
            values.append(value(channel, nan))


class TrackReader(ElementReader):
    """Collects the points of each track; `numbers` go into COLUMNS of the open point."""

    noun: ClassVar[str]  # what the format calls a track
    track: ClassVar[str]
    point: ClassVar[str]
    time: ClassVar[str]
    planned: ClassVar[str] = ""  # the element whose points are planned, not recorded

    def __init__(self) -> None:
        super().__init__()
        self.open_track: Track | None = None
        self._tracks = 0
        self._points = 0  # of the tracks that were completed
        self._ready: list[Track] = []
        self._last: Track | None = None  # that was completed

    def fact(self, track: Track, name: str, text: str) -> None:
        """Note what an element of `texts` in a track tells, inside a point or not."""

    def begin_track(self, sport: str = "") -> None:
        """A track begins, unless one is open."""
        if self.open_track is not None and self.track not in self.path[:-1]:
            self.finished()  # whose beginning was missing
        if self.open_track is None:
            self._tracks += 1
            if self._points > MAX_FILE_POINTS or self._tracks > MAX_TRACKS:
                hint = f"more than {MAX_TRACKS} tracks or {MAX_FILE_POINTS} points before it; export less at a time"
                raise InvalidFile("too_large", f"{self.noun} {self._tracks}", hint)
            self.open_track = Track(label=f"{self.noun} {self._tracks}", sport=sport)

    def begin_point(self, values: dict[str, float]) -> None:
        """A point of the open track begins with these; behind a track that a stray tag has closed, of one more."""
        if self.open_track is None and self._last is not None and self.planned not in self.path:
            self._resume(self._last)
        if self.open_track is not None:
            self.values = values

    def _resume(self, last: Track) -> None:
        self.begin_track(last.sport)
        if self.open_track is not None:
            self.open_track.name = last.name

    def finished(self) -> None:
        """The open track, if any, goes to those that are ready."""
        if self.open_track is not None:
            self._ready.append(self.open_track)
            self._points += len(self.open_track.times)
            self._last, self.open_track = self.open_track, None

    def take(self) -> list[Track]:
        """The tracks that were completed since the last call."""
        ready, self._ready = self._ready, []
        return ready

    def closed(self, name: str, text: str) -> None:
        """A time goes into the open point, a point into the open track, a track to those that are ready."""
        track, point = self.open_track, self.values
        if track is None:
            return
        if point is None:
            if name == self.track:
                self.finished()
            else:
                self.fact(track, name, text)
        elif name == self.point:
            track.add(point)
            self.values = None
        elif name != self.time:
            self.fact(track, name, text)
        elif self.path[-1] == self.point:
            point["time"] = timeline.instant(text)
            if math.isnan(point["time"]) and text and track.bad_time is None:
                track.bad_time = text, len(track.times) + 1


def read_tracks(source: Source, reader: type[TrackReader]) -> Iterator[Workout]:
    """One workout per track with points. Raises InvalidFile, when the readable tracks have been handed over."""
    found, problem = 0, None
    for track in _tracks(source, reader):
        if isinstance(track, InvalidFile):
            problem = problem or track
        elif track.times:
            found += 1
            try:
                workout = to_workout(track, f"{reader.noun} {found}" if found > 1 else "", source.units)
                yield decided(workout, source, name=track.name)
            except InvalidFile as error:
                problem = problem or error
    if problem is not None:
        raise problem
    if not found:
        hint = "it holds no track points; export the recorded activity, not a route"
        raise InvalidFile("no_track", "", hint)


def _tracks(source: Source, reader: type[TrackReader]) -> Iterator[Track | InvalidFile]:
    """The tracks, and last what is damaged. Where the strict parser stops, the tolerant one begins again."""
    handed, again, damage = 0, 0, None
    strict = reader()
    for one in _collected(strict, feed(source, strict)):
        if isinstance(one, InvalidFile):
            damage = one
        else:
            handed += 1
            yield one
    if damage is None:
        return
    if damage.code not in ("broken_xml", f"not_{reader.format.lower()}"):
        yield damage
        return
    tolerant = reader()
    for one in _collected(tolerant, recover(source, tolerant, damage)):
        again += isinstance(one, Track)
        if (isinstance(one, Track) and again > handed) or (
            isinstance(one, InvalidFile) and (again or one.code != "broken_xml")
        ):
            yield one
    if not again:
        yield damage


def _collected(reader: TrackReader, feeding: Iterator[None]) -> Iterator[Track | InvalidFile]:
    """The complete tracks, and last what ended the reading too early."""
    try:
        for _ in feeding:
            yield from reader.take()
    except InvalidFile as error:
        yield from reader.take()
        yield error


def to_workout(track: Track, source: str, units: Units | None = None) -> Workout:
    """A track's points on one timeline, with its sport and cadence as recorded; `source` is its place in the file.

    Raises InvalidFile.

    `units`: of its altitude, and of its device's speed where nothing else in the track tells them.
    """
    values = {name: _measured(np.array(column)) for name, column in track.values.items()}
    series = timeline.build(np.array(track.times), values)
    if not len(series.times):
        raise _without_times(track)
    t, values = np.round(series.times - series.times[0], 3), series.columns
    told = Told(t=t, **{name: values[name] for name in ("speed", "distance", "latitude", "longitude")})
    speed, reasons = running_speed(told, units)
    if units is not None:
        values = {**values, "altitude": units.altitude_in_metres(values["altitude"])}
    channels: dict[str, Any] = {name: _recorded(values[name]) for name in CHANNELS} | {"speed": speed}
    try:
        return Workout(
            t=t,
            **channels,
            started_at=datetime.fromtimestamp(series.times[0], UTC),
            sport=track.sport,
            source=source,
            removed_samples=track.removed + series.removed,
            mended=(*track.reasons, *series.reasons, *reasons),
        )
    except (ValueError, OverflowError, OSError) as error:
        raise InvalidFile("invalid_workout", track.label, str(error)) from error


def _without_times(track: Track) -> InvalidFile:
    if track.bad_time is not None:
        text, point = track.bad_time
        hint = f"{text[:40]!r} is no time; expected 2024-05-31T06:30:00Z"
        return InvalidFile("bad_time", f"{track.label}, point {point}", hint)
    hint = "the points have no time; export the recorded activity, not a planned route"
    return InvalidFile("no_time", track.label, hint)


def _measured(values: Array) -> Array:
    """Without what is beyond every sensor, whose multiples would overflow."""
    return np.where(np.abs(values) <= MAX_VALUE, values, np.nan)


def _recorded(values: Array) -> Array | None:
    return values if np.isfinite(values).any() else None
