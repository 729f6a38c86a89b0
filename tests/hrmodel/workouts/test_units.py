import numpy as np
import pytest

from hrmodel.workouts.units import ImplausibleSpeed, Units, check_running_speed


@pytest.mark.parametrize(("unit", "value"), [("m/s", 3.0), ("km/h", 10.8), ("mi/h", 6.7108), ("min/km", 1000 / 180)])
def test_every_unit_of_speed_reaches_metres_a_second(unit, value):
    speed, altitude = Units(speed=unit).to_metric(np.array([value, np.nan]), None)
    np.testing.assert_allclose(speed, [3.0, np.nan], rtol=1e-4)
    assert altitude is None


def test_feet_become_metres():
    np.testing.assert_allclose(
        Units(altitude="ft").to_metric(np.ones(1), np.array([1000.0, np.nan]))[1], [304.8, np.nan]
    )


def test_a_pace_of_zero_is_standing_and_a_negative_one_nothing():
    speed, _ = Units(speed="min/km").to_metric(np.array([0.0, -5.0]), None)
    np.testing.assert_array_equal(speed, [0.0, np.nan])


@pytest.mark.parametrize(
    ("written", "declared", "likely"),
    [
        (10.0, "m/s", "km/h"),
        (1.0, "km/h", "m/s"),
        (20.0, "mi/h", "km/h"),
        (1.5, "min/km", "m/s"),
        (500.0, "m/s", None),
    ],
)
def test_an_impossible_median_is_refused_with_the_likely_unit(written, declared, likely):
    units = Units(speed=declared)
    speed, _ = units.to_metric(np.full(9, written), None)
    with pytest.raises(ImplausibleSpeed, match=likely) as caught:
        check_running_speed(speed, units)
    assert caught.value.likely == likely


def test_the_likely_unit_comes_with_its_evidence():
    with pytest.raises(ImplausibleSpeed) as caught:
        check_running_speed(np.full(9, 10.2), Units())
    assert str(caught.value) == (
        "the median moving speed is 10.2 m/s when read as m/s, but running is within 0.3..8 m/s; "
        "read as km/h it would be 2.83 m/s (5:53 min/km)"
    )


@pytest.mark.parametrize(
    ("written", "unit"), [(0.3, "m/s"), (8.0, "m/s"), (10.0, "km/h"), (6.0, "mi/h"), (6.0, "min/km")]
)
def test_running_speeds_pass_in_their_own_unit(written, unit):
    units = Units(speed=unit)
    check_running_speed(units.to_metric(np.full(9, written), None)[0], units)


def test_standing_and_missing_samples_are_not_judged():
    check_running_speed(np.array([0.0, 0.0, 0.0, 3.0, np.nan]), Units())
    check_running_speed(np.array([0.0, np.nan]), Units())


def test_an_unknown_unit_is_named():
    with pytest.raises(ValueError, match="knots"):
        Units(speed="knots")
    with pytest.raises(ValueError, match="yd"):
        Units(altitude="yd")


@pytest.mark.parametrize("speed", [1e307, 1.7e308, 1e-307, 5e-324])
@pytest.mark.parametrize("unit", ["m/s", "min/km"])
def test_no_unit_makes_a_running_speed_of_what_no_unit_can_hold(speed, unit):
    with np.errstate(all="ignore"), pytest.raises(ImplausibleSpeed) as caught:
        check_running_speed(np.full(9, speed), Units(speed=unit))
    assert caught.value.likely is None
