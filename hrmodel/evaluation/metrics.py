"""Error measures over the scored steps of one workout, and their summary over workouts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hrmodel.personal.zones import ZONES
from hrmodel.workouts.workout import Array


@dataclass(frozen=True, kw_only=True, eq=False)
class Scored:
    """Prediction beside truth over S steps, bpm. Only steps where `mask` is True count; there both are finite."""

    prediction: Array  # (S,)
    truth: Array  # (S,)
    mask: NDArray[np.bool_]  # (S,)
    max_heart_rate: float  # bpm, for the zones; NaN: unknown
    half_width: Mapping[str, Array] = field(default_factory=dict)  # coverage, such as "0.9" -> (S,) bpm

    @cached_property
    def errors(self) -> Array:
        """Prediction minus truth at the steps that count."""
        return (self.prediction - self.truth)[self.mask]

    @cached_property
    def absolute_errors(self) -> Array:
        """The errors without their signs."""
        return np.abs(self.errors)

    @cached_property
    def effort(self) -> Array:
        """The true heart rate as a share of the highest, at the steps that count; NaN: unknown."""
        return self.truth[self.mask] / self.max_heart_rate


def mae(scored: Scored) -> float:
    """Mean absolute error in bpm; NaN over no step."""
    return _mean(scored.absolute_errors)


def rmse(scored: Scored) -> float:
    """Root of the mean squared error in bpm; NaN over no step."""
    return float(np.sqrt(_mean(scored.errors**2)))


def bias(scored: Scored) -> float:
    """Mean error in bpm, positive where the prediction is too high; NaN over no step."""
    return _mean(scored.errors)


def r2(scored: Scored) -> float:
    """1 - squared error / squared deviation from the workout's own mean; NaN when the truth is constant."""
    truth = scored.truth[scored.mask]
    deviation = float(np.sum((truth - _mean(truth)) ** 2))
    return 1.0 - float(np.sum(scored.errors**2)) / deviation if deviation > 0 else float("nan")


def mae_in_zone(zone: int) -> Callable[[Scored], float]:
    """Mean absolute error in bpm over the steps whose true heart rate lies in the zone (1..5)."""

    def metric(scored: Scored) -> float:
        return _mean(scored.absolute_errors[_in_zone(scored, zone)])

    return metric


def share_in_zone(zone: int) -> Callable[[Scored], float]:
    """Share (0..1) of the steps whose true heart rate lies in the zone (1..5); NaN without a highest heart rate."""

    def metric(scored: Scored) -> float:
        return _mean(_in_zone(scored, zone)) if np.isfinite(scored.max_heart_rate) else float("nan")

    return metric


METRICS: dict[str, Callable[[Scored], float]] = {
    "mae": mae,
    "rmse": rmse,
    "r2": r2,
    "bias": bias,
    **{f"mae_zone_{zone}": mae_in_zone(zone) for zone in range(1, len(ZONES) + 1)},
    **{f"share_zone_{zone}": share_in_zone(zone) for zone in range(1, len(ZONES) + 1)},
}


def measure(scored: Scored) -> dict[str, float]:
    """Every metric of one workout; NaN where it has no value."""
    return {name: metric(scored) for name, metric in METRICS.items()}


def covered(scored: Scored) -> dict[str, float]:
    """The share of steps inside each band."""
    return {
        coverage: _mean(scored.absolute_errors <= width[scored.mask])
        for coverage, width in sorted(scored.half_width.items())
    }


def mean_half_widths(scored: Scored) -> dict[str, float]:
    """The mean half width of each band in bpm."""
    return {coverage: _mean(width[scored.mask]) for coverage, width in sorted(scored.half_width.items())}


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One workout's measures; NaN where one has no value."""

    metrics: Mapping[str, float]  # by the names of METRICS
    covered: Mapping[str, float] = field(default_factory=dict)  # by coverage: the share of steps inside the band
    half_widths: Mapping[str, float] = field(default_factory=dict)  # by coverage: the mean half width in bpm


def measured(scored: Scored) -> Measured:
    """All measures of one workout."""
    return Measured(metrics=measure(scored), covered=covered(scored), half_widths=mean_half_widths(scored))


def reliability(workouts: Sequence[Measured]) -> dict[str, dict[str, float | None]]:
    """By nominal coverage, such as "0.9": the `measured` coverage (0..1) and the `half_width` (bpm), means over
    workouts.

    Empty for no workout and without bands.
    """
    shares = over_workouts([workout.covered for workout in workouts], np.mean)
    widths = over_workouts([workout.half_widths for workout in workouts], np.mean)
    return {name: {"measured": shares[name], "half_width": widths[name]} for name in shares}


def over_workouts(rows: Sequence[Mapping[str, float]], how: Callable[[Array], float]) -> dict[str, float | None]:
    """One number per metric, over the workouts with a finite value; None without any (JSON has no NaN)."""
    names = rows[0] if rows else ()
    return {name: _summary(np.array([row[name] for row in rows]), how) for name in names}


def _in_zone(scored: Scored, zone: int) -> NDArray[np.bool_]:
    low, high = ZONES[zone - 1]
    return (scored.effort >= low) & (scored.effort < high)


def _summary(values: Array, how: Callable[[Array], float]) -> float | None:
    finite = values[np.isfinite(values)]
    return float(how(finite)) if len(finite) else None


def _mean(values: Array | NDArray[np.bool_]) -> float:
    return float(values.sum() / len(values)) if len(values) else float("nan")  # np.mean, in half of its time
