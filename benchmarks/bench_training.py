"""How fast the two stages train: what freezing saves, and beside a plain loop with a DataLoader.

python benchmarks/bench_training.py [--runner p004] [--data FILE] [--workouts 0] [--epochs 50] [--rounds 3]
                                    [--batch-size 32]

One runner's workouts (simulated ones where the recorded runs are missing, or with --workouts N), the shipped base,
one thread, the original's numbers without early stopping. The contenders take turns within each round, so that a slow
moment of the machine hits all of them; ratios are medians over the rounds, of wall time and, in brackets, of
processor time, which a busy machine moves less. An epoch of ours is the wall time of the whole stage by its epochs:
views, filling of the cache and validation included. The plain loop (plain_loop.py) trains as many epochs on one view
of each workout, padded to the longest workout, as such scripts store them; in the row "collated" only to the longest
of each batch.
Prints ratios beside the bounds; asserts nothing.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import patch

import torch
from plain_loop import PaddedItems, train_plainly

from accuracy.people import Runner, read_runners, split
from hrmodel.evaluation.forecasters import EvaluationData
from hrmodel.evaluation.targets import personal_targets
from hrmodel.network.checkpoint import Checkpoint
from hrmodel.offline.paths import shipped_base
from hrmodel.signals.grid import to_grid
from hrmodel.training.batches import ScaledWorkout
from hrmodel.training.fit import Stop, fit
from hrmodel.training.stages import StageConfig, resolve
from hrmodel.training.views import TrainingViews, ValidationViews
from hrmodel.workouts.simulate import simulate_runner

RUNS = Path(__file__).resolve().parents[2] / "shared" / "data" / "runs" / "personal.parquet"
SIMULATED = 48  # workouts, where nothing was recorded


@dataclass(frozen=True, kw_only=True, eq=False)
class Work:
    """What every contender trains on and starts from."""

    base: Checkpoint
    train: list[ScaledWorkout]
    val: list[ScaledWorkout]
    epochs: int
    batch_size: int

    def stage(self, name: str) -> StageConfig:
        """The original's stage; nothing ends it early."""
        explicit = {"epochs": self.epochs, "batch_size": self.batch_size}
        chosen = resolve(name, "original", explicit, workouts=len(self.train))
        return replace(chosen, early_stopping_min_workouts=len(self.train) + 1)

    def views(self) -> tuple[TrainingViews, ValidationViews]:
        """What a job makes of its workouts."""
        contract = self.base.contract
        return TrainingViews(self.train, contract, 0, self.batch_size), ValidationViews(self.val, contract)

    def ours(self, name: str, *, cached: bool = True) -> None:
        """One stage by `fit`; without the cache the frozen layer is computed again and again."""
        model = self.base.build()
        with nullcontext() if cached else patch.object(type(model), "cacheable_layers", lambda model: 0):
            fit(model, *self.views(), self.stage(name))

    def plain(self, name: str, *, padded: bool = True) -> None:
        """The same stage by the plain loop."""
        train, val = self.views()
        steps = max(max(batch.lengths) for views in (train, val) for batch in views.batches(1)) if padded else None
        items = [PaddedItems(list(views.batches(1)), steps) for views in (train, val)]
        train_plainly(self.base.build(), *items, self.stage(name), self.batch_size)


CONTENDERS: dict[str, Callable[[Work], None]] = {
    "stage1": lambda work: work.ours("stage1"),
    "uncached": lambda work: work.ours("stage1", cached=False),
    "stage2": lambda work: work.ours("stage2"),
    "plain1": lambda work: work.plain("stage1"),
    "plain2": lambda work: work.plain("stage2"),
    "collated1": lambda work: work.plain("stage1", padded=False),
    "collated2": lambda work: work.plain("stage2", padded=False),
}


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    base = Checkpoint.read(shipped_base())
    name, data = read(options)
    train, val = personal_targets(base, data)
    work = Work(base=base, train=train, val=val, epochs=options.epochs, batch_size=options.batch_size)
    machine = platform.processor() or platform.machine()
    print(f"{machine}, Python {platform.python_version()}, torch {torch.__version__}")
    print(f"{name}: {len(train)} + {len(val)} workouts, batch {work.batch_size}, {work.epochs} epochs, one thread")
    for train_one in CONTENDERS.values():
        train_one(replace(work, epochs=1))  # warm up
    show_first_batch(base, data)
    rounds = [{each: timed(train_one, work) for each, train_one in CONTENDERS.items()} for _ in range(options.rounds)]
    show(rounds, work.epochs)


