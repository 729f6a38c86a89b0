"""Cleaning: which workouts are fit to learn from, which of their values are sensor faults, and the reasons."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from hrmodel.workouts.bounds import first_samples, within_bounds
from hrmodel.workouts.cleaning.faults import take_out
from hrmodel.workouts.formats.sport import RUNNING, UNKNOWN, sport_called
from hrmodel.workouts.gait import MOVING_SPEED, RIDE_CHANGE, Gait, gait_of
from hrmodel.workouts.reasons import Reason, lasting
from hrmodel.workouts.running import MIN_SECONDS
from hrmodel.workouts.units import ImplausibleSpeed, Units, check_running_speed, pace
from hrmodel.workouts.walking import PARTLY_WALKED, end_of_run, looks_walked, walked
from hrmodel.workouts.workout import MARKS, Workout

PAUSE_SECONDS = 60.0  # a longer gap is no recorded time
MOSTLY_FAULTY = 0.5  # of the heart-rate readings: beyond it, the rest is not trusted either
SAY_SO = (
    "if such files are runs, upload them again and say so: ?sport=running, --sport running, or the choice on the page"
)
SENSOR_FAULTS = ("heart_rate_spike", "heart_rate_dropout", "heart_rate_held", "heart_rate_start", "cadence_lock")


@dataclass(frozen=True, kw_only=True, eq=False)
class Cleaned:
    """The verdict on one workout; `workout` is None when it was dropped.

    `kept`: nothing was changed, though there may be a warning among the reasons. The reasons for dropping come first.
    """

    workout: Workout | None
    verdict: Literal["kept", "repaired", "dropped"]
    reasons: tuple[Reason, ...]


def clean(workout: Workout, *, min_hr_per_minute: float = 6.0, on_fault: Callable[[], None] = lambda: None) -> Cleaned:
    """Mark faulty values as missing, then drop a workout that is no run, too short, or has too little heart rate to
    learn from. A workout longer than a day is cut first.

    `min_hr_per_minute`: measured heart-rate samples per minute of recorded time (pauses over 60 s do not count, nor
    does standing still for long). `on_fault` is called after the search for each kind of fault.
    """
    bounded, longer = within_bounds(workout)
    ended, cut = _cut(bounded)
    # the speeds as recorded: in the wrong unit most of them would be "repaired" away first
    gait = gait_of(ended)
    drops = _not_a_run(ended) or _ride(ended, gait)
    repaired, faults = take_out(ended, on_fault)
    repairs = (*_mended(workout), *longer, *cut, *faults)
    drops = drops or _walk(repaired, gait) or _faulty(repaired) or _too_little(repaired, min_hr_per_minute)
    if drops:
        return Cleaned(workout=None, verdict="dropped", reasons=(*drops, *repairs))
    reasons = (*repairs, *_partly_walked(repaired), *_sport_inferred(workout))
    return Cleaned(workout=repaired, verdict="repaired" if repairs else "kept", reasons=reasons)


def heart_rate_density(workout: Workout) -> float:
    """Measured heart-rate samples per minute of recorded time; 0 for none."""
    gaps = np.diff(workout.t)
    minutes = float(gaps[gaps <= PAUSE_SECONDS].sum()) / 60.0
    readings = 0 if workout.heart_rate is None else int(np.isfinite(workout.heart_rate).sum())
    return readings / minutes if minutes else 0.0


def _mended(workout: Workout) -> tuple[Reason, ...]:
    """The samples that the reader left out, and its changes."""
    if not workout.removed_samples:
        return workout.mended
    message = "removed samples without a time, or whose time fits nowhere"
    return (Reason(code="bad_time", samples=workout.removed_samples, message=message), *workout.mended)


def _cut(workout: Workout) -> tuple[Workout, tuple[Reason, ...]]:
    """Without the samples after the end of the run."""
    end = end_of_run(workout)
    if end == len(workout.t):
        return workout, ()
    run = first_samples(workout, end)
    message = f"left out the last {lasting(workout.t[-1] - run.t[-1])}: you had stopped moving, the recording had not"
    return run, (Reason(code="forgotten_stop", samples=len(workout.t) - end, message=message),)


def _not_a_run(workout: Workout) -> tuple[Reason, ...]:
    samples = len(workout.t)
    sport = sport_called(workout.sport) or UNKNOWN
    if sport == UNKNOWN:
        recorded = f" (recorded as {workout.sport_source})" if workout.sport_source else ""
        return (
            Reason(code="sport_not_named", samples=samples, message=f"the file names no sport{recorded}; {SAY_SO}"),
        )
    if sport != RUNNING:
        source = f" (by {workout.sport_source})" if workout.sport_source else ""
        message = f"recorded as {workout.sport[:50]}{source}, not running"
        return (Reason(code="not_running", samples=samples, message=message),)
    if not (workout.speed > 0).any():
        return (Reason(code="no_speed", samples=samples, message="no moving speed was recorded"),)
    try:
        check_running_speed(workout.speed, Units())
    except ImplausibleSpeed as error:
        return (Reason(code="implausible_speed", samples=samples, message=str(error)),)
    return ()


def _ride(workout: Workout, gait: Gait) -> tuple[Reason, ...]:
    if not gait.of_a_ride:
        return ()
    message = f"a ride: its mean moving speed is {gait.mean:.1f} m/s ({3.6 * gait.mean:.0f} km/h)"
    if gait.change > RIDE_CHANGE:
        message += f", and it changes by {gait.change:.1f} m/s from one half minute to the next"
    message += "; if it was a run, its speed is in another unit: say it with speed_unit"
    return (Reason(code="ride", samples=len(workout.t), message=message),)


def _walk(workout: Workout, gait: Gait) -> tuple[Reason, ...]:
    if not looks_walked(workout, gait):
        return ()
    median = float(np.median(workout.speed[workout.speed > MOVING_SPEED]))
    message = f"a walk: its median moving speed is {median:.2f} m/s ({pace(median)})"
    if workout.cadence is not None and (workout.cadence > 0).any():
        message += f" at {np.median(workout.cadence[workout.cadence > 0]):.0f} steps a minute"
    return (Reason(code="walk", samples=len(workout.t), message=message),)


def _partly_walked(workout: Workout) -> tuple[Reason, ...]:
    walking, share = walked(workout)
    if share < PARTLY_WALKED:
        return ()
    message = f"walked for {share:.0%} of the moving time; kept as a run"
    return (Reason(code="partly_walked", samples=int(walking.sum()), message=message),)


def _sport_inferred(workout: Workout) -> tuple[Reason, ...]:
    if not workout.sport_source:
        return ()
    return (Reason(code="sport_inferred", samples=0, message=f"taken for a run by {workout.sport_source}"),)


def _faulty(workout: Workout) -> tuple[Reason, ...]:
    if workout.heart_rate is None or workout.marks is None:
        return ()
    faulty = int((workout.marks & sum(MARKS[code] for code in SENSOR_FAULTS) > 0).sum())
    readings = faulty + int(np.isfinite(workout.heart_rate).sum())
    if faulty <= MOSTLY_FAULTY * readings:
        return ()
    message = f"{faulty / readings:.0%} of the heart rate is a sensor's fault"
    return (Reason(code="faulty_heart_rate", samples=faulty, message=message),)


def _too_little(workout: Workout, min_hr_per_minute: float) -> tuple[Reason, ...]:
    gaps = np.diff(workout.t)
    recorded = gaps <= PAUSE_SECONDS
    if workout.marks is not None:
        recorded &= workout.marks[:-1] & MARKS["standing_pause"] == 0
    minutes = float(gaps[recorded].sum()) / 60.0
    if minutes * 60.0 < MIN_SECONDS:
        message = f"{minutes:.1f} min of recorded time; {MIN_SECONDS / 60:g} are needed"
        return (Reason(code="too_short", samples=len(workout.t), message=message),)
    readings = 0 if workout.heart_rate is None else int(np.isfinite(workout.heart_rate).sum())
    if readings == 0:
        return (Reason(code="no_heart_rate", samples=len(workout.t), message="no heart rate was recorded"),)
    if readings / minutes < min_hr_per_minute:
        message = f"{readings / minutes:.1f} heart-rate samples a minute; {min_hr_per_minute:g} are needed"
        return (Reason(code="sparse_heart_rate", samples=readings, message=message),)
    return ()
