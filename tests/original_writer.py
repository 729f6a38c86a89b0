"""Writes data in the format of the original project."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hrmodel.workouts.formats.original import SCALER_FILE, SERIES, STEPS
from hrmodel.workouts.workout import Array, Workout

STEP_SECONDS = 10.0


def write_original_dataset(workouts_by_split: Mapping[str, Sequence[Workout]], folder: Path) -> None:
    """Write workouts as the original project did: standardised km/h and m at 10 s, padded with 0 to 500 steps.

    A workout over 500 steps is stretched to 500, while the length before is stored.
    """
    rows = {split: [_resample(workout) for workout in workouts] for split, workouts in workouts_by_split.items()}
    train = rows["train"]
    scaler: dict[str, float] = {}
    for name in ("speed", "altitude"):
        values = np.concatenate([row[name] for row in train])
        scaler |= {f"{name}_mean": float(values.mean()), f"{name}_std": float(values.std()) or 1.0}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SCALER_FILE).write_text(json.dumps(scaler, sort_keys=True))
    for split, made in rows.items():
        tensors = {}
        for name in SERIES:
            padded = np.zeros((len(made), STEPS, 1))
            for i, row in enumerate(made):
                shift, scale = (scaler[f"{name}_mean"], scaler[f"{name}_std"]) if f"{name}_mean" in scaler else (0, 1)
                padded[i, : len(row[name]), 0] = (row[name] - shift) / scale
            tensors[name] = torch.from_numpy(padded).to(torch.float64 if name == "timestamps" else torch.float32)
        tensors["original_lengths"] = torch.tensor([[row["steps"]] for row in made], dtype=torch.int64).reshape(-1, 1)
        torch.save(tensors, folder / f"{split}.pt")


def _resample(workout: Workout) -> dict[str, Any]:
    steps = int((workout.t[-1] - workout.t[0]) // STEP_SECONDS) + 1
    times = workout.t[0] + np.arange(steps) * STEP_SECONDS
    if steps > STEPS:
        times = np.linspace(workout.t[0], workout.t[-1], STEPS)
    start = 0.0 if workout.started_at is None else workout.started_at.timestamp()
    return {
        "speed": _at(times, workout.t, workout.speed) * 3.6,
        "altitude": _at(times, workout.t, workout.altitude),
        "heart_rate": _at(times, workout.t, workout.heart_rate),
        "timestamps": start + times,
        "steps": steps,
    }


def _at(times: Array, t: Array, values: Array | None) -> Array:
    if values is None or not np.isfinite(values).any():
        return np.zeros(len(times))
    known = np.isfinite(values)
    return np.interp(times, t[known], values[known])
