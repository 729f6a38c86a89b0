"""Writes an Apple Health export as a phone does: a zip of `export.xml`, most of it no heart rate, and of routes.

python benchmarks/apple_export.py export.zip --megabytes 87 [--routes all|none]

`--megabytes` is the size of export.xml; the routes come on top. The same arguments give the same bytes. Nothing is held
in memory: a gigabyte is written day by day.
"""

import argparse
import io
import itertools
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO

import numpy as np

FIRST_DAY = datetime(2015, 1, 1, tzinfo=UTC)
FOLDER = "apple_health_export"
RUN_SECONDS = 45 * 60
RECORD = "sourceName sourceVersion device creationDate startDate endDate"
# what the document type of a real export declares, shortened; what matters is that it is longer than 4 KB
DECLARED = {
    "HealthData": "locale",
    "ExportDate": "value",
    "Me": "DateOfBirth BiologicalSex BloodType FitzpatrickSkinType CardioFitnessMedicationsUse",
    "Record": f"type unit value {RECORD}",
    "Correlation": f"type {RECORD}",
    "Workout": f"workoutActivityType duration durationUnit totalDistance totalDistanceUnit {RECORD}",
    "WorkoutActivity": "uuid startDate endDate duration durationUnit",
    "WorkoutEvent": "type date duration durationUnit",
    "WorkoutStatistics": "type startDate endDate average minimum maximum sum unit",
    "WorkoutRoute": RECORD,
    "FileReference": "path",
    "ActivitySummary": "dateComponents activeEnergyBurned activeEnergyBurnedGoal activeEnergyBurnedUnit",
    "ClinicalRecord": "type identifier sourceName sourceURL fhirVersion receivedDate resourceFilePath",
    "Audiogram": f"type {RECORD}",
    "SensitivityPoint": "frequencyValue frequencyUnit leftEarValue leftEarUnit rightEarValue rightEarUnit",
    "VisionPrescription": "type dateIssued expirationDate brand",
    "RightEye": "sphere sphereUnit cylinder cylinderUnit axis axisUnit add addUnit vertex vertexUnit base baseUnit",
    "LeftEye": "sphere sphereUnit cylinder cylinderUnit axis axisUnit add addUnit vertex vertexUnit base baseUnit",
    "MetadataEntry": "key value",
    "InstantaneousBeatsPerMinute": "bpm time",
}


def write_export(target: Path, megabytes: float, *, routes: bool = True) -> int:
    """Write the zip at `target`; export.xml has about so many MB (10^6 bytes). Returns the number of workouts."""
    days = max(1, round(megabytes * 1e6 / _bytes_a_day()))
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open(_entry(f"{FOLDER}/export.xml"), "w", force_zip64=True) as file:
            _write_xml(file, days)
        for day in filter(_runs, range(days) if routes else ()):
            with archive.open(_entry(f"{FOLDER}/{_route_path(day)}"), "w") as file:
                file.write(_route(day).encode())
    return sum(map(_runs, range(days)))


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)  # of 1980: the time of writing would change the bytes
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry


def _bytes_a_day() -> float:
    """Of export.xml, from two weeks."""
    both = [io.BytesIO(), io.BytesIO()]
    for file, days in zip(both, (0, 14), strict=True):
        _write_xml(file, days)
    return (both[1].tell() - both[0].tell()) / 14


def _write_xml(file: IO[bytes], days: int) -> None:
    """Type by type over all days, as the phone writes it; workouts after the records."""
    file.write(_doctype().encode())
    file.write(b'<HealthData locale="en_GB">\n <ExportDate value="2024-06-01 08:10:05 +0200"/>\n')
    for part in (_heart_rate, _steps, _distance, _energy, _basal_energy, _workout):
        for day in range(days):
            file.write("".join(part(day)).encode())
    file.write(b"</HealthData>\n")


