"""The speed of a workout out of what its device told: a speed, a distance, positions.

Where positions and the device differ by one factor all the way, the device wrote another unit: the positions are right.
Without positions nothing but a distance can tell, and only when the speed is that of no runner.
"""

from dataclasses import dataclass

import numpy as np

from hrmodel.workouts.formats.positions import EARTH_RADIUS, GAP_SECONDS, speed_from_distance, speed_from_positions
from hrmodel.workouts.reasons import Reason
from hrmodel.workouts.running import MEDIAN_SPEEDS
from hrmodel.workouts.units import METRES_PER_FOOT, SPEED_UNITS, Units
from hrmodel.workouts.workout import Array

WINDOW = 30.0  # s over which ways are compared
MOVING = 0.5  # m/s by the reference; slower windows compare jitter
MIN_WINDOWS = 5
AGREEMENT = 0.2  # natural logarithm of a window's factor over the usual one ...
AGREEING = 0.8  # ... in this share of the windows
TRAVELLED = 60.0  # m: who stays within it, by the positions, is on a treadmill
SAME_UNIT = 1.5  # a device's own error stays within this factor
NEAR_UNIT = 0.04  # natural logarithm: this near to a known unit's factor it is that unit
COARSE_STEP = 15.0  # m: a distance counted so coarsely ...
COARSE_SHARE = 0.6  # ... that it stands still in so many steps
MILE, KNOT = 1609.344, 1852 / 3600
UNITS = {  # how many are told for one metre a second, or for one metre
    "km/h": 3.6,
    "mi/h": 3600 / MILE,
    "knots": 1 / KNOT,
    "m/min": 60.0,
    "feet": 1 / METRES_PER_FOOT,
    "cm": 100.0,
    "mm": 1000.0,
    "km": 1 / 1000,
    "miles": 1 / MILE,
    "m divided by 3.6": 1 / 3.6,
    "m divided by 1.609": 1000 / MILE,
    "m times 1.609": MILE / 1000,
    "m taken for feet": METRES_PER_FOOT,
}


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
    from_positions = _positions(told)
    if _tells(told.speed):
        return _device_speed(told, from_positions, units)
    from_distance, reasons = _distance_speed(told, from_positions)
    if _tells(from_distance):
        return from_distance, reasons
    # a treadmill's zeros say more than no position at all
    return max(from_positions, from_distance, told.speed, key=lambda speed: np.isfinite(speed).sum()), ()


def _tells(speed: Array) -> bool:
    return bool(np.isfinite(speed).mean() >= 0.5 and (speed > 0).any())


def _positions(told: Told) -> Array:
    """Latitude 0 and longitude 0 are how devices write that they have no position yet."""
    nowhere = (told.latitude == 0) & (told.longitude == 0)
    return speed_from_positions(told.t, np.where(nowhere, np.nan, told.latitude), told.longitude)


def _has_travelled(told: Told) -> bool:
    """True when the positions leave a place; those of a phone beside a treadmill only tremble."""
    known = np.isfinite(told.latitude) & np.isfinite(told.longitude) & ((told.latitude != 0) | (told.longitude != 0))
    if known.sum() < MIN_WINDOWS:
        return False
    south, north = np.quantile(told.latitude[known], [0.05, 0.95])
    west, east = np.quantile(told.longitude[known], [0.05, 0.95])
    metres = np.radians([north - south, (east - west) * np.cos(np.radians(south))]) * EARTH_RADIUS
    return bool(metres.max() >= TRAVELLED)


def _device_speed(told: Told, from_positions: Array, units: Units | None) -> tuple[Array, tuple[Reason, ...]]:
    dt = np.diff(told.t)
    ways = told.speed[1:] * dt
    travelled = _has_travelled(told)
    if travelled and _is_pace(told, from_positions):
        message = "the device's speed was a pace in min/km, as the positions show, and was converted"
        return SPEED_UNITS["min/km"](told.speed), (_reason(told.speed, message),)
    factor = _factor(told.t, ways, from_positions) if travelled else None
    if factor is None:
        return _without_positions(told, ways, units)
    return _divided(told.speed, "speed", factor, "the positions")


