"""Which speed counts when a device's own, its distance and its positions tell different ones."""

import math
from dataclasses import replace

import numpy as np
import pytest

from hrmodel.workouts.formats.speeds import Told, running_speed
from hrmodel.workouts.units import Units

METRES_PER_DEGREE = np.pi * 6_371_008.8 / 180
MILE = 1609.344
T = np.arange(0.0, 1500.0, 2.0)


def told(speed=None, *, truth=2.83, distance=None, positions=True, t=T, spread=0.3):
    """What a device tells of a run of so many m/s that changes a little; factors of its speed and its distance."""
    true = truth + spread * np.sin(t / 60)
    way = np.concatenate([[0.0], np.cumsum(true[1:] * np.diff(t))])
    missing = np.full(len(t), math.nan)
    latitude, longitude = (47 + way / METRES_PER_DEGREE, np.full(len(t), 8.0)) if positions else (missing, missing)
    told = Told(
        t=t,
        speed=missing if speed is None else speed * true,
        distance=missing if distance is None else distance * way,
        latitude=latitude,
        longitude=longitude,
    )
    return told, true


@pytest.mark.parametrize("truth", [2.03, 2.83, 4.6])
@pytest.mark.parametrize("factor", [3.6, 3600 / MILE, 1 / 0.3048, 1000, 100, 60, 1 / 3.6, 1 / 1000, MILE / 1000, 1.85])
def test_a_speed_in_another_unit_is_that_of_the_positions_and_it_is_told(factor, truth):
    device, true = told(factor, truth=truth)
    speed, reasons = running_speed(device, None)
    np.testing.assert_allclose(speed, true, rtol=1e-2)
    assert [(reason.code, reason.samples) for reason in reasons] == [("other_unit", len(T))]
    assert f"{factor:.4g}"[:3] in reasons[0].message


@pytest.mark.parametrize("truth", [2.03, 2.83, 4.6])
@pytest.mark.parametrize("factor", [1 / 1000, 1 / MILE, 1000, 100, 1 / 0.3048, 0.3048, 1.609, 0.55])
def test_a_distance_in_another_unit_gives_the_speed_of_the_positions_and_it_is_told(factor, truth):
    device, true = told(truth=truth, distance=factor)
    speed, reasons = running_speed(device, None)
    np.testing.assert_allclose(speed, true, rtol=0.1)
    assert np.mean(speed) == pytest.approx(np.mean(true), rel=5e-3)
    assert [reason.code for reason in reasons] == ["other_unit"]


@pytest.mark.parametrize("truth", [2.0, 2.83, 4.5])
def test_a_pace_is_no_speed(truth):
    device, true = told(1.0, truth=truth)
    device.speed[:] = 1000 / 60 / device.speed
    speed, reasons = running_speed(device, None)
    np.testing.assert_allclose(speed, true)
    assert "min/km" in reasons[0].message


@pytest.mark.parametrize("factor", [0.97, 1.03, 1.1, 0.85, 1.0])
def test_a_foot_pod_that_is_a_little_off_is_no_unit(factor):
    device, _ = told(factor, distance=factor)
    speed, reasons = running_speed(device, None)
    assert (speed is device.speed, reasons) == (True, ())


def test_noisy_positions_change_nothing():
    device, _ = told(1.0)
    rng = np.random.default_rng(0)
    jitter = rng.normal(0, 5, (2, len(T))) / METRES_PER_DEGREE
    moved = Told(
        t=T,
        speed=device.speed,
        distance=device.distance,
        latitude=device.latitude + jitter[0],
        longitude=device.longitude + jitter[1],
    )
    assert running_speed(moved, None)[1] == ()


@pytest.mark.parametrize("distance", [None, 1.0, 1.12])
def test_a_treadmill_is_not_corrected(distance):
    for resting in (False, True):  # or a phone that lies on it and has positions of one place
        device, _ = told(1.0, distance=distance, positions=False)
        if resting:
            place = np.random.default_rng(1).normal(0, 2, (2, len(T))) / METRES_PER_DEGREE
            device = Told(
                t=T, speed=device.speed, distance=device.distance, latitude=47 + place[0], longitude=8 + place[1]
            )
        speed, reasons = running_speed(device, None)
        assert (speed is device.speed, reasons) == (True, ())


