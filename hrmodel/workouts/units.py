"""Units at the edge: files and requests may bring others; inside there are only m/s and m."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from hrmodel.workouts.running import MEDIAN_BOUNDS, TYPICAL_SPEED
from hrmodel.workouts.workout import Array

SpeedUnit = Literal["m/s", "km/h", "mi/h", "min/km"]
AltitudeUnit = Literal["m", "ft"]

METRES_PER_FOOT = 0.3048


def _pace(minutes_per_km: Array) -> Array:
    """A pace of 0 is how watches show standing still; a negative one means nothing."""
    with np.errstate(divide="ignore"):
        speed = 1000.0 / (60.0 * minutes_per_km)
    return np.where(minutes_per_km > 0, speed, np.where(minutes_per_km == 0, 0.0, np.nan))


SPEED_UNITS: dict[SpeedUnit, Callable[[Array], Array]] = {
    "m/s": lambda value: value,
    "km/h": lambda value: value / 3.6,
    "mi/h": lambda value: value * 0.44704,
    "min/km": _pace,
}


@dataclass(frozen=True, kw_only=True)
class Units:
    """The units that a file or request is written in."""

    speed: SpeedUnit = "m/s"
    altitude: AltitudeUnit = "m"

    def __post_init__(self) -> None:
        if self.speed not in SPEED_UNITS:
            raise ValueError(f"speed must be in one of {', '.join(SPEED_UNITS)}, not {self.speed!r}")
        if self.altitude not in ("m", "ft"):
            raise ValueError(f"altitude must be in m or ft, not {self.altitude!r}")

    def to_metric(self, speed: Array, altitude: Array | None) -> tuple[Array, Array | None]:
        """The same speed in m/s and altitude in m; NaN stays NaN."""
        return SPEED_UNITS[self.speed](speed), None if altitude is None else self.altitude_in_metres(altitude)

    def altitude_in_metres(self, altitude: Array) -> Array:
        """The same altitude in m; NaN stays NaN."""
        return altitude * METRES_PER_FOOT if self.altitude == "ft" else altitude


class ImplausibleSpeed(ValueError):
    """The speeds are no running speeds in the declared unit; `likely` is the unit that would make them so."""

    def __init__(self, median: float, declared: SpeedUnit) -> None:
        low, high = MEDIAN_BOUNDS
        self.median = median
        self.likely, speed = _likely_unit(median, declared)
        advice = f"; read as {self.likely} it would be {speed:.3g} m/s ({pace(speed)})" if self.likely else ""
        super().__init__(
            f"the median moving speed is {median:.3g} m/s when read as {declared}, "
            f"but running is within {low:g}..{high:g} m/s{advice}"
        )


def pace(speed: float) -> str:
    """Minutes and seconds for a kilometre at this speed in m/s: 6:00 min/km."""
    seconds = round(1000.0 / speed)
    return f"{seconds // 60}:{seconds % 60:02d} min/km"


def check_running_speed(speed: Array, units: Units) -> None:
    """Raise ImplausibleSpeed when the median of the moving samples (above 0) is outside 0.3..8 m/s.

    `speed`: (N,) m/s, already converted from `units`. Without a moving sample
    there is nothing to judge.
    """
    if MEDIAN_BOUNDS[0] <= np.fmin.reduce(speed) and np.fmax.reduce(speed) <= MEDIAN_BOUNDS[1]:
        return  # every speed is, the usual case
    moving = speed[speed > 0]  # NaN compares false
    if not len(moving):
        return
    ordered, middle = np.sort(moving), len(moving) // 2  # np.median takes six times as long for a few hundred
    median = float(ordered[middle] + ordered[(len(moving) - 1) // 2]) / 2.0
    if not MEDIAN_BOUNDS[0] <= median <= MEDIAN_BOUNDS[1]:
        raise ImplausibleSpeed(median, units.speed)


def _likely_unit(median: float, declared: SpeedUnit) -> tuple[SpeedUnit | None, float]:
    """The other unit in which the numbers as written come closest to a usual running speed, and that speed in m/s; no
    unit if none is near."""
    unit_speed = np.ones(1)
    written = 1000.0 / (60.0 * median) if declared == "min/km" else median / SPEED_UNITS[declared](unit_speed)[0]
    speeds = {
        unit: float(convert(written * unit_speed)[0]) for unit, convert in SPEED_UNITS.items() if unit != declared
    }
    near = {unit: speed for unit, speed in speeds.items() if TYPICAL_SPEED / 3.0 < speed < TYPICAL_SPEED * 3.0}
    best = min(near, key=lambda unit: abs(math.log(near[unit] / TYPICAL_SPEED)), default=None)
    return best, near[best] if best else math.nan
