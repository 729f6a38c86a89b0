"""A subject's level and spread: the scale of input and target."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from hrmodel.signals.contract import FeatureContract
from hrmodel.signals.grid import GriddedWorkout
from hrmodel.workouts.workout import Array


@dataclass(frozen=True, kw_only=True)
class SubjectScale:
    """Means and spreads of one subject, fitted on `workouts` workouts (0: the population's)."""

    heart_rate: float  # bpm
    spread: float  # bpm
    speed: float  # m/s
    speed_spread: float  # m/s
    workouts: int

    def to_dict(self) -> dict[str, float | int]:
        """Plain numbers by name, for JSON."""
        return asdict(self)

    @staticmethod
    def from_dict(values: dict[str, Any]) -> "SubjectScale":
        """The inverse of `to_dict`. Raises ValueError for missing or unknown names."""
        names = {field.name for field in fields(SubjectScale)}
        if set(values) != names:
            raise ValueError(f"a level has {sorted(names)}, not {sorted(values)}")
        numbers = {name: float(values[name]) for name in names - {"workouts"}}
        return SubjectScale(**numbers, workouts=int(values["workouts"]))


def fit_scale(workouts: Sequence[GriddedWorkout], contract: FeatureContract) -> SubjectScale:
    """The scale of n workouts. Its means are over the workouts' means, so that a long workout does not count more.

    Each spread is n/(n+4) sd + 4/(n+4) prior: sd over all measured steps of all workouts about their common mean
    (so it includes the differences between days), prior the population's. Workouts without heart rate do not count.
    Raises ValueError when none has any.
    """
    used = [workout for workout in workouts if np.isfinite(workout.mean_heart_rate)]
    if not used:
        raise ValueError(f"a level needs at least one workout with heart rate; none of these {len(workouts)} has any")
    heart_rates = np.concatenate([segment.heart_rate for workout in used for segment in workout.segments])
    speeds = np.concatenate([segment.speed for workout in used for segment in workout.segments])
    share = len(used) / (len(used) + contract.spread_prior_workouts)
    return SubjectScale(
        heart_rate=float(np.mean([workout.mean_heart_rate for workout in used])),
        spread=share * _deviation(heart_rates) + (1 - share) * contract.population_spread,
        speed=_mean_of_finite(np.array([workout.mean_speed for workout in used])),
        speed_spread=share * _deviation(speeds) + (1 - share) * contract.population_speed_spread,
        workouts=len(used),
    )


def population_scale(contract: FeatureContract, mean_speed: float) -> SubjectScale:
    """The scale for an unknown person, who runs at `mean_speed` (m/s) in this request."""
    return SubjectScale(
        heart_rate=contract.population_heart_rate,
        spread=contract.population_spread,
        speed=mean_speed,
        speed_spread=contract.population_speed_spread,
        workouts=0,
    )


def _deviation(values: Array) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.std()) if len(finite) else 0.0


def _mean_of_finite(values: Array) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else 0.0
