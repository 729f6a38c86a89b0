"""Files in the schema of the project's Parquet data, written from workouts."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hrmodel.workouts.workout import EPOCH, Workout

TYPES = {
    "athlete_id": pa.string(),
    "run": pa.int32(),
    "segment": pa.int16(),
    "day": pa.int32(),
    "split": pa.string(),
    "t": pa.list_(pa.int32()),
    "speed": pa.list_(pa.float32()),
    "altitude": pa.list_(pa.float32()),
    "heart_rate": pa.list_(pa.int16()),
}


def write_runs(path: Path, workouts: Sequence[Workout]) -> Path:
    """One row per workout; seconds and bpm are rounded, as in the real files. Missing heart rate is not written."""
    rows = []
    for number, workout in enumerate(workouts):
        known = np.isfinite(workout.heart_rate) & np.isfinite(workout.speed)
        rows.append(
            {
                "athlete_id": workout.person or "me",
                "run": number,
                "segment": 0,
                "day": (workout.started_at - EPOCH).days if workout.started_at else number,
                "split": "train",
                "t": workout.t[known].astype(int).tolist(),
                "speed": workout.speed[known].tolist(),
                "altitude": None if workout.altitude is None else workout.altitude[known].tolist(),
                "heart_rate": np.rint(workout.heart_rate[known]).astype(int).tolist(),
            }
        )
    pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(list(TYPES.items()))), path)
    return path
