"""How a person moved: on foot or on wheels, running or walking, by the speed, its changes, and the steps.

The bounds are set on 17,142 recorded runs, 658 rides and 954 walks and hikes. A runner keeps a speed: from one half
minute to the next it changes by 0.09 m/s (the middle of runs; 0.5 in one of a hundred), a rider's by 0.6 on the road. A
step of a run is 0.6 to 1.6 m long; the best of the world reach 2 m, at 165 steps a minute and more. Legs of a runner
never rest at speed, a rider's legs do for a tenth of the time.
"""

from dataclasses import dataclass

import numpy as np

from hrmodel.workouts.running import RUN_STEPS, RUNNING_STEPS, STEP_LENGTHS
from hrmodel.workouts.spells import durations
from hrmodel.workouts.workout import Array, Workout

MOVING_SPEED = 0.5  # m/s
LONGEST_GAP = 60.0  # s: a longer gap is no recorded time
BLOCK_SECONDS = 30.0
MIN_BLOCKS = 6

# steps
ONE_FOOT = 120.0  # counts a minute: more are of both feet, at any speed
WALK_RATIO = 0.0065 / 60.0  # step length in m, divided by steps a second, over 60: the same at all speeds of a walk
RESTING = 20.0  # counts a minute: legs that do not move
RESTING_SPEED = 2.5  # m/s: faster than any walk
MAX_RESTING = 0.08  # of the time at speed
LONG_STRIDE, FEW_STEPS = 1.7, 155.0  # no runner takes steps this long this seldom

# rides
RIDE_SPEED, RIDE_CHANGE = 3.2, 0.4  # m/s: mean moving speed, and its usual change from one half minute to the next
FAST_RIDE_SPEED, FAST_RIDE_CHANGE = 4.5, 0.2
RECORD_SPEED, RECORD_SECONDS = 6.3, 1200.0  # faster for longer than the world record over 10 km
DESCENT_SPEED, DESCENT_BLOCKS = 7.0, 4  # m/s, for two minutes in all


@dataclass(frozen=True, kw_only=True)
class Gait:
    """Numbers that describe a workout's movement. Speeds in m/s; NaN where nothing was recorded.

    `mean`, `median`, `fast` (the speed that is exceeded a tenth of the time): while moving; `change`: the median
    difference between half minutes that follow each other; `best`: the fourth fastest half minute. `steps`: the median
    of both feet a minute; `step_length` in metres; `resting`: the share of the time at speed without steps.
    """

    seconds: float
    mean: float
    median: float
    fast: float
    change: float
    best: float
    steps: float
    step_length: float
    resting: float

    @property
    def steps_of_a_run(self) -> bool:
        """True when the recorded steps are a runner's, which no ride and no walk has."""
        low, high = RUNNING_STEPS
        if not (low <= self.steps <= high and STEP_LENGTHS[0] <= self.step_length <= STEP_LENGTHS[1]):
            return False
        strides = self.step_length > LONG_STRIDE and self.steps < FEW_STEPS
        return not strides and not self.resting > MAX_RESTING

    @property
    def of_a_ride(self) -> bool:
        """True when it was too fast, or too uneven for its speed, for a person on foot."""
        if self.steps_of_a_run or not np.isfinite(self.mean):
            return False
        uneven = self.mean > RIDE_SPEED and self.change > RIDE_CHANGE
        uneven |= self.mean > FAST_RIDE_SPEED and self.change > FAST_RIDE_CHANGE
        record = self.mean > RECORD_SPEED and self.seconds > RECORD_SECONDS
        return bool(uneven or record or self.best > DESCENT_SPEED)


def gait_of(workout: Workout) -> Gait:
    """How the workout's person moved."""
    seconds = durations(workout.t, longest=LONGEST_GAP)
    moving = (workout.speed > MOVING_SPEED) & (seconds > 0)
    speed, weight = workout.speed[moving], seconds[moving]
    blocks = _blocks(workout.t, workout.speed, seconds)
    steps, length, resting = _steps(workout, moving)
    return Gait(
        seconds=float(weight.sum()),
        mean=float(np.average(speed, weights=weight)) if len(speed) else np.nan,
        median=float(np.median(speed)) if len(speed) else np.nan,
        fast=float(np.quantile(speed, 0.9)) if len(speed) else np.nan,
        change=float(np.median(np.abs(np.diff(blocks)))) if len(blocks) >= MIN_BLOCKS else 0.0,
        best=float(np.sort(blocks)[-DESCENT_BLOCKS]) if len(blocks) >= MIN_BLOCKS else np.nan,
        steps=steps,
        step_length=length,
        resting=resting,
    )


def both_feet(cadence: Array, speed: Array) -> Array | None:
    """(N,) steps of both feet a minute from counts that may be of one foot; None when they are no steps at all.

    At the speed of a walk or a run one of the two readings is near the usual number of steps. Turns of a crank are
    recognised by the length that the steps would have.
    """
    stepping = cadence > 0
    if not stepping.any():
        return None
    counted = float(np.median(cadence[stepping]))
    paced = stepping & (speed > MOVING_SPEED)
    if not paced.any():
        return cadence * 2 if counted < ONE_FOOT else cadence
    counted, pace = float(np.median(cadence[paced])), float(np.median(speed[paced]))
    if counted >= ONE_FOOT:
        return cadence
    walked = float(np.sqrt(pace / WALK_RATIO))
    usual = walked if walked < ONE_FOOT else RUN_STEPS
    twice = abs(np.log(2 * counted / usual)) < abs(np.log(counted / usual))
    steps = 2 * counted if twice else counted
    return cadence * (2 if twice else 1) if 60 * pace / steps <= STEP_LENGTHS[1] else None


def _steps(workout: Workout, moving: np.ndarray) -> tuple[float, float, float]:
    """Median steps a minute, median step length in m, and the share of the time at speed in which legs rest."""
    if workout.cadence is None:
        return np.nan, np.nan, np.nan
    stepping = moving & (workout.cadence > 0)
    if not stepping.any():
        return np.nan, np.nan, np.nan
    at_speed = (workout.speed > RESTING_SPEED) & np.isfinite(workout.cadence)
    resting = float((workout.cadence[at_speed] < RESTING).mean()) if at_speed.any() else np.nan
    length = float(np.median(60 * workout.speed[stepping] / workout.cadence[stepping]))
    return float(np.median(workout.cadence[stepping])), length, resting


def _blocks(t: Array, speed: Array, seconds: Array) -> Array:
    """(B,) mean speed of each half minute that was recorded and moved."""
    measured = np.isfinite(speed) & (speed >= 0)
    block = np.unique(t // BLOCK_SECONDS, return_inverse=True)[1]  # a pause of a year takes no memory
    recorded = np.bincount(block, weights=np.where(measured, seconds, 0.0))
    distance = np.bincount(block, weights=np.where(measured, speed, 0.0) * seconds)
    full = recorded >= BLOCK_SECONDS / 2
    means = distance[full] / recorded[full]
    return np.asarray(means[means > MOVING_SPEED])