def show_first_batch(base: Checkpoint, data: EvaluationData) -> None:
    """What a job of the `auto` recipe does before its first batch is done, once its workouts are read."""

    def stop(*_: object) -> None:
        raise Stop

    marks = [time.perf_counter()]
    train, val = personal_targets(base, data)
    marks.append(time.perf_counter())
    stage = resolve("stage1", "auto", {}, workouts=len(train))
    views = TrainingViews(train, base.contract, 0, stage.batch_size), ValidationViews(val, base.contract)
    marks.append(time.perf_counter())
    with suppress(Stop):
        fit(base.build(), *views, stage, on_batch=stop)
    marks.append(time.perf_counter())
    print(f"\n{'until the first batch is done':44} {'ms':>7}")
    names = ("personal targets (response replayed)", "views", "model and first batch")
    for name, began, ended in zip(names, marks, marks[1:], strict=False):
        print(f"{name:44} {(ended - began) * 1000:7.0f}")


def timed(train_one: Callable[[Work], None], work: Work) -> tuple[float, float]:
    """Seconds of wall and of processor time."""
    began, used = time.perf_counter(), time.process_time()
    train_one(work)
    return time.perf_counter() - began, time.process_time() - used


def show(rounds: list[dict[str, tuple[float, float]]], epochs: int) -> None:
    print(f"\n{'one epoch of':44} {'ms':>7}")
    labels = {
        "stage1": "stage 1, filling of the cache included",
        "uncached": "stage 1 without the cache",
        "stage2": "stage 2",
        "plain1": "plain loop, layer 0 frozen",
        "plain2": "plain loop, all layers",
        "collated1": "plain loop, layer 0 frozen, collated",
        "collated2": "plain loop, all layers, collated",
    }
    for name, label in labels.items():
        print(f"{label:44} {statistics.median(row[name][0] for row in rounds) / epochs * 1000:7.1f}")
    print(f"\n{'ratio':44} {'wall':>7} {'(cpu)':>7} {'bound':>6}")
    for label, ours, peers, bound in (
        ("stage 1 / stage 2", ("stage1",), ("stage2",), "0.65"),
        ("stage 1 / plain loop, layer 0 frozen", ("stage1",), ("plain1",), "0.85"),
        ("stage 1 / the same without the cache", ("stage1",), ("uncached",), ""),
        ("stage 1 / plain, layer 0 frozen, collated", ("stage1",), ("collated1",), ""),
        ("stages 1 + 2 / plain loop", ("stage1", "stage2"), ("plain1", "plain2"), "0.50"),
        ("stages 1 + 2 / plain loop, collated", ("stage1", "stage2"), ("collated1", "collated2"), ""),
    ):
        wall, cpu = (
            statistics.median(
                sum(row[name][clock] for name in ours) / sum(row[name][clock] for name in peers) for row in rounds
            )
            for clock in (0, 1)
        )
        print(f"{label:44} {wall:7.2f} {f'({cpu:.2f})':>7} {bound:>6}")


def read(options: argparse.Namespace) -> tuple[str, EvaluationData]:
    """The runner's workouts as a job would see them."""
    if options.workouts or not options.data.exists():
        count = options.workouts or SIMULATED
        known = [to_grid(workout, workout.digest) for workout in simulate_runner(workouts=count)]
        return "simulated", split(Runner(name="simulated", known=known, test=[])).inner
    runners = {runner.name: runner for runner in read_runners(options.data, dev=False)}
    return options.runner, split(runners[options.runner]).inner


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runner", default="p004")
    parser.add_argument("--data", type=Path, default=RUNS)
    parser.add_argument("--workouts", type=int, default=0, help="so many simulated workouts instead")
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=32)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
