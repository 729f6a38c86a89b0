"""The output of a network's last layer, whitened: the features by which a person's own read-out is followed."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hrmodel.workouts.workout import Array

LEAST_SHARE = 1e-8  # of the largest variance: a direction in which the output hardly varies carries little but noise


@dataclass(frozen=True, kw_only=True, eq=False)
class Whitening:
    """z = (hidden - mean) @ matrix: uncorrelated and of unit variance over the steps of many people."""

    mean: Array  # (H,)
    matrix: Array  # (H, H)

    def __post_init__(self) -> None:
        """Raise ValueError for arrays that do not fit each other."""
        if self.mean.ndim != 1 or self.matrix.shape != (len(self.mean), len(self.mean)):
            raise ValueError(f"a whitening of {self.mean.shape} units has no matrix of {self.matrix.shape}")

    @staticmethod
    def fit(outputs: Iterable[NDArray[np.floating]]) -> "Whitening":
        """From the (S, H) outputs of many workouts. Raises ValueError without any."""
        count, total, products = 0, np.zeros(1), np.zeros((1, 1))
        for output in outputs:
            hidden = output.astype(np.float64)
            count, total, products = count + len(hidden), total + hidden.sum(axis=0), products + hidden.T @ hidden
        if not count:
            raise ValueError("a whitening needs at least one step")
        mean = total / count
        variances, directions = np.linalg.eigh(products / count - np.outer(mean, mean))
        return Whitening(mean=mean, matrix=directions / np.sqrt(np.maximum(variances, LEAST_SHARE * variances[-1])))

    def features(self, hidden: NDArray[np.floating]) -> Array:
        """(S, H) outputs of the last layer -> (S, H)."""
        features: Array = (hidden - self.mean) @ self.matrix
        return features

    def reading(self, weights: Array) -> "OwnReading":
        """The sum of the features times weights (H,), at the cost of one product per unit."""
        of_units = self.matrix @ weights
        return OwnReading(of_units=of_units, constant=-float(self.mean @ of_units))


@dataclass(frozen=True, kw_only=True, eq=False)
class OwnReading:
    """What a person's own weights read out of the last layer."""

    of_units: Array  # (H,) bpm
    constant: float  # bpm

    def of(self, hidden: NDArray[np.floating]) -> Array:
        """(S, H) outputs of the last layer -> (S,) bpm."""
        read: Array = hidden @ self.of_units + self.constant
        return read
