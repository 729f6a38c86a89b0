"""Apple Health exports: `export.xml` and the routes beside it. See `apple_join` for how a workout is made of them."""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import suppress
from types import MappingProxyType

from hrmodel.workouts.errors import InvalidFile
from hrmodel.workouts.formats import apple_xml
from hrmodel.workouts.formats.apple_join import Joiner, Recorded
from hrmodel.workouts.formats.apple_records import MAX_NAME, Records, source_of
from hrmodel.workouts.formats.markup import ElementReader
from hrmodel.workouts.formats.scalars import number
from hrmodel.workouts.formats.source import Source
from hrmodel.workouts.formats.sport import decided, may_be_a_run
from hrmodel.workouts.formats.tag_soup import recover
from hrmodel.workouts.workout import Workout

ROOT = "HealthData"
ACTIVITY = "HKWorkoutActivityType"
ROUTE = re.compile(r"(?:\./|/)?(?:[\w -]+/)*(workout-routes/(?!\.)[^/\0]{1,200})", re.IGNORECASE)
READ_AGAIN = ("broken_xml", "bad_encoding")  # by the reader of damaged documents
PAUSES = {
    "HKWorkoutEventTypePause": True,
    "HKWorkoutEventTypeMotionPaused": True,
    "HKWorkoutEventTypeResume": False,
    "HKWorkoutEventTypeMotionResumed": False,
}
NO_ROUTES = (
    "routes of runs that are not in this upload: {}; without them a run has no elevation, and only the speed of its "
    "distance records; upload the whole export.zip to have both"
)
MAX_PATH = 1000  # characters
MAX_WORKOUTS = 50_000
MAX_PARTS = 200_000  # routes and pauses of all workouts
MAX_LOCATIONS = 5_000_000  # points of routes inside workouts, 40 bytes each; the file has 1 GB then


def read(source: Source) -> Iterator[Workout]:
    """The workouts of an export, all sports; only runs with their routes. Raises InvalidFile.

    They come once the whole file has been read, or what there is of it before its damage is told.
    """
    export, problem = _export(source)
    joiner = Joiner(export.records, source)
    for place, recorded in enumerate(export.workouts, 1):
        try:
            workout = joiner.workout(recorded, f"workout {place}" if len(export.workouts) > 1 else "")
            yield decided(workout, source, steps=True)
        except InvalidFile as error:  # the other workouts are fine
            problem = problem or error
    if joiner.missing:
        source.noted(NO_ROUTES.format(joiner.missing))
    if problem := problem or joiner.problem:
        raise problem
    if not export.workouts:
        hint = "the export holds single records but no workouts; start a workout on the watch or in an app when you run"
        raise InvalidFile("no_workout", "", hint)


def _export(source: Source) -> tuple["_Export", InvalidFile | None]:
    """What a document holds, and what is wrong with it."""
    export = _Export(source)
    try:
        export.feed(source)
        return export, None
    except InvalidFile as error:
        damage = error
    if damage.code not in READ_AGAIN:
        return export, damage
    export = _Export(source)
    try:
        for _ in recover(source, _DamagedExport(export), damage):
            pass
    except InvalidFile as error:
        return export, error
    return export, None


class _Export:
    """Collects the readings and the workouts of a document."""

    def __init__(self, source: Source) -> None:
        self._said_sport = source.said_sport
        self.records = Records()
        self.workouts: list[Recorded] = []
        self.starts: apple_xml.Starts = {
            "Record": self.records.add,
            "Workout": self._begin,
            "FileReference": self._add_route,
            "Location": self._add_location,
            "WorkoutEvent": self._add_event,
        }
        self.ends: apple_xml.Ends = {"Workout": self._end}
        self._open: Recorded | None = None
        self._parts = 0
        self._locations = 0

    def feed(self, source: Source) -> None:
        """Read the document. Raises InvalidFile; what comes before the damage has been collected."""
        apple_xml.feed(source, ROOT, self.starts, self.ends, self.records.shorten)

    def _begin(self, attributes: dict[str, str]) -> None:
        activity = attributes.get("workoutActivityType", "")[:100].removeprefix(ACTIVITY)
        self._open = Recorded(
            sport=activity or "Other",
            start=attributes.get("startDate", "")[:40].encode(),
            end=attributes.get("endDate", "")[:40].encode(),
            source=source_of(attributes.get("sourceName", "")[:MAX_NAME], attributes.get("device", "")),
        )

    def _end(self) -> None:
        if self._open is None:
            return
        if len(self.workouts) >= MAX_WORKOUTS:
            raise InvalidFile("too_large", "", f"more than {MAX_WORKOUTS} workouts")
        self.workouts.append(self._open)
        self._open = None

    def _add_route(self, attributes: dict[str, str]) -> None:
        path = unicodedata.normalize("NFC", attributes.get("path", "")[:MAX_PATH])
        route = ROUTE.fullmatch(path.replace("\\", "/"))  # whatever else it names is not beside the export
        if self._open is not None and route:
            self._open.routes.append(route[1])
            self._count_part()

    def _add_location(self, attributes: dict[str, str]) -> None:
        """iOS 10 to 12 write a route's points into the workout. Only runs need them."""
        if self._open is None or not may_be_a_run(self._open.sport, self._said_sport):
            return
        self._locations += 1
        if self._locations > MAX_LOCATIONS:
            raise InvalidFile("too_large", "", f"more than {MAX_LOCATIONS} locations")
        with suppress(KeyError, ValueError):
            when = self.records.clock.seconds(attributes.get("date", "")[:40].encode())
            measured = (number(attributes.get(name, "")) for name in ("speed", "altitude", "latitude", "longitude"))
            self._open.locations.extend((float(when), *measured))

    def _add_event(self, attributes: dict[str, str]) -> None:
        """Also those in a WorkoutActivity, which is a lap: nothing in it tells another sport."""
        pause = PAUSES.get(attributes.get("type", ""))
        if self._open is not None and pause is not None:
            self._open.pauses.append((attributes.get("date", "")[:40].encode(), pause))
            self._count_part()

    def _count_part(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise InvalidFile("too_large", "", f"more than {MAX_PARTS} routes and pauses")


class _DamagedExport(ElementReader):
    """Collects what a document that is not well-formed holds. Its document type declares nothing that is read."""

    format, root = "APPLE_HEALTH", ROOT
    parents = frozenset({"Record", "Workout", "FileReference", "Location", "WorkoutEvent"})
    texts = frozenset()
    numbers = MappingProxyType({})

    def __init__(self, export: _Export) -> None:
        super().__init__()
        self._export = export

    def opened(self, name: str, attributes: Mapping[str, str]) -> None:
        self._export.starts[name](dict(attributes))

    def closed(self, name: str, text: str) -> None:
        if name in self._export.ends:
            self._export.ends[name]()

    def doctype(self, *_declared: object) -> None:
        pass
