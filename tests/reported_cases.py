"""What is right for each of the reported files beside the project (shared/cases), by file."""

from dataclasses import dataclass
from pathlib import Path

import pytest

CASES = Path(__file__).resolve().parents[2] / "shared" / "cases"


@dataclass(frozen=True, kw_only=True)
class Right:
    """`kept` workouts of so many samples and seconds each, with these means; `said`: words that the report must hold.

    `sport`: as whose the caller declares what names no sport; None: nobody says. None elsewhere: not looked at.
    """

    kept: int = 1
    samples: int | None = 751
    seconds: float | None = 1500.0
    heart_rate: float | None = 153.5
    speed: float | None = 2.83
    altitude: float | None = None
    date: str | None = "2024-05-04"
    said: tuple[str, ...] = ()
    sport: str | None = None


RUN = Right()
NOTHING = Right(kept=0)
RIGHT: dict[str, list[Right]] = {
    "00-plain.fit": [RUN],
    "00-plain.gpx": [RUN],
    "00-plain.tcx": [RUN],
    "01-osmand-year-zero.gpx": [Right(samples=750)],
    "03-first-points-1970.gpx": [Right(samples=746, seconds=1490)],
    "03b-first-points-gps-week-rollover-2004.tcx": [Right(samples=746, seconds=1490)],
    "04-clock-ahead-1h-until-gps-fix.fit": [Right(samples=731, seconds=1460, heart_rate=154.7)],
    "05-points-swapped-in-pairs.gpx": [RUN],
    "05b-newest-point-first.gpx": [RUN],
    "06-auuki-first-records-6-days-old.fit": [Right(samples=740, seconds=1478)],
    "06b-first-point-2-days-old.gpx": [Right(samples=748, seconds=1494)],
    "07-empty-time-element.gpx": [Right(samples=749, seconds=1496)],
    "08-leap-second.gpx": [Right(date="2016-12-31")],
    "12-each-lap-a-track.gpx": [RUN],
    "13-cut-no-closing-tags.gpx": [Right(said=("damaged",))],
    "13c-cut-no-closing-tags.tcx": [Right(said=("damaged",))],
    "14-ampersand-in-name.gpx": [RUN],
    "15-latin1-byte-in-name.gpx": [RUN],
    "17-control-character-in-name.gpx": [RUN],
    "18-bom-then-newline.gpx": [RUN],
    "18e-utf16-declared-utf8.gpx": [RUN],
    "20-runkeeper-ride-without-type.gpx": [NOTHING],
    "21-strava-bulk.zip": [Right(kept=3, date="2024-05")],
    "22-polar-sport-other-running-notes.tcx": [Right(kept=0, said=("sport",)), Right(sport="running")],
    "23-speed-kmh-slow.tcx": [Right(heart_rate=None, speed=2.03)],
    "23b-speed-kmh-usual.tcx": [RUN],
    "24b-decimal-commas.gpx": [RUN],
    "25-fit-data-size-zero-no-crc.fit": [RUN],
    "26-developer-field-is-the-heart-rate.fit": [RUN],
    "30-sport-generic.fit": [Right(kept=0, said=("sport",)), Right(sport="running")],
    "30d-sport-all-254.fit": [Right(kept=0, said=("sport",)), Right(sport="running")],
    "33-google-takeout.tgz": [RUN],
    "33b-plain.tar": [RUN],
    "34-run.7z": [Right(kept=0, said=("7z",))],
    "41-apple-zip-with-backslashes.zip": [Right(samples=None)],
    "60-suunto-two-records-a-second.fit": [RUN],
    "61-position-and-heart-rate-in-points-of-their-own.tcx": [RUN],
    "62-strap-chained-after-the-run.fit": [RUN],
    "62b-strap-in-the-same-file.fit": [RUN],
    "67-same-run-local-time-as-utc-and-fit.zip": [Right(date=None)],
    "71-run-in-two-files.zip": [Right(samples=721)],
    "75b-the-same-one-zip-deeper.zip": [
        Right(kept=3, samples=None, seconds=None, date="2024-05", heart_rate=None, speed=None)
    ],
    "79-gb2312-declared-ascii-content.gpx": [RUN],
    "79c-shift-jis.gpx": [RUN],
    "80-time-since-power-on.fit": [Right(date=None)],
    "81b-tomtom-zero-zero-positions.tcx": [RUN],
    "83-clock-skips-back-6s-once.fit": [Right(samples=748, seconds=1494)],
    "85-two-records-a-second-the-same.fit": [Right(samples=1501)],
    "87-garmin-folder-with-monitoring.zip": [Right(kept=9, samples=None, date=None, heart_rate=None, speed=None)],
    "88-ten-runs-and-03b.zip": [
        Right(kept=11, samples=None, seconds=None, date="2024-05", heart_rate=None, speed=None)
    ],
    "90-swimrun-47-sessions.fit": [Right(kept=24, samples=None, seconds=None, date=None, heart_rate=None, speed=None)],
    "92-apple-ios-12-route-inside.xml": [Right(samples=None, altitude=120.2)],
    "93-opentracks-type-de.gpx": [RUN],
    "93-opentracks-type-es.gpx": [RUN],
    "93-opentracks-type-fr.gpx": [RUN],
    "93-opentracks-type-ja.gpx": [RUN],
    "93-opentracks-type-unknown.gpx": [RUN],
    "94d-truncated-in-gzip.gpx.gz": [Right(samples=None, seconds=None, heart_rate=None, speed=None, said=("damaged",))],
    "94e-one-broken-tag-in-the-middle.gpx": [
        Right(samples=None, seconds=None, heart_rate=None, speed=None, said=("damaged",))
    ],
    "98-endomondo-distance-in-km.tcx": [RUN],
    "98c-distance-only-each-km.tcx": [RUN],
}


def case_file(name: str) -> Path:
    """The reported file of this name; skips the test where it is missing."""
    path = CASES / name
    if not path.exists():
        pytest.skip(f"the reported file {name} (shared/cases) is not beside the project")
    return path