def test_without_positions_a_distance_shows_that_a_speed_is_no_runners():
    device, true = told(3.6, distance=1.0, positions=False)
    speed, reasons = running_speed(device, None)
    np.testing.assert_allclose(speed, true)
    assert "its distance" in reasons[0].message


@pytest.mark.parametrize("truth", [2.03, 2.83, 3.6])
@pytest.mark.parametrize("positions", [True, False])
@pytest.mark.parametrize(("unit", "metres"), [("min/km", 1000 / 60), ("min/mi", MILE / 60), ("s/km", 1000.0)])
def test_a_pace_is_told_by_positions_or_distance(unit, metres, positions, truth):
    device, true = told(1.0, distance=1.0, truth=truth, positions=positions)
    speed, reasons = running_speed(replace(device, speed=metres / true), None)
    np.testing.assert_allclose(speed, true)
    assert f"a pace in {unit}" in reasons[0].message


@pytest.mark.parametrize(("factor", "unit"), [(3600 / MILE, "mi/h"), (3600 / 1852, "knots")])
def test_without_positions_the_more_usual_speed_counts_where_both_may_be_a_runs(factor, unit):
    device, true = told(factor, distance=1.0, positions=False)
    speed, reasons = running_speed(device, None)
    np.testing.assert_allclose(speed, true)
    assert unit in reasons[0].message
    device, true = told(1.0, distance=1 / factor, positions=False)
    assert running_speed(device, None)[0] is device.speed


def test_a_speed_or_distance_that_fits_the_positions_nowhere_gives_way_to_them():
    noise = np.random.default_rng(0).uniform(0, 0.2, len(T))
    for device in (told(1.0)[0], told(distance=1.0)[0]):
        speed = device.speed if np.isnan(device.speed).all() else noise
        device = replace(device, speed=speed, distance=noise)
        np.testing.assert_allclose(running_speed(device, None)[0], told()[1], atol=0.1)


def test_a_declared_unit_counts_where_nothing_else_tells_it():
    device, true = told(3.6, positions=False)
    np.testing.assert_allclose(running_speed(device, Units(speed="km/h"))[0], true)
    for positions in (True, False):  # these, or the distance, show that it is in m/s whatever was declared
        device, true = told(1.0, distance=1.0, positions=positions)
        np.testing.assert_allclose(running_speed(device, Units(speed="km/h"))[0], true)


def test_positions_of_zero_and_zero_are_none():
    device, true = told()
    device.latitude[:20] = device.longitude[:20] = 0
    speed, reasons = running_speed(device, None)
    assert (np.isnan(speed[:20]).all(), reasons) == (True, ())
    np.testing.assert_allclose(speed[30:], true[30:], rtol=0.02)


@pytest.mark.parametrize("nowhere", [(1e-7, 0.0), (0.0, 8.0), (-1.0, -1.0), (90.0, 180.0), (4.9e-324, 4.9e-324)])
def test_positions_far_from_all_others_are_none(nowhere):
    device, true = told()
    device.latitude[:20], device.longitude[:20] = nowhere
    speed, _ = running_speed(device, None)
    assert np.isnan(speed[:20]).all()
    np.testing.assert_allclose(speed[30:], true[30:], rtol=0.02)


@pytest.mark.parametrize("each", [1000, 100, 50, MILE])
def test_a_coarse_distance_gives_way_to_positions_and_is_spread_evenly_without_them(each):
    device, true = told(distance=1.0, spread=0)
    device.distance[:] = np.floor(device.distance / each) * each
    np.testing.assert_allclose(running_speed(device, None)[0], true, rtol=0.02)
    alone, _ = told(distance=1.0, positions=False, spread=0)
    alone.distance[:] = device.distance
    speed, _ = running_speed(alone, None)
    assert np.isfinite(speed).mean() > 0.5
    assert np.nanmedian(speed) == pytest.approx(2.83, rel=0.03)
