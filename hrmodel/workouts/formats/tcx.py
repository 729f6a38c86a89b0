"""TCX (Garmin's TrainingCenterDatabase v2): one workout per `Activity`, its laps and tracks in one.

A pause is a new `Track` or just a gap between two points: both leave a gap in time. Speed is TPX's, else from the
distance so far, else from positions, which are not kept.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from hrmodel.workouts.formats.scalars import number
from hrmodel.workouts.formats.source import Source
from hrmodel.workouts.formats.tracks import Track, TrackReader, read_tracks
from hrmodel.workouts.workout import Workout

ROOT = "TrainingCenterDatabase"
MAX_SPORT = 40  # characters


def read(source: Source) -> Iterator[Workout]:
    """One workout per activity with points. Raises InvalidFile."""
    return read_tracks(source, _TcxReader)


class _TcxReader(TrackReader):
    format, root = "TCX", ROOT
    noun, track, point, time = "activity", "Activity", "Trackpoint", "Time"
    planned = "Courses"
    parents = frozenset({"Activity", "Trackpoint"})
    texts = frozenset({"Time", "Value", "Cadence", "RunCadence"})
    numbers = MappingProxyType(
        {
            "LatitudeDegrees": "latitude",
            "LongitudeDegrees": "longitude",
            "AltitudeMeters": "altitude",
            "DistanceMeters": "distance",
            "Speed": "speed",
            **dict.fromkeys(("HeartRateBpm", "HeartRateBPM"), "heart_rate"),  # of some without a Value in it
        }
    )

    def opened(self, name: str, attributes: Mapping[str, str]) -> None:
        if name == "Activity":
            self.begin_track(attributes.get("Sport", "").strip()[:MAX_SPORT])
        else:
            self.begin_point({})

    def fact(self, track: Track, name: str, text: str) -> None:
        point = self.values
        if point is None:
            return
        if name == "RunCadence":
            point["cadence"] = number(text)
        elif name == "Cadence":
            point.setdefault("cadence", number(text))
        elif self.path[-1] == "HeartRateBpm":  # a Value
            point.setdefault("heart_rate", number(text))
