"""One recorded run, written in every format: each reader gives it back within the format's resolution."""

from contextlib import nullcontext
from datetime import timedelta

import numpy as np
import pytest

from hrmodel.workouts.formats import apple_health, endomondo, fit, gpx, tcx
from hrmodel.workouts.formats.heads import is_endomondo, is_gpx, is_tcx
from hrmodel.workouts.formats.source import Source
from tests import apple_writer, endomondo_writer
from tests.shared_data import format_samples

GPX = '<gpx version="1.1" xmlns="http://www.topografix.com/GPX/1/1"><trk><type>running</type><trkseg>{}</trkseg></trk></gpx>'
TCX = (
    "<TrainingCenterDatabase><Activities><Activity Sport='Running'><Lap><Track>{}</Track></Lap></Activity>"
    "</Activities></TrainingCenterDatabase>"
)


@pytest.fixture(scope="module")
def run():
    """A run of a FIT file, one record a second: what the device recorded."""
    path = format_samples() / "fenix2_run_1hz.fit"
    (workout,) = fit.read(Source(path=path, name=path.name))
    return workout


def instants(run):
    return [run.started_at + timedelta(seconds=float(t)) for t in run.t]


def present(value, text):
    return "" if np.isnan(value) else text.format(value)


def as_gpx(run):
    points = (
        f'<trkpt lat="45" lon="7">{present(altitude, "<ele>{:.6f}</ele>")}<time>{when:%Y-%m-%dT%H:%M:%SZ}</time><extensions>'
        f"{present(speed, '<speed>{:.6f}</speed>')}{present(rate, '<hr>{:.0f}</hr>')}</extensions></trkpt>"
        for when, speed, altitude, rate in zip(instants(run), run.speed, run.altitude, run.heart_rate, strict=True)
    )
    return GPX.format("".join(points)).encode()


def as_tcx(run):
    points = (
        f"<Trackpoint><Time>{when:%Y-%m-%dT%H:%M:%SZ}</Time>{present(altitude, '<AltitudeMeters>{:.6f}</AltitudeMeters>')}"
        f"{present(rate, '<HeartRateBpm><Value>{:.0f}</Value></HeartRateBpm>')}"
        f"<Extensions><TPX>{present(speed, '<Speed>{:.6f}</Speed>')}</TPX></Extensions></Trackpoint>"
        for when, speed, altitude, rate in zip(instants(run), run.speed, run.altitude, run.heart_rate, strict=True)
    )
    return TCX.format("".join(points)).encode()


def as_endomondo(run):
    def listed(values):
        return [None if np.isnan(value) else float(value) for value in values]

    start = run.started_at.timestamp()
    return endomondo_writer.write(
        {
            "timestamp": [int(start + t) for t in run.t],
            "speed": listed(run.speed * 3.6),
            "altitude": listed(run.altitude),
            "heart_rate": listed(run.heart_rate),
            "sport": "run",
            "userId": 7,
            "id": 1,
        }
    )


@pytest.mark.parametrize(
    ("reader", "matches", "write"),
    [(gpx, is_gpx, as_gpx), (tcx, is_tcx, as_tcx), (endomondo, is_endomondo, as_endomondo)],
)
def test_a_fit_run_written_in_another_format_is_the_same_run(run, tmp_path, reader, matches, write):
    content = write(run)
    assert matches(content[:4096])
    (tmp_path / "file").write_bytes(content)
    (found,) = reader.read(Source(path=tmp_path / "file", name="file"))
    assert (found.started_at, found.sport in ("running", "run")) == (run.started_at, True)
    np.testing.assert_array_equal(found.t, run.t)
    for name, resolution in (("speed", 1e-5), ("altitude", 1e-5), ("heart_rate", 0.5)):
        np.testing.assert_allclose(getattr(found, name), getattr(run, name), atol=resolution)


def test_a_fit_run_written_as_an_apple_export_is_the_same_run(run, tmp_path):
    rates = {float(t): float(rate) for t, rate in zip(run.t, run.heart_rate, strict=True) if np.isfinite(rate)}
    placed = np.isfinite(run.speed) & np.isfinite(run.altitude)
    points = [
        apple_writer.point(float(t), float(speed), float(altitude))
        for t, speed, altitude in zip(run.t[placed], run.speed[placed], run.altitude[placed], strict=True)
    ]
    export = apple_writer.write(
        apple_writer.heart_rates(rates),
        apple_writer.workout(float(run.t[-1]), apple_writer.reference("/workout-routes/route.gpx")),
    )
    path = apple_writer.write_folder(tmp_path, export, route=apple_writer.route(*points))
    beside = Source(path=tmp_path / "workout-routes" / "route.gpx", name="route.gpx")
    (found,) = apple_health.read(Source(path=path, name=path.name, beside=lambda _: nullcontext(beside)))
    here = np.isin(run.t, found.t)
    assert here[placed].all()
    there = np.searchsorted(found.t, run.t[here])
    np.testing.assert_allclose(found.heart_rate[there], run.heart_rate[here], atol=0.5)
    np.testing.assert_allclose(found.speed[there][placed[here]], run.speed[placed], atol=1e-5)
    np.testing.assert_allclose(found.altitude[there][placed[here]], run.altitude[placed], atol=1e-5)
