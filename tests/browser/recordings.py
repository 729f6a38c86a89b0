"""Recorded runs as the GPX zip that a watch's website gives."""

from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np

from hrmodel.workouts.workout import EPOCH, Workout

_POINT = (
    '<trkpt lat="{lat:.6f}" lon="7.1">{ele}<time>{time}</time><extensions><gpxtpx:TrackPointExtension>'
    "{hr}<gpxtpx:speed>{speed:.2f}</gpxtpx:speed></gpxtpx:TrackPointExtension></extensions></trkpt>"
)
_FILE = (
    '<?xml version="1.0" encoding="UTF-8"?><gpx version="1.1" creator="test" '
    'xmlns="http://www.topografix.com/GPX/1/1" '
    'xmlns:gpxtpx="http://www.garmin.com/xmlschemas/TrackPointExtension/v2">'
    "<trk><type>running</type><trkseg>{points}</trkseg></trk></gpx>"
)


def gpx(workout: Workout) -> str:
    """A workout as GPX 1.1: its speed in the extension, and positions that fit it."""
    speed = np.nan_to_num(workout.speed)
    metres = np.concatenate([[0.0], np.cumsum(np.diff(workout.t) * (speed[1:] + speed[:-1]) / 2)])
    start = workout.started_at or EPOCH
    points = []
    for i, t in enumerate(workout.t.tolist()):
        ele = (
            "" if workout.altitude is None or np.isnan(workout.altitude[i]) else f"<ele>{workout.altitude[i]:.1f}</ele>"
        )
        known = workout.heart_rate is not None and not np.isnan(workout.heart_rate[i])
        hr = (
            f"<gpxtpx:hr>{round(float(workout.heart_rate[i]))}</gpxtpx:hr>"
            if known and workout.heart_rate is not None
            else ""
        )
        time = (start + timedelta(seconds=t)).isoformat().replace("+00:00", "Z")
        points.append(_POINT.format(lat=45 + metres[i] / 111_195, ele=ele, time=time, hr=hr, speed=speed[i]))
    return _FILE.format(points="".join(points))


def write_gpx_zip(workouts: Iterable[Workout], target: Path) -> Path:
    """One file per workout."""
    with ZipFile(target, "w", ZIP_DEFLATED) as archive:
        for number, workout in enumerate(workouts):
            archive.writestr(f"{number:03d}.gpx", gpx(workout))
    return target
