"""What every peer does with a request: our network's passes over its rows. No bands, no response, no checks."""

import numpy as np
import torch
from numpy.typing import NDArray

from hrmodel.offline.start import read_base

LEVEL, SPREAD, SPEED, SPEED_SPREAD = 148.0, 13.0, 2.8, 0.45
HALF_LIFE = 180.0
FREE_RUN_WEIGHT = 0.3
Rows = NDArray[np.float32]
Values = list[float | None]


class Passes:
    """The shipped network, as somebody would put it behind a route."""

    def __init__(self) -> None:
        self.network = read_base(None).checkpoint.build().eval()

    def inputs(self, speed: Values, altitude: Values, heart_rate: Values) -> Rows:
        """(1, T, 3), or (2, T, 3) when heart rate was observed: blind, and with it as history."""
        observed = np.array(heart_rate, dtype=np.float32)  # None is NaN
        seen = not np.isnan(observed).all()
        rows = np.zeros((2 if seen else 1, len(speed), 3), dtype=np.float32)
        climb = np.gradient(np.array(altitude, dtype=np.float32)) / 10.0
        rows[..., 0] = (np.array(speed, dtype=np.float32) - SPEED) / SPEED_SPREAD
        rows[..., 1] = np.clip(climb, -2, 2) / 0.2
        if seen:
            rows[1, 1:, 2] = np.nan_to_num((observed[:-1] - LEVEL) / SPREAD)
        return rows

    def run(self, rows: Rows) -> Rows:
        """(B, T, 3) -> (B, T) bpm, all rows in one pass."""
        with torch.inference_mode():
            output: Rows = self.network(torch.from_numpy(rows)).numpy()
        return LEVEL + SPREAD * output

    @staticmethod
    def answer(outputs: Rows, heart_rate: Values) -> Rows:
        """(1 or 2, T) bpm -> (T,): blind, or moved by what was observed."""
        if len(outputs) == 1:
            return np.round(outputs[0], 2)
        observed = np.array(heart_rate, dtype=np.float32)
        known = np.flatnonzero(~np.isnan(observed))
        offset = np.mean(observed[known] - outputs[0][known])
        since = np.maximum(np.arange(len(observed), dtype=np.float32) - known[-1], 0) * 10.0
        moved = outputs[0] + offset * np.exp(-since / HALF_LIFE)
        return np.round((1 - FREE_RUN_WEIGHT) * moved + FREE_RUN_WEIGHT * outputs[1], 2)

    def floating_point_operations(self, steps: int) -> int:
        """Of one row: a multiplication and an addition for each weight of a matrix, at each step."""
        return 2 * steps * sum(weights.numel() for weights in self.network.parameters() if weights.dim() == 2)
