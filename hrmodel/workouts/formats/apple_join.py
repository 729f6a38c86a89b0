"""How a workout of an Apple Health export is put together from its route and from the records of its time.

Heart rates are single records. Speed and altitude are those of the route; where it has none, speed is that of the
distance records. Nothing is moved: the times are those of all that was recorded, each value at its own, NaN elsewhere.
"""

from array import array
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from hrmodel.workouts.errors import InvalidFile
from hrmodel.workouts.formats import apple_route
from hrmodel.workouts.formats.apple_readings import Readings, Window
from hrmodel.workouts.formats.apple_records import Records, SourceKey
from hrmodel.workouts.formats.apple_route import RecordedRoute
from hrmodel.workouts.formats.source import Source
from hrmodel.workouts.formats.sport import may_be_a_run
from hrmodel.workouts.workout import Array, Workout

MAX_LENGTH = 172_800  # s of one workout: two days
MAX_TOTAL = 100_000_000  # s of all: more than three hours a day for 20 years
ROUTE_GAP = 30.0  # s without a speed in the route, from which on the distance records tell it
STEP_SECONDS = 60  # steps counted over a longer time are no cadence


@dataclass(kw_only=True)
class Recorded:
    """One `Workout` element; its times as they are written. `locations`: unix seconds, m/s, m, and two degrees of
    each point."""

    sport: str
    start: bytes
    end: bytes
    source: SourceKey
    routes: list[str] = field(default_factory=list)  # `workout-routes/<file name>`
    locations: "array[float]" = field(default_factory=lambda: array("d"))
    pauses: list[tuple[bytes, bool]] = field(default_factory=list)  # when one begins (True) or ends


class Joiner:
    """Makes workouts. `problem`: the first route that could not be read; its workout has been made without it.

    `missing`: how many routes are not in the upload.
    """

    def __init__(self, records: Records, source: Source) -> None:
        self.problem: InvalidFile | None = None
        self.missing = 0
        self._clock = records.clock
        self._readings = Readings(records)
        self._source = source
        self._seen: set[str] = set()  # routes
        self._total = 0

    def workout(self, recorded: Recorded, label: str) -> Workout:
        """The workout; one in which nothing was recorded has only its two ends. Raises InvalidFile."""
        window = self._window(recorded, label)
        length = window.end - window.start
        route = self._route(recorded, window)
        beats, bpm = self._readings.heart_rate(window)
        measured = self._speed(window)
        seconds = _without_route(np.flatnonzero(np.isfinite(measured)), route)
        t = np.unique(np.concatenate([route.t, beats, seconds]))
        t = t[~self._paused(recorded, window, t)]
        if not len(t):
            t = np.array([0.0, length] if length else [0.0])
        speed = _at(t, route.t, route.speed)
        speed = np.where(np.isin(t, seconds), np.append(measured, np.nan)[t.astype(np.int64)], speed)
        steps = np.append(self._readings.rate("steps", window, STEP_SECONDS), np.nan)
        return Workout(
            t=t,
            speed=speed,
            altitude=_recorded(_at(t, route.t, route.altitude)),
            heart_rate=_recorded(_at(t, beats, bpm)),
            cadence=_recorded(60 * steps[t.astype(np.int64)]),
            started_at=datetime.fromtimestamp(window.start, UTC),
            sport=recorded.sport,
            source=label,
            mended=route.reasons,
        )

    def _window(self, recorded: Recorded, label: str) -> Window:
        try:
            start, end = self._clock.seconds(recorded.start), self._clock.seconds(recorded.end)
        except (KeyError, ValueError):
            raise InvalidFile(
                "bad_time", label, f"{_times(recorded)} is no time; expected 2024-05-31 06:30:00 +0200"
            ) from None
        self._total += max(end - start, 0)
        if not 0 <= end - start <= MAX_LENGTH or self._total > MAX_TOTAL:
            raise InvalidFile("bad_time", label, f"{_times(recorded)} is no time of a workout")
        return Window(start=start, end=end, source=recorded.source)

    def _route(self, recorded: Recorded, window: Window) -> RecordedRoute:
        """What the routes tell of a run, from its start. Those of other sports cost much and serve nothing."""
        names = set(recorded.routes) - self._seen if may_be_a_run(recorded.sport, self._source.said_sport) else set()
        self._seen |= names
        routes = [route for name in sorted(names) if (route := self._read(name)) is not None]
        if recorded.locations:
            routes.append(_inside(recorded))
        none = [np.empty(0)]
        t, first = np.unique(np.concatenate(none + [route.t for route in routes]), return_index=True)
        inside = (t >= window.start) & (t <= window.end)
        return RecordedRoute(
            t=t[inside] - window.start,
            speed=np.concatenate(none + [route.speed for route in routes])[first][inside],
            altitude=np.concatenate(none + [route.altitude for route in routes])[first][inside],
            reasons=tuple(reason for route in routes for reason in route.reasons),
        )

    def _read(self, name: str) -> RecordedRoute | None:
        try:
            with self._source.beside(name) as file:
                if file is not None:
                    route = apple_route.read(file)
                    if route.problem:
                        self.problem = self.problem or route.problem.inside(name)
                    return route
                self.missing += 1  # only export.xml was uploaded
        except InvalidFile as error:
            if error.code != "no_track":  # the phone also writes routes without points
                self.problem = self.problem or error.inside(name)
        return None

    def _speed(self, window: Window) -> Array:
        """(S,) m/s of each second: as the watch measured it, else by distance."""
        speed = self._readings.rate("speed", window)
        return np.where(np.isfinite(speed), speed, self._readings.rate("distance", window))

    def _paused(self, recorded: Recorded, window: Window, t: Array) -> NDArray[np.bool_]:
        """(N,): the times after a pause began and before it ended."""
        events = []
        for date, begins in recorded.pauses:
            with suppress(KeyError, ValueError):
                events.append((self._clock.seconds(date) - window.start, begins))
        bounds: list[int] = []  # a beginning, an end, a beginning ...
        for second, begins in sorted(events, key=itemgetter(0)):
            if begins == (len(bounds) % 2 == 0):
                bounds.append(second)
        before, until = np.searchsorted(bounds, t, "left"), np.searchsorted(bounds, t, "right")
        inside: NDArray[np.bool_] = (before % 2 == 1) & (until % 2 == 1)
        return inside


def _inside(recorded: Recorded) -> RecordedRoute:
    """The route that is in the workout itself."""
    return apple_route.by_position(*np.frombuffer(recorded.locations).reshape(-1, 5).T)


def _without_route(seconds: NDArray[np.int64], route: RecordedRoute) -> NDArray[np.int64]:
    """Those of the seconds that are far from each speed of the route."""
    known = np.concatenate([[-np.inf], route.t[np.isfinite(route.speed)], [np.inf]])
    after = np.searchsorted(known, seconds)
    far: NDArray[np.bool_] = (known[after] - seconds > ROUTE_GAP) & (seconds - known[after - 1] > ROUTE_GAP)
    return seconds[far]


def _at(t: Array, times: Array, values: Array) -> Array:
    """(N,): the values, whose times are among t or were left out of it, at their times; NaN elsewhere."""
    result = np.full(len(t), np.nan)
    place = np.minimum(np.searchsorted(t, times), len(t) - 1)
    same = t[place] == times
    result[place[same]] = values[same]
    return result


def _recorded(values: Array) -> Array | None:
    return values if np.isfinite(values).any() else None


def _times(recorded: Recorded) -> str:
    return f"from {recorded.start.decode(errors='replace')} to {recorded.end.decode(errors='replace')}"
