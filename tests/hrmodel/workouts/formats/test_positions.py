from pathlib import Path

import numpy as np
import pytest

from hrmodel.workouts.formats import gpx
from hrmodel.workouts.formats.positions import speed_from_distance, speed_from_positions
from hrmodel.workouts.formats.source import Source

FILES = Path(__file__).resolve().parents[4].parent / "shared" / "data" / "formats"
needs_files = pytest.mark.skipif(not FILES.exists(), reason="the shared sample files are not beside the project")
METRES_PER_DEGREE = np.pi * 6_371_008.8 / 180


def circle(t, speed, radius):
    """Positions of laps on the equator."""
    angle = speed * t / radius
    return radius * np.sin(angle) / METRES_PER_DEGREE, radius * np.cos(angle) / METRES_PER_DEGREE


def test_an_even_run_north_has_its_speed_from_positions():
    t = np.arange(0, 100.0)
    speed = speed_from_positions(t, 45 + 3.0 * t / METRES_PER_DEGREE, np.full(100, 7.0))
    np.testing.assert_allclose(speed, 3.0, rtol=1e-6)


def test_position_jumps_gaps_and_missing_positions_give_no_speed():
    t = np.concatenate([np.arange(0, 60.0), np.arange(200, 260.0)])
    latitude = 45 + 3.0 * t / METRES_PER_DEGREE
    latitude[30:] += 500 / METRES_PER_DEGREE
    latitude[90] = np.nan
    speed = speed_from_positions(t, latitude, np.full(120, 7.0))
    missing = np.flatnonzero(np.isnan(speed))
    assert set(missing) == {*range(25, 35), 90}
    np.testing.assert_allclose(speed[np.isfinite(speed)], 3.0, rtol=1e-6)


def test_a_lonely_position_has_no_speed():
    assert np.isnan(speed_from_positions(np.array([0.0, 100.0]), np.array([45.0, 45.1]), np.zeros(2))).all()
    assert np.isnan(speed_from_positions(np.array([0.0]), np.array([45.0]), np.zeros(1))).all()


@pytest.mark.parametrize("spacing", [1.0, 5.0, 10.0])
def test_jitter_of_positions_hardly_moves_the_speed(spacing):
    t = np.arange(0, 3600, spacing)
    jitter = np.random.default_rng(0).normal(0, 1.5, (2, len(t))) / METRES_PER_DEGREE
    speed = speed_from_positions(t, 3.0 * t / METRES_PER_DEGREE + jitter[0], jitter[1])
    assert np.mean(speed) == pytest.approx(3.0, abs=0.1)  # the way from point to point would give 4.3 at 1 s
    assert np.sqrt(np.mean((speed - 3.0) ** 2)) < 0.25


@pytest.mark.parametrize("spacing", [1.0, 2.0])
def test_laps_of_a_track_are_hardly_cut_short(spacing):
    t = np.arange(0, 1200, spacing)
    speed = speed_from_positions(t, *circle(t, 4.0, 36.5))
    assert np.median(speed) == pytest.approx(4.0, rel=0.02)


def test_a_change_of_speed_shows_within_ten_seconds():
    t = np.arange(0, 200.0)
    metres = np.where(t < 100, 2.0 * t, 200 + 4.0 * (t - 100))
    speed = speed_from_positions(t, metres / METRES_PER_DEGREE, np.zeros(200))
    np.testing.assert_allclose(speed[:92], 2.0, rtol=1e-6)
    np.testing.assert_allclose(speed[108:], 4.0, rtol=1e-6)


def test_the_date_line_is_no_jump():
    t = np.arange(0, 60.0)
    longitude = (179.999 + 3.0 * t / METRES_PER_DEGREE + 180) % 360 - 180
    np.testing.assert_allclose(speed_from_positions(t, np.zeros(60), longitude), 3.0, rtol=1e-6)


def test_impossible_numbers_are_no_positions_or_distances():
    t = np.arange(0, 4.0)
    assert np.isnan(speed_from_positions(t, np.array([1e308, -1e308, np.inf, np.nan]), np.zeros(4))).all()
    assert np.isnan(speed_from_distance(t, np.array([1e308, -1e308, np.inf, np.nan]))).all()


@needs_files
def test_speed_from_positions_is_near_the_devices_own():
    (route,) = (FILES / "apple_health_constructed" / "workout-routes").glob("*.gpx")
    text = route.read_text()
    (recorded,) = gpx.read(Source(path=route, name=route.name))
    places = np.array([line.split('"')[1:4:2] for line in text.splitlines() if "<trkpt" in line], dtype=float)
    derived = speed_from_positions(recorded.t, places[:, 1], places[:, 0])
    assert np.sqrt(np.mean((derived - recorded.speed) ** 2)) < 0.2
    assert np.mean(derived - recorded.speed) == pytest.approx(0.0, abs=0.05)
