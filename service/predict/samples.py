"""From a request to a `Workout`: units, times and bounds. The first wrong value is named by its JSON pointer."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hrmodel.signals.grid import STEP_SECONDS
from hrmodel.workouts.running import SPEED_BOUNDS
from hrmodel.workouts.units import ImplausibleSpeed, Units, check_running_speed
from hrmodel.workouts.workout import MAX_SECONDS, Array, Workout
from service.errors import FieldError, Unprocessable
from service.predict.schemas import MAX_BATCH_HOURS, MAX_BATCH_SAMPLES, PredictRequest

MAX_SPAN = 24 * 3600.0
MAX_GAP = 3600.0
MAX_SPEED = 100.0  # m/s: a bad fix may be fast, but no receiver says more
ALTITUDES = (-1000.0, 20_000.0)  # m
HEART_RATES = (25.0, 240.0)  # bpm


def to_workout(body: PredictRequest, at: str = "") -> Workout:
    """What the request says, in metric units. `at` is where it stands in a batch. Raises Unprocessable."""
    for name in ("altitude", "heart_rate", "t"):
        row = getattr(body, name)
        if row is not None and len(row) != len(body.speed):
            raise wrong(f"{at}/{name}", f"has {len(row)} samples, but speed has {len(body.speed)}")
    times = _times(body, at)
    speed, altitude = _motion(body, at)
    if body.heart_rate is not None:
        low, high = HEART_RATES
        _refuse_outside(
            body.heart_rate,
            HEART_RATES,
            f"{at}/heart_rate",
            f"must be within {low:g}..{high:g} bpm, or null where it is not known",
        )
    return Workout(t=times, speed=speed, altitude=altitude, heart_rate=body.heart_rate)


def check_samples(bodies: Sequence[PredictRequest]) -> None:
    """Raise Unprocessable when the requests of a batch hold more samples than one may."""
    samples = sum(len(body.speed) for body in bodies)
    if samples > MAX_BATCH_SAMPLES:
        most = f"{MAX_BATCH_SAMPLES} samples in all is the most"
        raise wrong("/requests", f"hold {samples} samples; {most}, so send several")


def check_length(workouts: Sequence[Workout]) -> None:
    """Raise Unprocessable when the workouts of a batch last longer than those of one may."""
    hours = sum(float(workout.t[-1] - workout.t[0]) for workout in workouts) / 3600.0
    if hours > MAX_BATCH_HOURS:
        raise wrong("/requests", f"hold {hours:.0f} h of workouts; {MAX_BATCH_HOURS:g} h is the most, so send several")


def _times(body: PredictRequest, at: str) -> Array:
    if body.t is None:
        step = body.step_seconds or STEP_SECONDS
        times = np.arange(len(body.speed), dtype=np.float64) * step
        if times[-1] > MAX_SPAN:
            place = "/speed" if body.step_seconds is None else "/step_seconds"
            raise wrong(at + place, f"makes {times[-1]:.0f} s of {len(times)} samples; 24 h is the most")
        return times
    if body.step_seconds is not None:
        raise wrong(f"{at}/step_seconds", "does not go with t; send one of the two")
    times = np.asarray(body.t, dtype=np.float64)
    refuse(np.isnan(times), f"{at}/t", "must be a number; every sample needs its time")
    refuse((times < 0) | (times > MAX_SECONDS), f"{at}/t", "must be seconds since the start of the workout, from 0 on")
    steps = np.diff(times, prepend=-1.0)
    refuse(steps <= 0, f"{at}/t", "must be later than the sample before it")
    steps[0] = 0.0
    refuse(steps > MAX_GAP, f"{at}/t", "comes more than 1 h after the sample before it")
    refuse(times - times[0] > MAX_SPAN, f"{at}/t", "is more than 24 h after the first sample")
    return times


def _motion(body: PredictRequest, at: str) -> tuple[Array, Array | None]:
    _refuse_outside(body.speed, (0.0, math.inf), f"{at}/speed", "must be 0 or more")
    units = Units(speed=body.units.speed, altitude=body.units.altitude)
    speed, altitude = units.to_metric(body.speed, body.altitude)
    fastest = np.fmax.reduce(speed)  # of the numbers: NaN is none
    if fastest > MAX_SPEED:
        refuse(speed > MAX_SPEED, f"{at}/speed", f"is faster than {MAX_SPEED:g} m/s when read as {units.speed}")
    if np.isnan(fastest):
        raise wrong(f"{at}/speed", "must hold at least one number")
    try:
        check_running_speed(speed, units)
    except ImplausibleSpeed as error:
        raise wrong(f"{at}/speed", str(error)) from error
    if fastest > SPEED_BOUNDS[1]:
        speed = np.where(speed > SPEED_BOUNDS[1], np.nan, speed)  # as the import does: too fast for a runner, a bad fix
    if altitude is not None:
        low, high = ALTITUDES
        message = f"must be within {low:g}..{high:g} m when read as {units.altitude}"
        _refuse_outside(altitude, ALTITUDES, f"{at}/altitude", message)
    return speed, altitude


def _refuse_outside(row: Array, bounds: tuple[float, float], place: str, message: str) -> None:
    """Raise Unprocessable unless all numbers of a row are within bounds; NaN is none."""
    low, high = bounds
    if np.fmin.reduce(row) < low or np.fmax.reduce(row) > high:
        refuse((row < low) | (row > high), place, message)


def refuse(bad: NDArray[np.bool_], place: str, message: str) -> None:
    """Raise Unprocessable that names the first bad element of the row at this JSON pointer."""
    if bad.any():
        raise wrong(f"{place}/{int(bad.argmax())}", message)


def wrong(pointer: str, message: str) -> Unprocessable:
    """The error of the value at a JSON pointer."""
    return Unprocessable("invalid_request", f"{pointer} {message}.", [FieldError(pointer, message)])
