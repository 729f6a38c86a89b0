"""Heart-rate zones: fractions of a person's highest heart rate."""

import numpy as np

from hrmodel.signals.scale import SubjectScale
from hrmodel.workouts.workout import Array

# Zones 1..5 by fraction of the subject's highest heart rate in training and validation (10 s means).
# Below 50 % is in no zone; above 100 % is in zone 5.
ZONES = ((0.5, 0.6), (0.6, 0.7), (0.7, 0.8), (0.8, 0.9), (0.9, np.inf))

# Six recorded people reached 2.0 to 3.3 spreads above their level in training and validation (mean 2.9).
HIGHEST_SPREADS = 3.0


def likely_highest(scale: SubjectScale) -> float:
    """An estimate of a person's highest heart rate in bpm: level + 3 spreads."""
    return scale.heart_rate + HIGHEST_SPREADS * scale.spread


def seconds_in_zones(heart_rate: Array, seconds: Array, highest: float) -> tuple[float, ...]:
    """(S,) bpm and the steps' durations, (S,) s -> seconds in zones 1..5 of the highest heart rate (bpm)."""
    share = heart_rate / highest
    return tuple(float(seconds[(share >= low) & (share < high)].sum()) for low, high in ZONES)