def _doctype() -> str:
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        "<!DOCTYPE HealthData [",
        "<!-- HealthKit Export Version: 13 -->",
    ]
    for element, attributes in DECLARED.items():
        lines += [f"<!ELEMENT {element} ANY>", f"<!ATTLIST {element}"]
        lines += [f"  {name:30} CDATA #IMPLIED" for name in attributes.split()] + [">"]
    return "\n".join([*lines, "]>", ""])


def _heart_rate(day: int) -> Iterator[str]:
    rng, start = _random(day, 1), _midnight(day)
    resting = (start + timedelta(seconds=300 * i + int(rng.integers(60))) for i in range(288))
    for at, bpm in zip(resting, rng.integers(48, 90, 288), strict=True):
        yield _record("HeartRate", "count/min", str(bpm), at, at, motion="1")
    if _runs(day):
        seconds = np.cumsum(rng.integers(4, 7, RUN_SECONDS // 5))
        for second in seconds[seconds < RUN_SECONDS]:
            at = _run_start(day) + timedelta(seconds=int(second))
            yield _record("HeartRate", "count/min", str(int(130 + 25 * np.sin(second / 500))), at, at, motion="2")


def _steps(day: int) -> Iterator[str]:
    yield from _counts(day, 2, "StepCount", "count", 120, lambda value: str(int(100 * value)), phone=True)
    yield from _counts(day, 3, "StepCount", "count", 160, lambda value: str(int(100 * value)))


def _distance(day: int) -> Iterator[str]:
    name = "DistanceWalkingRunning"
    yield from _counts(day, 4, name, "km", 120, lambda value: f"{value / 20:.6g}", phone=True)
    if _runs(day):
        for second in range(0, RUN_SECONDS, 10):
            at = _run_start(day) + timedelta(seconds=second)
            yield _record(name, "km", f"{0.028 + 0.002 * np.sin(second / 90):.6g}", at, at + timedelta(seconds=10))


def _energy(day: int) -> Iterator[str]:
    yield from _counts(day, 5, "ActiveEnergyBurned", "kcal", 450, lambda value: f"{value:.4g}")


def _basal_energy(day: int) -> Iterator[str]:
    yield from _counts(day, 6, "BasalEnergyBurned", "kcal", 200, lambda value: f"{10 * value:.4g}")


def _counts(day, kind, name, unit, number, show, *, phone=False) -> Iterator[str]:
    rng, start = _random(day, kind), _midnight(day)
    step = 86_400 // number
    for i, value in enumerate(rng.random(number)):
        at = start + timedelta(seconds=i * step)
        yield _record(name, unit, show(value), at, at + timedelta(seconds=step - 7), phone=phone)


def _record(name, unit, value, start, end, *, phone=False, motion="") -> str:
    source = (
        'sourceName="iPhone" sourceVersion="17.2.1"'
        if phone
        else 'sourceName="Alex’s Apple Watch" sourceVersion="10.2"'
    )
    head = f' <Record type="HKQuantityTypeIdentifier{name}" {source} device="{_device(start, phone)}" unit="{unit}" '
    dates = f'creationDate="{_time(end)}" startDate="{_time(start)}" endDate="{_time(end)}" value="{value}"'
    if not motion:
        return f"{head}{dates}/>\n"
    entry = f'  <MetadataEntry key="HKMetadataKeyHeartRateMotionContext" value="{motion}"/>\n'
    return f"{head}{dates}>\n{entry} </Record>\n"


def _device(at: datetime, phone: bool) -> str:
    """With the address of an object of the phone, which differs from record to record."""
    model = ("iPhone", "iPhone14,5", "17.2.1") if phone else ("Watch", "Watch6,7", "10.2")
    name = "iPhone" if phone else "Apple Watch"
    address = f"0x{0x280000000 + int(at.timestamp()) // 60 % 65_536 * 16:x}"
    facts = f"manufacturer:Apple Inc., model:{model[0]}, hardware:{model[1]}, software:{model[2]}"
    return f"&lt;&lt;HKDevice: {address}&gt;, name:{name}, {facts}&gt;"


def _workout(day: int) -> Iterator[str]:
    if not _runs(day):
        return
    start, end = _run_start(day), _run_start(day) + timedelta(seconds=RUN_SECONDS)
    dates = f'startDate="{_time(start)}" endDate="{_time(end)}"'
    source = f'sourceName="Alex’s Apple Watch" sourceVersion="10.2" device="{_device(start, False)}"'
    yield f' <Workout workoutActivityType="HKWorkoutActivityTypeRunning" duration="45" durationUnit="min" {source} '
    yield f'creationDate="{_time(end)}" {dates}>\n'
    for key, value in (("HKIndoorWorkout", "0"), ("HKTimeZone", "Europe/Paris")):
        yield f'  <MetadataEntry key="{key}" value="{value}"/>\n'
    for lap in range(0, RUN_SECONDS, 330):
        at = _time(start + timedelta(seconds=lap))
        yield f'  <WorkoutEvent type="HKWorkoutEventTypeSegment" date="{at}" duration="5.5" durationUnit="min"/>\n'
    statistics = f'{dates} average="145" minimum="105" maximum="155" unit="count/min"'
    yield f'  <WorkoutStatistics type="HKQuantityTypeIdentifierHeartRate" {statistics}/>\n'
    yield f'  <WorkoutRoute {source} creationDate="{_time(end)}" {dates}>\n'
    yield f'   <FileReference path="/{_route_path(day)}"/>\n  </WorkoutRoute>\n </Workout>\n'


def _route(day: int) -> str:
    rng, start = _random(day, 7), _run_start(day)
    speed = 2.8 + 0.2 * np.sin(np.arange(RUN_SECONDS) / 90) + rng.normal(0, 0.1, RUN_SECONDS)
    altitude = 200 + np.cumsum(rng.normal(0, 0.1, RUN_SECONDS))
    latitude = 47 + np.cumsum(speed) / 111_195
    points = (
        f'      <trkpt lon="7.000000" lat="{latitude[i]:.6f}"><ele>{altitude[i]:.6f}</ele>'
        f"<time>{start + timedelta(seconds=i):%Y-%m-%dT%H:%M:%SZ}</time><extensions><speed>{speed[i]:.6f}</speed>"
        "<course>0.000000</course><hAcc>2.618602</hAcc><vAcc>2.664512</vAcc></extensions></trkpt>\n"
        for i in range(RUN_SECONDS)
    )
    namespace = 'xmlns="http://www.topografix.com/GPX/1/1"'
    head = f'<?xml version="1.0" encoding="UTF-8"?>\n<gpx version="1.1" creator="Apple Health Export" {namespace}>\n'
    inside = itertools.chain(["  <trk>\n    <name>Route</name>\n    <trkseg>\n"], points, ["    </trkseg>\n  </trk>\n"])
    return head + "".join(inside) + "</gpx>\n"


def _route_path(day: int) -> str:
    return f"workout-routes/route_{_run_start(day):%Y-%m-%d_%H.%M}.gpx"


def _runs(day: int) -> bool:
    return day % 7 in (1, 3, 6)


def _run_start(day: int) -> datetime:
    return _midnight(day) + timedelta(hours=17, minutes=day % 60)


def _midnight(day: int) -> datetime:
    return FIRST_DAY + timedelta(days=day)


def _time(at: datetime) -> str:
    offset = 2 if 4 <= at.month <= 10 else 1
    return f"{at + timedelta(hours=offset):%Y-%m-%d %H:%M:%S} +0{offset}00"


def _random(day: int, kind: int) -> np.random.Generator:
    return np.random.default_rng([day, kind])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", type=Path)
    parser.add_argument("--megabytes", type=float, default=87.0)
    parser.add_argument("--routes", choices=("all", "none"), default="all")
    options = parser.parse_args()
    workouts = write_export(options.target, options.megabytes, routes=options.routes == "all")
    print(f"{options.target}: {options.target.stat().st_size / 1e6:.0f} MB zipped, {workouts} workouts")


if __name__ == "__main__":
    main()
