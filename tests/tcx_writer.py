"""Writes small TCX files as Garmin Connect does, for tests of what reads them."""

from datetime import UTC, datetime, timedelta

NAMESPACE = "http://www.garmin.com/xmlschemas/TrainingCenterDatabase/v2"
EXTENSION = "http://www.garmin.com/xmlschemas/ActivityExtension/v2"
START = datetime(2024, 5, 1, 8, tzinfo=UTC)
METRES_PER_DEGREE = 111_194.93  # of latitude


def point(second: float) -> str:
    """A point of a run north at 3 m/s, a beat a second faster until 150 bpm."""
    when = (START + timedelta(seconds=second)).isoformat().replace("+00:00", "Z")
    latitude = 45 + 3.0 * second / METRES_PER_DEGREE
    place = f"<LatitudeDegrees>{latitude:.9f}</LatitudeDegrees><LongitudeDegrees>7.0</LongitudeDegrees>"
    return (
        f"<Trackpoint><Time>{when}</Time><Position>{place}</Position>"
        f"<AltitudeMeters>{100 + second / 10}</AltitudeMeters><DistanceMeters>{3 * second}</DistanceMeters>"
        f"<HeartRateBpm><Value>{min(120 + int(second), 150)}</Value></HeartRateBpm>"
        "<Extensions><ns3:TPX><ns3:Speed>3.0</ns3:Speed><ns3:RunCadence>85</ns3:RunCadence></ns3:TPX></Extensions>"
        "</Trackpoint>"
    )


def write(*, activities: int = 1, laps: int = 2, points: int = 30, sport: str = "Running") -> bytes:
    """Activities a day apart; between laps of `points` seconds each is a pause of 100 s."""
    body = ""
    for day in range(activities):
        starts = [86_400 * day + lap * (points + 100) for lap in range(laps)]
        tracks = (f"<Track>{''.join(point(start + i) for i in range(points))}</Track>" for start in starts)
        inner = "".join(f'<Lap StartTime="2024-05-01T08:00:00Z"><Cadence>80</Cadence>{track}</Lap>' for track in tracks)
        body += f'<Activity Sport="{sport}"><Id>2024-05-01T08:00:00Z</Id>{inner}</Activity>'
    declared = f'xmlns="{NAMESPACE}" xmlns:ns3="{EXTENSION}"'
    head = '<?xml version="1.0" encoding="UTF-8"?>'
    document = f"<TrainingCenterDatabase {declared}><Activities>{body}</Activities></TrainingCenterDatabase>"
    return (head + document).encode()
