"""Writes small GPX files in the dialects of several exporters, for tests of what reads them."""

from datetime import UTC, datetime, timedelta

GPX_1_0 = "http://www.topografix.com/GPX/1/0"
GPX_1_1 = "http://www.topografix.com/GPX/1/1"
GARMIN = "http://www.garmin.com/xmlschemas/TrackPointExtension/v2"
CLUETRUST = "http://www.cluetrust.com/XML/GPXDATA/1/0"
START = datetime(2024, 5, 1, 8, tzinfo=UTC)
METRES_PER_DEGREE = 111_194.93  # of latitude

# what stands in a point beside its time, with the numbers to fill in
DIALECTS = {
    "garmin": "<ele>{ele}</ele>{time}<extensions><ns3:TrackPointExtension><ns3:hr>{hr}</ns3:hr><ns3:cad>{cad}</ns3:cad>"
    "</ns3:TrackPointExtension></extensions>",
    "v2": "<ele>{ele}</ele>{time}<extensions><gpxtpx:TrackPointExtension><gpxtpx:hr>{hr}</gpxtpx:hr>"
    "<gpxtpx:cad>{cad}</gpxtpx:cad><gpxtpx:speed>{speed}</gpxtpx:speed></gpxtpx:TrackPointExtension></extensions>",
    "cluetrust": "<ele>{ele}</ele>{time}<extensions><gpxdata:hr>{hr}</gpxdata:hr><gpxdata:cadence>{cad}</gpxdata:cadence>"
    "<gpxdata:speed>{speed}</gpxdata:speed></extensions>",
    "apple": "<ele>{ele}</ele>{time}<extensions><speed>{speed}</speed><course>0.0</course></extensions>",
    "bare": "<ele>{ele}</ele>{time}<extensions><hr>{hr}</hr><cadence>{cad}</cadence></extensions>",
    "bpm": "<ele>{ele}</ele>{time}<extensions><bpm>{hr}</bpm></extensions>",
    "heartrate": "<ele>{ele}</ele>{time}<extensions><heartrate>{hr}</heartrate></extensions>",
    "nested": "<ele>{ele}</ele>{time}<extensions><heartRateBpm><value>{hr}</value></heartRateBpm>"
    "<RunCadence>{cad}</RunCadence></extensions>",
    "gpx 1.0": "<ele>{ele}</ele>{time}<course>0.0</course><speed>{speed}</speed><extensions><hr>{hr}</hr></extensions>",
}


def point(dialect: str, second: float) -> str:
    """A point of a run north at 3 m/s (its recorded speed is 3.1), a beat a second faster until 150 bpm."""
    when = (START + timedelta(seconds=second)).isoformat().replace("+00:00", "Z")
    latitude = 45 + 3.0 * second / METRES_PER_DEGREE
    values = {"ele": 100 + second / 10, "hr": min(120 + int(second), 150), "cad": 85, "speed": 3.1}
    inner = DIALECTS[dialect].format(time=f"<time>{when}</time>", **values)
    return f'<trkpt lat="{latitude:.9f}" lon="7.0">{inner}</trkpt>'


def write(dialect: str = "garmin", *, tracks: int = 1, points: int = 60, sport: str = "running") -> bytes:
    """Tracks a day apart, each with two segments that a pause of 100 s divides."""
    version, namespace = ("1.0", GPX_1_0) if dialect == "gpx 1.0" else ("1.1", GPX_1_1)
    declared = f'xmlns="{namespace}" xmlns:ns3="{GARMIN}" xmlns:gpxtpx="{GARMIN}" xmlns:gpxdata="{CLUETRUST}"'
    body = ""
    for day in range(tracks):
        seconds = [86_400 * day + i + (100 if i >= points // 2 else 0) for i in range(points)]
        halves = seconds[: points // 2], seconds[points // 2 :]
        segments = "".join(f"<trkseg>{''.join(point(dialect, s) for s in half)}</trkseg>" for half in halves)
        body += f"<trk><name>A run</name><type>{sport}</type>{segments}</trk>"
    metadata = "<metadata><time>2024-01-01T00:00:00Z</time></metadata>" if version == "1.1" else ""
    head = '<?xml version="1.0" encoding="UTF-8"?>'
    return f'{head}<gpx version="{version}" creator="tests" {declared}>{metadata}{body}</gpx>'.encode()
