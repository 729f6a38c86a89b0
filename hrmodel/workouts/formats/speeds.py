"""The speed of a workout out of what its device told: a speed, a distance, positions.

Where positions and the device differ by one factor all the way, the device wrote another unit: the positions are right.
Without positions nothing but a distance can tell: when the speed is that of no runner, or is in another known unit and
less usual than the distance's.
"""

from dataclasses import dataclass, replace

import numpy as np

from hrmodel.workouts.formats.positions import EARTH_RADIUS, speed_from_distance, speed_from_positions
from hrmodel.workouts.formats.speed_units import PACES, factor_of, pace_of, unit_of
from hrmodel.workouts.reasons import Reason
from hrmodel.workouts.running import MEDIAN_SPEEDS, TYPICAL_SPEED
from hrmodel.workouts.units import SPEED_UNITS, Units
from hrmodel.workouts.workout import Array

MIN_POSITIONS = 5
TRAVELLED = 60.0  # m: who stays within it, by the positions, is on a treadmill
SAME_UNIT = 1.5  # a device's own error stays within this factor
COARSE_STEP = 8.0  # m: a distance counted so coarsely ...
COARSE_SHARE = 0.6  # ... that it stands still in so many steps
FAR = np.radians(3.0)  # 330 km on the ground, beyond any run: a position so far from the others is wrong
RUNNERS_UNITS = ("km/h", "mi/h", "knots")  # in which a walk's speed may look like a run's, and a run's like a record


@dataclass(frozen=True, kw_only=True)
class Told:
    """What was recorded at (N,) times `t` in s, NaN missing: m/s, m and degrees."""

    t: Array
    speed: Array
    distance: Array
    latitude: Array
    longitude: Array


def running_speed(told: Told, units: Units | None) -> tuple[Array, tuple[Reason, ...]]:
    """(N,) m/s and what was mended: as the device gave it, else from its distance, else from positions; the first that
    moves and has half of the samples. `units`: those of the device's speed, where nothing else tells them."""
    told = _located(told)
    from_positions = speed_from_positions(told.t, told.latitude, told.longitude)
    if _tells(told.speed):
        return _device_speed(told, from_positions, units)
    from_distance, reasons = _distance_speed(told, from_positions)
    if _tells(from_distance):
        return from_distance, reasons
    # a treadmill's zeros say more than no position at all
    return max(from_positions, from_distance, told.speed, key=lambda speed: np.isfinite(speed).sum()), ()


def _tells(speed: Array) -> bool:
    return bool(np.isfinite(speed).mean() >= 0.5 and (speed > 0).any())


def _located(told: Told) -> Told:
    """Without the positions that are none: 0/0, as devices write that they have none yet, and what is far from most."""
    known = np.isfinite(told.latitude) & np.isfinite(told.longitude) & ((told.latitude != 0) | (told.longitude != 0))
    if not known.any():
        return replace(told, latitude=np.full(len(told.t), np.nan))
    latitude, longitude = np.radians(told.latitude), np.radians(told.longitude)
    middle = np.median(latitude[known]), np.median(longitude[known])
    north, east = latitude - middle[0], (longitude - middle[1] + np.pi) % (2 * np.pi) - np.pi
    near = np.hypot(north, east * np.cos(middle[0])) <= FAR  # NaN compares false
    return replace(told, latitude=np.where(known & near, told.latitude, np.nan))


def _has_travelled(told: Told) -> bool:
    """True when the positions leave a place; those of a phone beside a treadmill only tremble."""
    known = np.isfinite(told.latitude) & np.isfinite(told.longitude)
    if known.sum() < MIN_POSITIONS:
        return False
    south, north = np.quantile(told.latitude[known], [0.05, 0.95])
    west, east = np.quantile(told.longitude[known], [0.05, 0.95])
    metres = np.radians([north - south, (east - west) * np.cos(np.radians(south))]) * EARTH_RADIUS
    return bool(metres.max() >= TRAVELLED)


def _device_speed(told: Told, from_positions: Array, units: Units | None) -> tuple[Array, tuple[Reason, ...]]:
    ways = told.speed[1:] * np.diff(told.t)
    if not _has_travelled(told):
        return _without_positions(told, ways, units)
    if pace := pace_of(told.speed, from_positions):
        return _as_speed(told.speed, pace, "the positions")
    factor = factor_of(told.t, ways, from_positions)
    if factor is not None:
        return _divided(told.speed, "speed", factor, "the positions")
    if _is_running(from_positions) and not _is_running(told.speed):
        message = "the device's speed was none of a runner and follows the positions nowhere; theirs was taken"
        return from_positions, (_reason(told.speed, message),)
    return _without_positions(told, ways, units)


