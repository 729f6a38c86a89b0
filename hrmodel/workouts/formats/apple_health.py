"""Apple Health exports: `export.xml` and the routes beside it. See `apple_join` for how a workout is made of them."""

import re
from collections.abc import Iterator

from hrmodel.workouts.errors import InvalidFile
from hrmodel.workouts.formats import apple_xml
from hrmodel.workouts.formats.apple_join import Joiner, Recorded
from hrmodel.workouts.formats.apple_records import MAX_NAME, Records, source_of
from hrmodel.workouts.formats.markup import is_markup, root_is
from hrmodel.workouts.formats.source import Source
from hrmodel.workouts.formats.sport import decided
from hrmodel.workouts.workout import Workout

ROOT = "HealthData"
BESIDE = ("workout-routes/*.gpx",)  # read together with the export
DOCTYPE = re.compile(rb"<!DOCTYPE\s+HealthData[\s\[>]")
ACTIVITY = "HKWorkoutActivityType"
ROUTE = re.compile(r"/?(workout-routes/(?!\.)[^/\\\0]{1,200})")
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
MAX_WORKOUTS = 50_000
MAX_PARTS = 200_000  # routes and pauses of all workouts


def matches(head: bytes) -> bool:
    """True for the export.xml of Apple Health, by its first bytes; its document type may fill all of them."""
    return is_markup(head) and (DOCTYPE.search(head) is not None or root_is(ROOT, head))


def read(source: Source) -> Iterator[Workout]:
    """The workouts of an export, all sports; only runs with their routes. Raises InvalidFile.

    They come once the whole file has been read, or what there is of it before its damage is told.
    """
    export = _Export()
    problem: InvalidFile | None = None
    try:
        export.feed(source)
    except InvalidFile as error:
        problem = error
    joiner = Joiner(export.records, source)
    for number, recorded in enumerate(export.workouts, 1):
        try:
            workout = joiner.workout(recorded, f"workout {number}" if len(export.workouts) > 1 else "")
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


class _Export:
    """Collects the readings and the workouts of a document."""

    def __init__(self) -> None:
        self.records = Records()
        self.workouts: list[Recorded] = []
        self._open: Recorded | None = None
        self._parts = 0

    def feed(self, source: Source) -> None:
        """Read the document. Raises InvalidFile; what comes before the damage has been collected."""
        starts = {
            "Record": self.records.add,
            "Workout": self._begin,
            "FileReference": self._add_route,
            "WorkoutEvent": self._add_event,
        }
        apple_xml.feed(source, ROOT, starts, {"Workout": self._end}, self.records.shorten)

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
        route = ROUTE.fullmatch(attributes.get("path", ""))  # whatever else it names is not beside the export
        if self._open is not None and route:
            self._open.routes.append(route[1])
            self._count_part()

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
