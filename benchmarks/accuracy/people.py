"""Who is scored: runners whom the base model never saw, each with the workouts to learn from and the later ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hrmodel.evaluation.forecasters import EvaluationData
from hrmodel.signals.contract import FeatureContract
from hrmodel.signals.grid import GriddedWorkout, to_grid
from hrmodel.signals.scale import fit_scale
from hrmodel.workouts.cleaning.clean import clean
from hrmodel.workouts.sandbox.reading import read_workouts
from hrmodel.workouts.splits import chronological_split
from hrmodel.workouts.workout import Workout

TEST_WORKOUTS = 10  # by date, of a runner without workouts marked `test` (p004)


@dataclass(frozen=True, kw_only=True, eq=False)
class Runner:
    """One person's workouts in time order; every one in `known` is earlier than every one in `test`."""

    name: str
    known: Sequence[GriddedWorkout]
    test: Sequence[GriddedWorkout]

    def last(self, n: int) -> "Runner":
        """The same person with their last n workouts before the test alone."""
        return Runner(name=self.name, known=self.known[len(self.known) - n :], test=self.test)


@dataclass(frozen=True, kw_only=True, eq=False)
class Splits:
    """A runner's n workouts before the test, split inside as the service does, and the later test workouts."""

    inner: EvaluationData  # trains, validates, decides
    outer: EvaluationData  # measures: its `val` are the inner validation and test, its `test` the later workouts
    easy: EvaluationData  # what the four baselines learn from: all n, more than a stage does, which is best for them
    trees: EvaluationData  # the trees learn from inner training and test, their number is chosen on validation


def read_runners(path: Path, *, dev: bool) -> list[Runner]:
    """The personal runners by name. `dev`: their test workouts are dropped, the last 15 % before them act as test."""
    runners = []
    for name, workouts in _by_person(path).items():
        known = [gridded for workout, gridded in workouts if workout.split != "test"]
        test = [gridded for workout, gridded in workouts if workout.split == "test"]
        if not test:
            known, test = known[:-TEST_WORKOUTS], known[-TEST_WORKOUTS:]
        if dev:
            held_out = -(-15 * len(known) // 100)
            known, test = known[:-held_out], known[-held_out:]
        runners.append(Runner(name=name, known=known, test=test))
    return runners


def read_strangers(path: Path) -> list[Runner]:
    """The population's people marked `val`, of whom nothing is known: the later half of each one's workouts."""
    people = _by_person(path, split="val")
    return [
        Runner(name=name, known=[], test=[gridded for _, gridded in workouts[len(workouts) // 2 :]])
        for name, workouts in people.items()
    ]


def split(runner: Runner) -> Splits:
    """All of `runner.known` split as an upload of them would be; the level is that of training and validation."""
    parts: dict[str, list[GriddedWorkout]] = {"train": [], "val": [], "test": []}
    for workout, name in zip(runner.known, chronological_split(len(runner.known)), strict=True):
        parts[name].append(workout)
    fitted = parts["train"] + parts["val"]
    level = fit_scale(fitted, FeatureContract()) if fitted else None
    train, val, test = parts.values()
    return Splits(
        inner=EvaluationData(**parts, level=level),
        outer=EvaluationData(train=train, val=val + test, test=runner.test, level=level),
        easy=EvaluationData(train=runner.known, val=[], test=[], level=level),
        trees=EvaluationData(train=train + test, val=val, test=[], level=level),
    )


def _by_person(path: Path, split: str | None = None) -> dict[str, list[tuple[Workout, GriddedWorkout]]]:
    """Every person's workouts that cleaning keeps, in time order; `split`: only those marked so."""
    people: dict[str, list[tuple[Workout, GriddedWorkout]]] = {}
    for workout in read_workouts(path):
        if split in (None, workout.split) and (kept := clean(workout).workout) is not None:
            people.setdefault(workout.person or "", []).append((workout, to_grid(kept, kept.digest)))
    return {name: sorted(people[name], key=lambda pair: pair[0].sort_key) for name in sorted(people)}
