"""People personalised per hour: one by one (`fit`) and many together (`fit_many`).

python benchmarks/bench_stacked.py [--device cpu|cuda] [--people 8,64,256] [--alone 3] [--workouts 30] [--epochs N]

Simulated people, the shipped base, both stages of the `auto` recipe, one thread; only training is timed. "One by one"
trains a few people on one CPU core, and on the device as well when that is a GPU; what a stack of P people takes is
compared with it. Without --people a CPU gets stacks of 2 and 8 alone: it wins nothing there. What stacking saves is
waiting for small steps, and a CPU core does not wait: written out in Python a step costs it more than inside torch's
LSTM, and everybody's batches are padded to the longest of all. It is for a GPU, where a step of hundreds of people
takes as long as a step of one. Prints ratios; asserts nothing.
"""

import argparse
import platform
import time
from collections.abc import Sequence

import torch

from hrmodel.network.checkpoint import Checkpoint
from hrmodel.network.lstm import HeartRateLSTM
from hrmodel.offline.paths import shipped_base
from hrmodel.signals.batches import ScaledWorkout
from hrmodel.signals.grid import GriddedWorkout, to_grid
from hrmodel.signals.level import fit_level
from hrmodel.signals.views import TrainingViews, ValidationViews
from hrmodel.training.fit import fit
from hrmodel.training.stacked import fit_many
from hrmodel.training.stages import StageConfig, resolve
from hrmodel.training.state import TrainingState
from hrmodel.workouts.simulate import simulate_workouts

STAGES = ("stage1", "stage2")
DIFFERENT = 32  # people who are simulated; a larger stack has each of them several times, with other seeds
Person = tuple[list[ScaledWorkout], list[ScaledWorkout]]  # train, val


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    torch.set_num_threads(1)
    base = Checkpoint.read(shipped_base())
    people = simulated(min(max(*options.people, options.alone), DIFFERENT), options.workouts, base)
    machine = platform.processor() or platform.machine()
    gpu = f", {torch.cuda.get_device_name()}" if options.device == "cuda" else ""
    print(f"{machine}{gpu}, Python {platform.python_version()}, torch {torch.__version__}, one thread")
    print(f"{options.workouts} workouts a person, both stages\n")
    devices = dict.fromkeys(["cpu", options.device])
    alone = {device: one_by_one(base, people, options, device) for device in devices}
    print(f"{'':32} {'people/h':>9} {'/ one by one, CPU core':>23} {f'/ one by one, {options.device}':>20}")
    rates = [(f"one by one, {device}", rate) for device, rate in alone.items()]
    for count in options.people:
        rates.append((f"{count} together, {options.device}", together(base, people, options, count)))
    for label, rate in rates:
        print(f"{label:32} {rate:9.0f} {rate / alone['cpu']:23.2f} {rate / alone[options.device]:20.2f}")


def one_by_one(base: Checkpoint, people: Sequence[Person], options: argparse.Namespace, device: str) -> float:
    """People per hour."""
    train_alone(base, people[0], 0, device, 1)  # warm up
    began = time.perf_counter()
    for number in range(options.alone):
        train_alone(base, people[number], number, device, options.epochs)
    return options.alone * 3600 / (time.perf_counter() - began)


def train_alone(base: Checkpoint, person: Person, seed: int, device: str, epochs: int | None) -> None:
    """Both stages of one person."""
    model = base.build().to(device)
    for name in STAGES:
        own = stage(name, person, seed, epochs)
        model.load_state_dict(fit(model, *views(person, base, own), own).best_weights)


def together(base: Checkpoint, people: Sequence[Person], options: argparse.Namespace, count: int) -> float:
    """People per hour in a stack of `count`."""
    chosen = [people[number % len(people)] for number in range(count)]
    models = [base.build().to(options.device) for _ in chosen]
    warm_up(base, people[0], options)
    began = time.perf_counter()
    for name in STAGES:
        stages = [stage(name, person, number, options.epochs) for number, person in enumerate(chosen)]
        pairs = [views(person, base, own) for person, own in zip(chosen, stages, strict=True)]
        trains, vals = zip(*pairs, strict=True)
        load(models, fit_many(models, trains, vals, stages))
    return count * 3600 / (time.perf_counter() - began)


def warm_up(base: Checkpoint, person: Person, options: argparse.Namespace) -> None:
    """One epoch of one person."""
    own = stage("stage1", person, 0, 1)
    train, val = views(person, base, own)
    fit_many([base.build().to(options.device)], [train], [val], [own])


def load(models: Sequence[HeartRateLSTM], results: Sequence[object]) -> None:
    """Every model goes on from its best weights."""
    for model, result in zip(models, results, strict=True):
        if isinstance(result, TrainingState):
            model.load_state_dict(result.best_weights)


def stage(name: str, person: Person, seed: int, epochs: int | None) -> StageConfig:
    given = {} if epochs is None else {"epochs": epochs}
    return resolve(name, "auto", {"seed": seed, **given}, workouts=len(person[0]))


def views(person: Person, base: Checkpoint, own: StageConfig) -> tuple[TrainingViews, ValidationViews]:
    train, val = person
    return TrainingViews(train, base.contract, own.seed, own.batch_size), ValidationViews(val, base.contract)


def simulated(people: int, workouts: int, base: Checkpoint) -> list[Person]:
    """Simulated people; the last 15 % of each one's workouts validate."""
    gridded: dict[str, list[GriddedWorkout]] = {}
    for workout in simulate_workouts(people=people, workouts=workouts, seed=0):
        gridded.setdefault(workout.person or "", []).append(to_grid(workout, workout.digest))
    held_out = max(15 * workouts // 100, 1)
    found = []
    for own in gridded.values():
        level = fit_level(own, base.contract)
        scaled = [ScaledWorkout(gridded=each, level=level) for each in own]
        found.append((scaled[:-held_out], scaled[-held_out:]))
    return found


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--people", type=lambda text: [int(each) for each in text.split(",")])
    parser.add_argument("--alone", type=int, default=3)
    parser.add_argument("--workouts", type=int, default=30)
    parser.add_argument("--epochs", type=int, help="instead of the recipe's; stages may end early all the same")
    options = parser.parse_args(arguments)
    options.people = options.people or ([8, 64, 256] if options.device == "cuda" else [2, 8])
    return options


if __name__ == "__main__":
    main()
