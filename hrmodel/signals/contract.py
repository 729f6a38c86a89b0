"""Every constant that the network's inputs depend on."""

from dataclasses import asdict, dataclass, fields
from typing import Any

from hrmodel.signals.grid import STEP_SECONDS


@dataclass(frozen=True, kw_only=True)
class FeatureContract:
    """The constants that define a network's inputs. Stored in its checkpoint: other constants need another network."""

    step_seconds: float = STEP_SECONDS
    vertical_speed_clip: float = 2.0  # m/s
    vertical_speed_scale: float = 0.2  # m/s
    population_heart_rate: float = 153.0  # bpm: the mean of 87 people
    population_spread: float = 14.0  # bpm
    spread_prior_workouts: float = 4.0
    population_speed_spread: float = 0.55  # m/s

    def to_dict(self) -> dict[str, float]:
        """Plain numbers by name, for JSON."""
        return asdict(self)

    @staticmethod
    def from_dict(values: dict[str, Any]) -> "FeatureContract":
        """The inverse of `to_dict`. Raises ValueError for a missing, unknown or non-numeric constant."""
        names = {field.name for field in fields(FeatureContract)}
        if set(values) != names:
            raise ValueError(f"a feature contract has {sorted(names)}, not {sorted(values)}")
        return FeatureContract(**{name: float(value) for name, value in values.items()})
