"""What every peer does with a request: our network's passes over its rows. No bands, no response, no checks."""

import numpy as np
import torch
from numpy.typing import NDArray

from hrmodel.offline.start import read_base

LEVEL, SPREAD, SPEED, SPEED_SPREAD = 148.0, 13.0, 2.8, 0.45
HALF_LIFE = 180.0
Rows = NDArray[np.float32]


class Passes:
    """The shipped network, as somebody would put it behind a route."""

    def __init__(self) -> None:
        self.network = read_base(None).checkpoint.build().eval()

    def inputs(self, speed: list[float | None], altitude: list[float | None], heart_rate: list[float | None]) -> Rows:
        """(1, T, 3), or (2, T, 3) when heart rate was observed: blind, and with it as history."""
        rows = np.zeros((2 if any(value is not None for value in heart_rate) else 1, len(speed), 3), dtype=np.float32)
        climb = np.gradient(np.array(altitude, dtype=float)) / 10.0
        rows[..., 0] = (np.array(speed, dtype=float) - SPEED) / SPEED_SPREAD
        rows[..., 1] = np.clip(climb, -2, 2) / 0.2
        if len(rows) == 2:
            known = (np.array(heart_rate, dtype=float) - LEVEL) / SPREAD
            rows[1, 1:, 2] = np.nan_to_num(known[:-1])
        return rows

    def run(self, rows: Rows) -> Rows:
        """(B, T, 3) -> (B, T) bpm."""
        with torch.inference_mode():
            output: Rows = self.network(torch.from_numpy(rows)).numpy()
        return LEVEL + SPREAD * output

    @staticmethod
    def answer(outputs: Rows, heart_rate: list[float | None]) -> list[float]:
        """(1 or 2, T) bpm -> the answer: blind, or moved by what was observed."""
        if len(outputs) == 1:
            return [round(value, 2) for value in outputs[0].tolist()]
        observed = np.array(heart_rate, dtype=float)
        known = np.flatnonzero(~np.isnan(observed))
        offset = float(np.mean(observed[known] - outputs[0][known]))
        since = np.maximum(np.arange(len(observed)) - known[-1], 0) * 10.0
        moved = outputs[0] + offset * np.exp(-since / HALF_LIFE)
        return [round(value, 2) for value in (0.7 * moved + 0.3 * outputs[1]).tolist()]
