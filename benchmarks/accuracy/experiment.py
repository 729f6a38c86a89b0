"""One runner and one number of workouts: every row is trained, the choice is made, and all are scored."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from accuracy.people import Runner, Splits, split
from accuracy.rows import boosted_trees, response_alone
from accuracy.scoring import Scores, decision_report, score_baseline, score_network, score_stranger
from hrmodel.evaluation.baselines import BASELINES
from hrmodel.evaluation.forecasters import EvaluationData, Forecaster, NetworkForecaster
from hrmodel.evaluation.promotion import compare
from hrmodel.evaluation.targets import personal_targets
from hrmodel.network.checkpoint import Checkpoint
from hrmodel.prediction.predictor import Predictor
from hrmodel.training.fit import fit
from hrmodel.training.stages import StageConfig, resolve
from hrmodel.training.views import TrainingViews, ValidationViews

STAGES = ("stage1", "stage2")
ALL = "all"  # the size that is every workout before the test
NONE = "0"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is measured, the same for every runner."""

    sizes: tuple[str, ...]  # numbers of workouts, and "all"
    protocols: tuple[str, ...]
    seeds: tuple[int, ...]
    recipes: tuple[str, ...]  # "auto" is the one that is chosen from; others are rows only


@dataclass(frozen=True, kw_only=True, eq=False)
class Unit:
    """One piece of work. Size "0": the base alone, on a person of whom nothing is known."""

    runner: Runner
    size: str
    plan: Plan
    base: bytes

    @property
    def workouts(self) -> int:
        """How many workouts are known: all, where there are fewer than the size."""
        return len(self.runner.known) if self.size == ALL else min(int(self.size), len(self.runner.known))


@dataclass(frozen=True, kw_only=True, eq=False)
class Result:
    """The test workouts of one unit."""

    runner: str
    size: str
    workouts: int
    rows: dict[str, list[list[Scores]]]  # [seed][workout]; one seed where a row has none
    choices: list[str]  # the version chosen, by seed


def make_units(runners: Sequence[Runner], plan: Plan, base: bytes) -> list[Unit]:
    """The work, the longest first."""
    units = [Unit(runner=runner, size=size, plan=plan, base=base) for runner in runners for size in plan.sizes]
    return sorted(units, key=lambda unit: (-unit.workouts, unit.runner.name))


def run(unit: Unit) -> Result:
    """Do one piece of work. Deterministic, whoever does it and when."""
    torch.set_num_threads(1)
    base = Checkpoint.from_bytes(unit.base)
    protocols = unit.plan.protocols
    if unit.size == NONE:
        scores = score_stranger(_network(base, None), unit.runner.test, [p for p in protocols if p != "P3-30"])
        return Result(runner=unit.runner.name, size=unit.size, workouts=0, rows={"base": [scores]}, choices=[])
    data = split(unit.runner.last(unit.workouts))
    rows = {name: [score_baseline(row, data.outer, protocols)] for name, row in _without_network(data).items()}
    rows["base"] = [_measure(base, data, protocols)]
    versions = [_train_both(base, data.inner, "auto", seed) for seed in unit.plan.seeds]
    for stage in STAGES:
        rows[stage] = [_measure(trained[stage], data, protocols) for trained in versions]
    for recipe in unit.plan.recipes:
        if recipe != "auto":
            others = [_train_both(base, data.inner, recipe, seed) for seed in unit.plan.seeds]
            rows |= {f"{s}_{recipe}": [_measure(trained[s], data, protocols) for trained in others] for s in STAGES}
    choices = [choose({"base": base, **trained}, data.inner) for trained in versions]
    rows["chosen"] = [rows[choice][seed if choice in STAGES else 0] for seed, choice in enumerate(choices)]
    return Result(runner=unit.runner.name, size=unit.size, workouts=unit.workouts, rows=rows, choices=choices)


def choose(versions: dict[str, Checkpoint], data: EvaluationData) -> str:
    """As the service does: the base serves until a stage, one after the other, is better on the inner test."""
    champion = ""
    reports: dict[str, dict[str, Any]] = {}
    for name, checkpoint in versions.items():
        reports[name] = decision_report(_network(checkpoint, data), data)
        if not champion or compare(reports[name], reports[champion]).promote:
            champion = name
    return champion


def _without_network(data: Splits) -> dict[str, Forecaster]:
    baselines: dict[str, Forecaster] = {name: learn(data.easy) for name, learn in BASELINES.items()}
    return {**baselines, "boosted_trees": boosted_trees(data.trees), "response_alone": response_alone(data.outer)}


def _train_both(base: Checkpoint, data: EvaluationData, recipe: str, seed: int) -> dict[str, Checkpoint]:
    """Stage 1 from the base, stage 2 from stage 1's best."""
    stage1 = train(base, data, resolve("stage1", recipe, {"seed": seed}, workouts=len(data.train)))
    return {
        "stage1": stage1,
        "stage2": train(stage1, data, resolve("stage2", recipe, {"seed": seed}, workouts=len(data.train))),
    }


def train(start: Checkpoint, data: EvaluationData, stage: StageConfig) -> Checkpoint:
    """The version that a training job would register; it keeps no history."""
    learned, chosen_by = personal_targets(start, data)
    train_views = TrainingViews(learned, start.contract, stage.seed, stage.batch_size)
    state = fit(start.build(), train_views, ValidationViews(chosen_by, start.contract), stage)
    return replace(
        start,
        network=replace(start.network, dropout=stage.dropout),
        weights=state.best_weights,
        stage=stage.stage,
        configuration=stage.to_dict(),
        history=[],
        level=data.level,
    )


def _network(checkpoint: Checkpoint, data: EvaluationData | None) -> NetworkForecaster:
    return NetworkForecaster(predictor=Predictor(checkpoint), level=data.level if data else None)


def _measure(checkpoint: Checkpoint, data: Splits, protocols: Sequence[str]) -> list[Scores]:
    return score_network(_network(checkpoint, data.outer), data.outer, protocols)
