"""TCX (Garmin's TrainingCenterDatabase v2): one workout per `Activity`, its laps and tracks in one.

A pause is a new `Track` or just a gap between two points: both leave a gap in time. Speed is TPX's, else from the
distance so far, else from positions, which are not kept.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from hrmodel.workouts.formats.markup import MAX_TEXT, number, root_is
from hrmodel.workouts.formats.tracks import Track, TrackReader, read_tracks
from hrmodel.workouts.units import Units
from hrmodel.workouts.workout import Workout

ROOT = "TrainingCenterDatabase"
POINT_VALUES = {
    "LatitudeDegrees": "latitude",
    "LongitudeDegrees": "longitude",
    "AltitudeMeters": "altitude",
    "DistanceMeters": "distance",
    "Speed": "speed",
}


def matches(head: bytes) -> bool:
    """True for a TCX document, by its first bytes."""
    return root_is(ROOT, head)


def read(path: Path, _units: Units | None = None) -> Iterator[Workout]:
    """One workout per activity with points. Raises InvalidFile."""
    return read_tracks(path, _TcxReader())


class _TcxReader(TrackReader):
    format, root = "TCX", ROOT
    noun, track, point, time = "activity", "Activity", "Trackpoint", "Time"
    parents = frozenset({"Activity", "Trackpoint"})
    texts = frozenset({*POINT_VALUES, "Time", "Value", "Cadence", "RunCadence"})

    def opened(self, name: str, attributes: Mapping[str, str]) -> None:
        if name == "Activity":
            self.begin_track(attributes.get("Sport", "").strip()[:MAX_TEXT].lower())
        elif self.open_track is not None:
            self.open_point = {}

    def value(self, track: Track, point: dict[str, float], name: str, text: str) -> None:
        if name in POINT_VALUES:
            point.setdefault(POINT_VALUES[name], number(text))
        elif name == "RunCadence":
            point["cadence"] = number(text)
        elif name == "Cadence":
            if track.sport != "biking":  # there it counts turns of the crank
                point.setdefault("cadence", number(text))
        elif self.path[-1] == "HeartRateBpm":  # a Value
            point.setdefault("heart_rate", number(text))