def _without_positions(told: Told, ways: Array, units: Units | None) -> tuple[Array, tuple[Reason, ...]]:
    from_distance = speed_from_distance(told.t, told.distance)
    factor = _factor(told.t, ways, from_distance)
    agrees = factor is not None and 1 / SAME_UNIT < factor < SAME_UNIT
    if units is not None and units.speed != "m/s" and not agrees:
        return SPEED_UNITS[units.speed](told.speed), ()
    if factor is not None and _is_running(from_distance) and not _is_running(told.speed) and _unit(factor)[0]:
        return _divided(told.speed, "speed", factor, "its distance")
    return told.speed, ()


def _distance_speed(told: Told, from_positions: Array) -> tuple[Array, tuple[Reason, ...]]:
    steps = np.diff(told.distance)
    ways = np.where(steps >= 0, steps, np.nan)
    factor = _factor(told.t, ways, from_positions) if _has_travelled(told) else None
    distance, reasons = told.distance, tuple[Reason, ...]()
    if factor is not None:
        distance, reasons = _divided(distance, "distance", factor, "the positions")
    elif _is_coarse(steps):
        if _tells(from_positions):
            return np.full(len(told.t), np.nan), ()
        distance = _evened(told.t, distance)
    return speed_from_distance(told.t, distance), reasons


def _factor(t: Array, ways: Array, reference: Array) -> float | None:
    """How many times as far as the reference (N,) m/s the (N - 1,) ways go; None when not always by one factor."""
    dt = np.diff(t)
    right = reference[1:] * dt
    known = np.isfinite(ways) & np.isfinite(right) & (dt <= GAP_SECONDS)
    if not known.any():
        return None
    _, windows = np.unique(t[1:][known] // WINDOW, return_inverse=True)
    told, true, lasting = (np.bincount(windows, values[known]) for values in (ways, right, dt))
    moving = true >= MOVING * np.maximum(lasting, WINDOW / 3)
    if moving.sum() < MIN_WINDOWS or not (told[moving] > 0).mean() >= AGREEING:
        return None
    factors = told[moving] / true[moving]
    usual = float(np.median(factors))
    near = (factors > usual * np.exp(-AGREEMENT)) & (factors < usual * np.exp(AGREEMENT))
    return usual if near.mean() >= AGREEING else None


def _is_pace(told: Told, reference: Array) -> bool:
    """True when the device told minutes for a kilometre: its numbers fall where the speed rises."""
    moving = (reference > MOVING) & (told.speed > 0)
    if moving.sum() < MIN_WINDOWS:
        return False
    as_pace = np.log(told.speed[moving] * reference[moving] * 60 / 1000)
    as_speed = np.log(told.speed[moving] / reference[moving])
    return bool(abs(np.median(as_pace)) < NEAR_UNIT and np.std(as_pace) < min(AGREEMENT, float(np.std(as_speed))))


def _divided(values: Array, name: str, factor: float, by: str) -> tuple[Array, tuple[Reason, ...]]:
    """The values without the factor of another unit, if it is one."""
    if 1 / SAME_UNIT < factor < SAME_UNIT:
        return values, ()
    unit, exact = _unit(factor)
    meaning = f", as in {unit}" if unit else ""
    message = f"the device's {name} was {factor:.4g} times what {by} show{meaning}; it was divided by {exact:.4g}"
    return values / exact, (_reason(values, message),)


def _unit(factor: float) -> tuple[str, float]:
    """The known unit that a factor belongs to, "" for none, and what to divide by."""
    name = min(UNITS, key=lambda unit: abs(np.log(UNITS[unit] / factor)))
    return (name, UNITS[name]) if abs(np.log(UNITS[name] / factor)) < NEAR_UNIT else ("", factor)


def _reason(values: Array, message: str) -> Reason:
    return Reason(code="other_unit", samples=int(np.isfinite(values).sum()), message=message)


def _is_running(speed: Array) -> bool:
    moving = speed[speed > 0]
    return bool(len(moving) and MEDIAN_SPEEDS[0] <= np.median(moving) <= MEDIAN_SPEEDS[1])


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
