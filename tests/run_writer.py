"""One made-up run as points, and its file in GPX, TCX and FIT: what the grid of damaged files is made of."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from tests.fit_writer import FitWriter

START = datetime(2024, 5, 4, 6, 30, tzinfo=UTC)
FIT_EPOCH = datetime(1989, 12, 31, tzinfo=UTC)
METRES_PER_DEGREE = 111_194.93  # of latitude
STEP_SECONDS = 2
POINTS = 601  # 20 minutes


@dataclass(frozen=True, kw_only=True)
class Point:
    """One record. `time` None: the element is empty. Fields that are None are not written."""

    time: datetime | None
    latitude: float | None = None
    altitude: float | None = None
    heart_rate: int | None = None
    cadence: int | None = None
    distance: float | None = None
    speed: float | None = None
    time_text: str | None = None  # in place of the time, in XML


def run(points: int = POINTS, start: datetime = START, speed: float = 2.8) -> list[Point]:
    """A run north with a slow change of pace; the heart rate rises for five minutes and follows the pace."""
    made, distance = [], 0.0
    for i in range(points):
        second = i * STEP_SECONDS
        now = speed * (1 + 0.08 * math.sin(second / 90))
        made.append(
            Point(
                time=start + timedelta(seconds=second),
                latitude=47 + distance / METRES_PER_DEGREE,
                altitude=120 + 5 * math.sin(second / 200),
                heart_rate=round(160 - 55 * math.exp(-second / 100) + 6 * math.sin(second / 90)),
                cadence=84,
                distance=round(distance, 1),
            )
        )
        distance += now * STEP_SECONDS
    return made


def mean_heart_rate(points: Sequence[Point]) -> float:
    """Of the points that have one, bpm."""
    rates = [point.heart_rate for point in points if point.heart_rate is not None]
    return sum(rates) / len(rates)


def iso(time: datetime) -> str:
    """As files write it: year 1 too."""
    return time.strftime(f"{time.year:04d}-%m-%dT%H:%M:%SZ")


def gpx(points: Sequence[Point], *, name: str = "Morning Run", sport: str | None = "running", tracks: int = 1) -> bytes:
    """The points in one or several tracks of about the same length."""
    size = -(-len(points) // tracks)
    parts = [points[i : i + size] for i in range(0, len(points), size)]
    type_ = "" if sport is None else f"<type>{sport}</type>"
    body = "\n".join(
        f"<trk><name>{name}</name>{type_}<trkseg>\n{chr(10).join(map(_trkpt, part))}\n</trkseg></trk>" for part in parts
    )
    declared = (
        'xmlns="http://www.topografix.com/GPX/1/1" xmlns:g="http://www.garmin.com/xmlschemas/TrackPointExtension/v1"'
    )
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<gpx version="1.1" creator="tests" {declared}>\n{body}\n</gpx>\n'.encode()


def tcx(points: Sequence[Point], *, name: str = "Morning Run", sport: str | None = "Running", tracks: int = 1) -> bytes:
    """The points in one or several activities of about the same length; the name goes into the notes."""
    size = -(-len(points) // tracks)
    activities = []
    for part in (points[i : i + size] for i in range(0, len(points), size)):
        begin = next((iso(point.time) for point in part if point.time), "")
        inner = "\n".join(map(_trackpoint, part))
        activities.append(
            f'<Activity Sport="{"Other" if sport is None else sport}"><Id>{begin}</Id><Lap StartTime="{begin}"><Track>\n'
            f"{inner}\n</Track></Lap><Notes>{name}</Notes></Activity>"
        )
    namespace = "http://www.garmin.com/xmlschemas/TrainingCenterDatabase/v2"
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<TrainingCenterDatabase xmlns="{namespace}">\n<Activities>'
        f"{''.join(activities)}</Activities>\n</TrainingCenterDatabase>\n"
    ).encode()


def fit(points: Sequence[Point], *, name: str = "", sport: int | None = 1, tracks: int = 1) -> bytes:
    """The records, and a session over the true time of the run."""
    assert tracks == 1, name
    writer = FitWriter()
    writer.add("file_id", type=4, manufacturer=1)
    for point in points:
        writer.add(
            "record", local=3, timestamp=None if point.time is None else _fit_time(point.time), **_measured(point)
        )
    end = _fit_time(START) + STEP_SECONDS * (POINTS - 1)
    times = {"timestamp": end, "start_time": _fit_time(START), "total_elapsed_time": end - _fit_time(START)}
    if sport is not None:
        writer.add("session", local=4, sport=sport, sub_sport=0, **times)
    return writer.to_bytes()


WRITERS: dict[str, Callable[..., bytes]] = {"gpx": gpx, "tcx": tcx, "fit": fit}


def moved(points: Sequence[Point], first: int, count: int, by: timedelta) -> list[Point]:
    """The same points, the clock of some of them changed."""
    chosen = range(first, first + count)
    return [
        replace(point, time=point.time + by) if i in chosen and point.time else point for i, point in enumerate(points)
    ]


def _fit_time(time: datetime) -> int:
    return round((time - FIT_EPOCH).total_seconds())


def _measured(point: Point) -> dict[str, float]:
    place = (
        {}
        if point.latitude is None
        else {"position_lat": point.latitude, "position_long": 8.0 if point.latitude else 0.0}
    )
    values = {
        "enhanced_altitude": point.altitude,
        "heart_rate": point.heart_rate,
        "cadence": point.cadence,
        "distance": point.distance,
        "enhanced_speed": point.speed,
    }
    return place | {name: value for name, value in values.items() if value is not None}


def _time(point: Point, tag: str) -> str:
    text = point.time_text if point.time_text is not None else iso(point.time) if point.time else ""
    return f"<{tag}>{text}</{tag}>"


def _trkpt(point: Point) -> str:
    inner = "" if point.altitude is None else f"<ele>{point.altitude:.1f}</ele>"
    inner += _time(point, "time")
    extra = "" if point.speed is None else f"<g:speed>{point.speed:.3f}</g:speed>"
    extra += "" if point.heart_rate is None else f"<g:hr>{point.heart_rate}</g:hr>"
    extra += "" if point.cadence is None else f"<g:cad>{point.cadence}</g:cad>"
    if extra:
        inner += f"<extensions><g:TrackPointExtension>{extra}</g:TrackPointExtension></extensions>"
    longitude = 8.0 if point.latitude else 0.0
    return f'<trkpt lat="{point.latitude or 0.0:.7f}" lon="{longitude}">{inner}</trkpt>'


def _trackpoint(point: Point) -> str:
    inner = _time(point, "Time")
    if point.latitude is not None:
        longitude = 8.0 if point.latitude else 0.0
        inner += f"<Position><LatitudeDegrees>{point.latitude:.7f}</LatitudeDegrees>"
        inner += f"<LongitudeDegrees>{longitude}</LongitudeDegrees></Position>"
    inner += "" if point.altitude is None else f"<AltitudeMeters>{point.altitude:.1f}</AltitudeMeters>"
    inner += "" if point.distance is None else f"<DistanceMeters>{point.distance:.6g}</DistanceMeters>"
    inner += "" if point.heart_rate is None else f"<HeartRateBpm><Value>{point.heart_rate}</Value></HeartRateBpm>"
    if point.speed is not None:
        inner += f"<Extensions><TPX><Speed>{point.speed:.3f}</Speed></TPX></Extensions>"
    return f"<Trackpoint>{inner}</Trackpoint>"
