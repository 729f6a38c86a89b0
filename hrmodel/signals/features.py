"""From a segment to the network's inputs."""

import math

import numpy as np
from numpy.typing import NDArray

from hrmodel.signals.contract import FeatureContract
from hrmodel.signals.grid import Segment
from hrmodel.signals.scale import SubjectScale
from hrmodel.workouts.workout import Array

Features = NDArray[np.float32]


def motion_features(segment: Segment, scale: SubjectScale, contract: FeatureContract) -> Features:
    """(T, 2): speed in the subject's scale, and vertical speed; 0 where either is unknown."""
    return motion_of(segment.speed, vertical_speed(segment.altitude, contract), scale)


def motion_of(speed: Array, climb: Array, scale: SubjectScale) -> Features:
    """The same from (T,) speed in m/s and (T,) `vertical_speed`."""
    features = np.empty((len(speed), 2), dtype=np.float32)
    features[:, 0] = known_or_zero((speed - scale.speed) / scale.speed_spread)
    features[:, 1] = climb
    return features


def vertical_speed(altitude: Array, contract: FeatureContract, begins: NDArray[np.int64] | int = 0) -> Array:
    """(T,): centred difference of the bin altitudes in m/s (one-sided at the ends), clipped and scaled; 0 if unknown.

    It may look one step ahead: a route's altitude is known before it is run. It does not look beyond a segment, and
    `begins` (T,) is the first step of each step's segment.
    """
    most = contract.vertical_speed_clip
    several = not isinstance(begins, int) and begins[-1] > 0
    climb = _differences_within(altitude, begins) if several else _differences(altitude)
    climb = np.minimum(np.maximum(climb / contract.step_seconds, -most), most)
    return known_or_zero(climb / contract.vertical_speed_scale)


def _differences(altitude: Array) -> Array:
    """(T,) m per step in one segment."""
    climb = np.zeros(len(altitude))
    if len(altitude) > 1:
        np.subtract(altitude[2:], altitude[:-2], out=climb[1:-1])
        climb[1:-1] /= 2.0
        climb[0], climb[-1] = altitude[1] - altitude[0], altitude[-1] - altitude[-2]
    return climb


def _differences_within(altitude: Array, begins: NDArray[np.int64] | int) -> Array:
    """The same in several segments."""
    first = np.arange(len(altitude)) == begins
    last = np.append(first[1:], True)
    before, after = np.append(altitude[:1], altitude[:-1]), np.append(altitude[1:], altitude[-1:])
    before[first], after[last] = altitude[first], altitude[last]
    climb: Array = (after - before) / np.maximum(2 - first.astype(np.int64) - last, 1)
    return climb


def history_feature(
    heart_rate: Array, level_heart_rate: float, spread: float, begins: NDArray[np.int64] | int = 0
) -> Features:
    """(T,): at step t the heart rate of step t-1 as (bpm - level) / spread; 0 where it is unknown and at the first
    step of a segment: `begins` (T,) is the first step of each step's segment.

    `heart_rate` is (T,) bpm less the subject's response, forward filled, NaN where unobserved.
    """
    history = np.zeros(heart_rate.shape, dtype=np.float32)
    history[1:] = scaled(heart_rate[:-1], level_heart_rate, spread)
    history[begins] = 0.0
    return history


def scaled(heart_rate: Array, level_heart_rate: float, spread: float) -> Array:
    """Heart rate in the subject's scale: (bpm - level) / spread; 0 where it is unknown."""
    return known_or_zero((heart_rate - level_heart_rate) / spread)


def known_or_zero(values: Array) -> Array:
    """The values, 0 where they are NaN."""
    if not math.isnan(values.sum()):  # the usual case, in a third of the time
        return values
    filled: Array = np.where(np.isnan(values), 0.0, values)
    return filled
