"""In which unit a device told its speed or distance, by a reference in m/s: its positions, say."""

import numpy as np

from hrmodel.workouts.formats.positions import GAP_SECONDS
from hrmodel.workouts.units import METRES_PER_FOOT
from hrmodel.workouts.workout import Array

WINDOW = 30.0  # s over which ways are compared
MOVING = 0.5  # m/s by the reference; slower windows compare jitter
MIN_WINDOWS = 5
AGREEMENT = 0.2  # natural logarithm of a window's factor over the usual one ...
AGREEING = 0.8  # ... in this share of the windows
NEAR_UNIT = 0.04  # natural logarithm: this near to a known unit's factor it is that unit
MILE, KNOT = 1609.344, 1852 / 3600
PACES = {"min/km": 1000 / 60, "min/mi": MILE / 60, "s/km": 1000.0, "s/m": 1.0}  # of a metre a second
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


def factor_of(t: Array, ways: Array, reference: Array) -> float | None:
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


def pace_of(told: Array, reference: Array) -> str | None:
    """The unit of PACES in which a device told its speed: its numbers fall where the reference (m/s) rises."""
    moving = (reference > MOVING) & (told > 0)
    if moving.sum() < MIN_WINDOWS:
        return None
    as_pace, as_speed = np.log(told[moving] * reference[moving]), np.log(told[moving] / reference[moving])
    if not np.std(as_pace) < min(AGREEMENT, float(np.std(as_speed))):
        return None
    usual = np.median(as_pace)
    return next((unit for unit, value in PACES.items() if abs(usual - np.log(value)) < NEAR_UNIT), None)


def unit_of(factor: float) -> tuple[str, float]:
    """The known unit that a factor belongs to, "" for none, and what to divide by."""
    name = min(UNITS, key=lambda unit: abs(np.log(UNITS[unit] / factor)))
    return (name, UNITS[name]) if abs(np.log(UNITS[name] / factor)) < NEAR_UNIT else ("", factor)