def _without_positions(told: Told, ways: Array, units: Units | None) -> tuple[Array, tuple[Reason, ...]]:
    from_distance = speed_from_distance(told.t, told.distance)
    factor = factor_of(told.t, ways, from_distance)
    agrees = factor is not None and 1 / SAME_UNIT < factor < SAME_UNIT
    if units is not None and units.speed != "m/s" and not agrees:
        return SPEED_UNITS[units.speed](told.speed), ()
    if not _is_running(from_distance):
        return told.speed, ()
    if pace := pace_of(told.speed, from_distance):
        return _as_speed(told.speed, pace, "its distance")
    unit = "" if factor is None else unit_of(factor)[0]
    mistaken = not _is_running(told.speed) or (unit in RUNNERS_UNITS and _is_more_usual(from_distance, told.speed))
    if factor is not None and unit and mistaken:
        return _divided(told.speed, "speed", factor, "its distance")
    return told.speed, ()


def _distance_speed(told: Told, from_positions: Array) -> tuple[Array, tuple[Reason, ...]]:
    steps = np.diff(told.distance)
    ways = np.where(steps >= 0, steps, np.nan)
    travelled = _has_travelled(told)
    factor = factor_of(told.t, ways, from_positions) if travelled else None
    distance, reasons = told.distance, tuple[Reason, ...]()
    if factor is not None:
        distance, reasons = _divided(distance, "distance", factor, "the positions")
    elif _is_coarse(steps):
        if _tells(from_positions):
            return np.full(len(told.t), np.nan), ()
        distance = _evened(told.t, distance)
    speed = speed_from_distance(told.t, distance)
    if travelled and factor is None and _is_running(from_positions) and not _is_running(speed):
        return np.full(len(told.t), np.nan), ()  # a way of each step, say
    return speed, reasons


def _as_speed(told: Array, pace: str, by: str) -> tuple[Array, tuple[Reason, ...]]:
    """(N,) m/s of a pace in a unit of PACES."""
    message = f"the device's speed was a pace in {pace}, as {by} show, and was converted"
    return SPEED_UNITS["min/km"](told * PACES["min/km"] / PACES[pace]), (_reason(told, message),)


def _divided(values: Array, name: str, factor: float, by: str) -> tuple[Array, tuple[Reason, ...]]:
    """The values without the factor of another unit, if it is one."""
    if 1 / SAME_UNIT < factor < SAME_UNIT:
        return values, ()
    unit, exact = unit_of(factor)
    meaning = f", as in {unit}" if unit else ""
    message = f"the device's {name} was {factor:.4g} times what {by} show{meaning}; it was divided by {exact:.4g}"
    return values / exact, (_reason(values, message),)


def _reason(values: Array, message: str) -> Reason:
    return Reason(code="other_unit", samples=int(np.isfinite(values).sum()), message=message)


def _is_running(speed: Array) -> bool:
    moving = speed[speed > 0]
    return bool(len(moving) and MEDIAN_SPEEDS[0] <= np.median(moving) <= MEDIAN_SPEEDS[1])


def _is_more_usual(speed: Array, other: Array) -> bool:
    """True when the first of two is nearer to the middle of all runs."""
    medians = (np.median(one[one > 0]) for one in (speed, other))
    first, second = (abs(np.log(median / TYPICAL_SPEED)) for median in medians)
    return bool(first < second)


def _is_coarse(steps: Array) -> bool:
    """True for a distance that is told every hundred metres, say, or once a kilometre."""
    counted = steps[np.isfinite(steps)]
    forward = counted[counted > 0]
    return bool(len(forward) and (counted == 0).mean() > COARSE_SHARE and np.median(forward) >= COARSE_STEP)


def _evened(t: Array, distance: Array) -> Array:
    """A coarse count spread evenly over the time that it took; unknown after the last count."""
    known = np.flatnonzero(np.isfinite(distance))
    counts = known[np.flatnonzero(np.diff(distance[known], prepend=-np.inf) > 0)]
    return np.interp(t, t[counts], distance[counts], left=np.nan, right=np.nan)
