"""GPX 1.1 tracks with Garmin's TrackPointExtension (v1, v2) or a plain `speed`: one workout per `trk`.

Positions serve to derive speed and are not kept.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from hrmodel.workouts.formats.markup import number, root_is
from hrmodel.workouts.formats.tracks import Track, TrackReader, read_tracks
from hrmodel.workouts.units import Units
from hrmodel.workouts.workout import Workout

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


def matches(head: bytes) -> bool:
    """True for a GPX document, by its first bytes."""
    return root_is("gpx", head)


def read(path: Path, _units: Units | None = None) -> Iterator[Workout]:
    """One workout per track with points. Raises InvalidFile."""
    return read_tracks(path, _GpxReader())


class _GpxReader(TrackReader):
    format, root = "GPX", "gpx"
    noun, track, point, time = "track", "trk", "trkpt", "time"
    parents = frozenset({"trk", "trkpt"})
    texts = frozenset({*POINT_VALUES, "time", "type"})

    def opened(self, name: str, attributes: Mapping[str, str]) -> None:
        if name == "trk":
            self.begin_track()
        elif self.open_track is not None:
            self.open_point = {"latitude": number(attributes.get("lat")), "longitude": number(attributes.get("lon"))}

    def value(self, track: Track, point: dict[str, float], name: str, text: str) -> None:
        if name in POINT_VALUES:
            point.setdefault(POINT_VALUES[name], number(text))

    def fact(self, track: Track, name: str, text: str) -> None:
        if name == "type" and self.path[-1] == "trk":
            track.sport = STRAVA_SPORTS.get(text, text.lower())
