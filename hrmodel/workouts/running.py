"""Running in numbers: the bounds of a run, the limits to walks and rides, and usual values.

Another sport needs its own values of these. Heart-rate bounds and sensor faults are the same in all sports.
"""

import numpy as np

# bounds of a run
MIN_SECONDS = 600.0  # of recorded time: a shorter workout is not learned from
SPEED_BOUNDS = (0.0, 12.0)  # m/s
MAX_CLIMB = 8.0  # m/s, up or down
# sprinters gain 3 m/s in a second from standing only; from running, 1 in 100,000 recorded seconds of most people do
MAX_ACCELERATION = 3.0  # m/s2
MEDIAN_BOUNDS = (0.3, 8.0)  # m/s, of the median moving speed; outside, the unit of the speed is wrong
MEDIAN_SPEEDS = (0.8, 6.5)  # m/s: the median of a runner who moves, in the likely unit

# limits to a walk or a ride
RUNNING_CADENCE = 140.0  # steps/min, both feet
RUNNING_STEPS = (RUNNING_CADENCE, 230.0)  # steps/min, both feet
RUN_STEPS = 165.0  # steps/min, at any speed of a run
STEP_LENGTHS = (0.35, 2.0)  # m
WALKING_SPEED = 1.6  # m/s
RUNNING_SPEED = 2.2  # m/s: faster than any walk
FAST_WALK = (1.75, 2.1)  # m/s, median and 90 % quantile: 670 of 702 walks, none of 17,142 runs
CLIMBING_SPEED = 0.12  # m/s upwards, over the whole time: faster than people hike

# the usual run
TYPICAL_SPEED = 2.8  # m/s, the middle of real runs: picks the likely unit
USUAL_SPREAD = 0.3  # m/s: the speed's deviation within a workout at which the feature `speed_spread` is 0
USUAL_STEPS = 300  # of 10 s, 50 min: the workout length at which the feature `duration` is 0

# plans
SLOWEST, FASTEST = 1.0, 6.5  # m/s
# the energy cost of running on slopes: Minetti et al. 2002, J Appl Physiol 93:1039
FLAT_COST = 3.6  # J/kg/m
COST_ON_SLOPE = np.polynomial.Polynomial([3.6, 19.5, 46.3, -43.3, -30.4, 155.4])  # J/kg/m at a slope as a fraction
