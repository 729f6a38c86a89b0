"""What freezing layer 0 saves: an epoch of stage 2, of a plain frozen loop, and of stage 1 with its cache.

python benchmarks/bench_freezing.py [--quick] [--batch-size 32] [--workouts 192]

Epochs of the three take turns, so that a slow moment of the machine hits all of them. Prints ratios; asserts nothing.
"""

import argparse
import statistics
from collections.abc import Iterator
from unittest.mock import patch

import numpy as np
import torch

from hrmodel.network.config import NetworkConfig
from hrmodel.network.lstm import HeartRateLSTM
from hrmodel.signals.batches import ScaledWorkout
from hrmodel.signals.features import FeatureContract
from hrmodel.signals.grid import to_grid
from hrmodel.signals.level import fit_level
from hrmodel.signals.views import VIEWS_PER_WORKOUT, TrainingViews, ValidationViews
from hrmodel.training import cache, fit
from hrmodel.training.stages import StageConfig
from hrmodel.training.state import TrainingState
from hrmodel.workouts.workout import Workout

STEPS = 500
STAGE_EPOCHS = 50


def make_views(count: int, batch_size: int) -> tuple[TrainingViews, ValidationViews]:
    """`count` training workouts of 500 steps and 15 % as many to validate."""
    rng = np.random.default_rng(0)
    t = np.arange(0.0, STEPS * 10.0, 10.0)
    gridded = []
    for _ in range(count + round(0.15 * count)):
        speed = 2.8 + 0.3 * np.sin(t / rng.uniform(60, 400)) + rng.normal(0, 0.1, STEPS)
        altitude = np.cumsum(rng.normal(0, 1, STEPS))
        gridded.append(to_grid(Workout(t=t, speed=speed, altitude=altitude, heart_rate=140 + 20 * (speed - 2.8))))
    contract = FeatureContract()
    level = fit_level(gridded, contract)
    scaled = [ScaledWorkout(gridded=workout, level=level) for workout in gridded]
    train = TrainingViews(scaled[:count], contract, 0, batch_size)
    return train, ValidationViews(scaled[count:], contract, batch_size)


def epochs(train: TrainingViews, val: ValidationViews, stage: StageConfig, cached: bool) -> Iterator[float]:
    """Seconds of one epoch after another: the parts of `fit`, so that several stages can take turns."""
    state = TrainingState(HeartRateLSTM(NetworkConfig()), stage)
    with patch.object(cache, "cacheable_layers", cache.cacheable_layers if cached else lambda model: 0):
        lower = cache.LowerCache(state.model)
    while True:
        entry = fit._epoch(state, lower, train, val, fit.ignore)
        state.finish_epoch(entry)
        yield float(entry["epoch_time"] or 0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="12 epochs each; the 50-epoch mean is extrapolated")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--workouts", type=int, default=192)
    options = parser.parse_args()
    torch.set_num_threads(1)
    train, val = make_views(options.workouts, options.batch_size)
    rounds = VIEWS_PER_WORKOUT + 4 if options.quick else STAGE_EPOCHS
    frozen = StageConfig(stage="stage1", freeze_layers=(0,), batch_size=options.batch_size)
    runs = [
        epochs(train, val, StageConfig(batch_size=options.batch_size), cached=False),
        epochs(train, val, frozen, cached=False),
        epochs(train, val, frozen, cached=True),
    ]
    times = [[next(run) for run in runs] for _ in range(rounds)]
    stage2, plain = (statistics.median(row[place] for row in times) for place in (0, 1))
    filling = sum(row[2] for row in times[:VIEWS_PER_WORKOUT])
    filled = statistics.median(row[2] for row in times[VIEWS_PER_WORKOUT:])
    stage1 = (filling + (STAGE_EPOCHS - VIEWS_PER_WORKOUT) * filled) / STAGE_EPOCHS
    print(f"{options.workouts} workouts x {STEPS} steps, batch {options.batch_size}, one thread, {rounds} epochs each")
    print(f"{'epoch of':34} {'ms':>7} {'/ stage 2':>10} {'/ plain frozen':>15}")
    rows = [("stage 2 (all layers train)", stage2), ("stage 1, plain frozen loop", plain)]
    rows += [("stage 1, cache full", filled), ("stage 1, mean of 50, filling included", stage1)]
    for name, seconds in rows:
        print(f"{name:34} {seconds * 1000:7.0f} {seconds / stage2:10.2f} {seconds / plain:15.2f}")


if __name__ == "__main__":
    main()
