"""A small writer of Apple Health exports: `export.xml`, and the routes beside it."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from xml.sax.saxutils import quoteattr

WATCH = "<<HKDevice: 0x3012772a0>, name:Apple Watch, manufacturer:Apple Inc., model:Watch, hardware:Watch6,7>"
PHONE = "<<HKDevice: 0x3012772b0>, name:iPhone, manufacturer:Apple Inc., model:iPhone, hardware:iPhone14,5>"
START = datetime(2024, 5, 31, 6, 30, tzinfo=UTC)
ATTRIBUTES = "type unit value sourceName sourceVersion device creationDate startDate endDate"
ELEMENTS = [
    "HealthData",
    "ExportDate",
    "Me",
    "Record",
    "Correlation",
    "Workout",
    "WorkoutActivity",
    "WorkoutEvent",
    "WorkoutStatistics",
    "WorkoutRoute",
    "FileReference",
    "ActivitySummary",
    "ClinicalRecord",
    "Audiogram",
    "SensitivityPoint",
    "MetadataEntry",
]


def doctype() -> str:
    """As iOS 16 writes it: 7 kB, with a list that is never closed, another that begins twice, and a quote in a comment."""
    declared = "".join(
        f"<!ELEMENT {element} ANY>\n<!ATTLIST {element}\n"
        + "".join(f"  {name:30} CDATA #REQUIRED\n" for name in ATTRIBUTES.split())
        + ">\n"
        for element in ELEMENTS
    )
    broken = (
        "<!-- Note: Any Records that appear as children of a correlation aren't new: they're also \"top-level\" ]> -->\n"
        "<!ATTLIST VisionPrescription\n  brand CDATA #IMPLIED\n<!ELEMENT RightEye EMPTY>\n"
        "<!ATTLIST RightEye\n  sphere CDATA #IMPLIED\n<!ATTLIST RightEye\n  sphere CDATA #IMPLIED\n>\n"
        "  device CDATA #REQUIRED\n>\n"
    )
    return f"<!DOCTYPE HealthData [\n<!-- HealthKit Export Version: 12 -->\n{declared}{broken}]>\n"


def time(seconds: float, offset: float = 2.0) -> str:
    """So many seconds after START, in a zone so many hours from UTC."""
    zone = timezone(timedelta(hours=offset))
    return f"{(START + timedelta(seconds=seconds)).astimezone(zone):%Y-%m-%d %H:%M:%S %z}"


def tag(element: str, inside: str = "", **attributes: str) -> str:
    text = "".join(f" {name}={quoteattr(value)}" for name, value in attributes.items())
    return f" <{element}{text}>\n{inside} </{element}>\n" if inside else f" <{element}{text}/>\n"


def record(kind: str, unit: str, value: float | str, start: float, end: float | None = None, **changed: str) -> str:
    """One Record in the order of Apple's attributes. `changed`: others, or other values; `zone` is hours from UTC."""
    offset = float(changed.pop("zone", "2"))
    ended = time(start if end is None else end, offset)
    attributes = {
        "type": f"HKQuantityTypeIdentifier{kind}",
        "sourceName": "Ann’s Apple Watch",
        "sourceVersion": "10.2",
        "device": WATCH,
        "unit": unit,
        "creationDate": ended,
        "startDate": time(start, offset),
        "endDate": ended,
        "value": str(value),
    }
    motion = tag("MetadataEntry", key="HKMetadataKeyHeartRateMotionContext", value="2") if kind == "HeartRate" else ""
    return tag("Record", motion, **{**attributes, **changed})


def heart_rates(bpm: dict[float, float], **changed: str) -> str:
    """A reading at each time."""
    return "".join(record("HeartRate", "count/min", value, at, **changed) for at, value in bpm.items())


def workout(seconds: float, inside: str = "", *, start: float = 0.0, activity: str = "Running", **changed: str) -> str:
    """One Workout."""
    attributes = {
        "workoutActivityType": f"HKWorkoutActivityType{activity}",
        "duration": f"{seconds / 60:.4f}",
        "durationUnit": "min",
        "sourceName": "Ann’s Apple Watch",
        "device": WATCH,
        "startDate": time(start),
        "endDate": time(start + seconds),
    }
    return tag("Workout", tag("MetadataEntry", key="HKIndoorWorkout", value="0") + inside, **{**attributes, **changed})


def reference(path: str) -> str:
    """A WorkoutRoute."""
    return tag("WorkoutRoute", tag("FileReference", path=path), sourceName="Ann’s Apple Watch")


def event(kind: str, at: float) -> str:
    return tag("WorkoutEvent", type=f"HKWorkoutEventType{kind}", date=time(at))


def point(at: float, speed: float, altitude: float = 200.0) -> str:
    """A point of a route, heading north."""
    return (
        f'      <trkpt lon="7.000000" lat="{47 + at * 2.5e-5:.6f}"><ele>{altitude:.6f}</ele>'
        f"<time>{START + timedelta(seconds=at):%Y-%m-%dT%H:%M:%SZ}</time><extensions><speed>{speed:.6f}</speed>"
        "<course>0.000000</course><hAcc>2.618602</hAcc><vAcc>2.664512</vAcc></extensions></trkpt>\n"
    )


def route(*points: str) -> bytes:
    """A GPX file as the phone writes it."""
    head = '<?xml version="1.0" encoding="UTF-8"?>\n<gpx version="1.1" creator="Apple Health Export" '
    head += 'xmlns="http://www.topografix.com/GPX/1/1">\n  <metadata><time>2024-05-31T09:00:00Z</time></metadata>\n'
    track = f"  <trk>\n    <name>Route</name>\n    <trkseg>\n{''.join(points)}    </trkseg>\n  </trk>\n"
    return f"{head}{track}</gpx>\n".encode()


def a_run() -> str:
    """20 minutes with a pause, heart rate from watch and phone, steps, and a route called `route_1.gpx`."""
    beats = heart_rates({at: 120 + at / 60 for at in range(0, 1200, 5)})
    phone = heart_rates(dict.fromkeys(range(2, 1200, 60), 90), sourceName="Phone", device=PHONE)
    moved = "".join(
        record("DistanceWalkingRunning", "km", 0.03, at, at + 10) + record("StepCount", "count", 28, at, at + 10)
        for at in range(0, 1200, 10)
    )
    pause = event("Pause", 300) + event("Resume", 360)
    return beats + phone + moved + workout(1200, pause + reference("/workout-routes/route_1.gpx"))


def write(
    *elements: str, doctype: str = doctype(), declaration: str = '<?xml version="1.0" encoding="UTF-8"?>'
) -> bytes:
    """An export.xml of these elements; without any, of `a_run`."""
    root = '<HealthData locale="en_GB">\n' + tag("ExportDate", value=time(86_400))
    return f"{declaration}\n{doctype}{root}{''.join(elements or (a_run(),))}</HealthData>\n".encode()


def write_folder(folder: Path, export: bytes, **routes: bytes) -> Path:
    """The export as it is unpacked: the path of export.xml. `routes` by their names without `.gpx`."""
    (folder / "workout-routes").mkdir(parents=True, exist_ok=True)
    for name, content in routes.items():
        (folder / "workout-routes" / f"{name}.gpx").write_bytes(content)
    (folder / "export.xml").write_bytes(export)
    return folder / "export.xml"
