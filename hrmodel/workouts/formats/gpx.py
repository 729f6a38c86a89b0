"""GPX 1.0 and 1.1 tracks with the extensions of many makers: one workout per `trk`, its segments in one.

Positions serve to derive speed and are not kept.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from hrmodel.workouts.formats.scalars import number
from hrmodel.workouts.formats.source import Source
from hrmodel.workouts.formats.tracks import Track, TrackReader, read_tracks
from hrmodel.workouts.workout import Workout

MAX_WORDS = 200  # characters of a sport or a name
# extensions differ in namespace, prefix and nesting, hardly in these names
POINT_VALUES = {
    "ele": "altitude",
    "speed": "speed",
    **dict.fromkeys(("hr", "Hr", "HR", "heartrate", "heartRate", "HeartRate", "Heartrate", "heart_rate"), "heart_rate"),
    **dict.fromkeys(("heart-rate", "hrm", "pulse"), "heart_rate"),
    **dict.fromkeys(("bpm", "heartRateBpm", "HeartRateBpm", "heartratebpm"), "heart_rate"),
    **dict.fromkeys(("cad", "cadence", "Cadence", "RunCadence", "runCadence", "runcadence"), "cadence"),
}


def read(source: Source) -> Iterator[Workout]:
    """One workout per track with points. Raises InvalidFile."""
    return read_tracks(source, _GpxReader)


class _GpxReader(TrackReader):
    format, root = "GPX", "gpx"
    noun, track, point, time = "track", "trk", "trkpt", "time"
    parents = frozenset({"trk", "trkpt"})
    texts = frozenset({"time", "type", "name"})
    numbers = MappingProxyType(POINT_VALUES)

    def opened(self, name: str, attributes: Mapping[str, str]) -> None:
        if name == "trk":
            self.begin_track()
        else:
            place = {"latitude": number(attributes.get("lat", "")), "longitude": number(attributes.get("lon", ""))}
            self.begin_point(place)

    def fact(self, track: Track, name: str, text: str) -> None:
        if self.path[-1] == "trk":
            if name == "type":
                track.sport = text[:MAX_WORDS]
            elif name == "name":
                track.name = text[:MAX_WORDS]
