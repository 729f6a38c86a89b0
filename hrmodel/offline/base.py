"""Train the shipped base model on real and simulated people; held-out people measure its error."""

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from hrmodel.evaluation.population import calibrate_people, evaluate_people, whiten_people
from hrmodel.evaluation.report import Report
from hrmodel.network.architectures import build_network
from hrmodel.network.checkpoint import Checkpoint
from hrmodel.network.config import NetworkConfig
from hrmodel.network.original_format import to_original_pt
from hrmodel.offline.console import progress_bar
from hrmodel.prediction.golden import golden_check
from hrmodel.prediction.predictor import Predictor
from hrmodel.signals.contract import FeatureContract
from hrmodel.signals.grid import GriddedWorkout, to_grid
from hrmodel.signals.scale import fit_scale
from hrmodel.training.batches import ScaledWorkout
from hrmodel.training.fit import fit
from hrmodel.training.stages import StageConfig, resolve
from hrmodel.training.state import TrainingState
from hrmodel.training.views import TrainingViews, ValidationViews
from hrmodel.version import CODE_VERSION, digest_of
from hrmodel.workouts.cleaning.clean import clean
from hrmodel.workouts.sandbox.reading import read_workouts
from hrmodel.workouts.simulate import simulate_workouts
from hrmodel.workouts.workout import Workout

SIMULATED_PEOPLE, SIMULATED_WORKOUTS, SIMULATED_SEED = 40, 30, 20_260_101
log = logging.getLogger("hrmodel.base")


@dataclass
class People:
    """Gridded workouts in time order by person, by the population's own split."""

    train: dict[str, list[GriddedWorkout]] = field(default_factory=dict)
    val: dict[str, list[GriddedWorkout]] = field(default_factory=dict)


def train_base(data: Path, folder: Path, hyperparameters: dict[str, Any], architecture: str) -> None:
    """Train a new network on the people of `data` marked `train`, score on the people marked `val`, write the shipped
    files.

    Raises ValueError when `data` does not name each workout's person and split.
    """
    people = read_people(data)
    stage = resolve("base", "auto", hyperparameters, workouts=sum(map(len, people.train.values())))
    log.info("train people: %s", ", ".join(people.train))
    log.info("held-out people: %s", ", ".join(people.val))
    checkpoint, report = complete(_fit(people, stage, architecture), people)
    write_files(checkpoint, folder, people, report)
    log.info("zero-shot on held-out people: P1 %.2f bpm, score %.2f", _mae(report, "P1"), report["score"])


def complete(checkpoint: Checkpoint, people: People) -> tuple[Checkpoint, Report]:
    """A trained network with the whitening of its last layer and the population's bands, and its report."""
    checkpoint = replace(checkpoint, last_layer=whiten_people(Predictor(checkpoint), people.train.values()))
    predictor = Predictor(checkpoint)
    golden_check(predictor)
    all_people = [*people.train.values(), *people.val.values()]
    with progress_bar("bands") as show:
        bands = calibrate_people(predictor, all_people, show)
    checkpoint = replace(checkpoint, intervals=bands)
    with progress_bar("evaluate") as show:
        report = evaluate_people(Predictor(checkpoint), list(people.val.values()), on_progress=show)
    return checkpoint, report


def read_people(data: Path) -> People:
    """Read and clean every workout of a population file."""
    workouts_by_person: dict[str, list[Workout]] = {}
    splits: dict[str, str] = {}
    for workout in read_workouts(data):
        cleaned = clean(workout).workout
        if cleaned is None:
            continue
        if workout.person is None or workout.split not in ("train", "val"):
            raise ValueError(f"{workout.source}: a population needs a person and a split (train or val) per workout")
        workouts_by_person.setdefault(workout.person, []).append(cleaned)
        splits[workout.person] = workout.split
    people = People()
    for person in sorted(workouts_by_person):
        ordered = sorted(workouts_by_person[person], key=lambda workout: workout.sort_key)
        getattr(people, splits[person])[person] = [to_grid(workout, workout.digest) for workout in ordered]
    return people


def write_files(checkpoint: Checkpoint, folder: Path, people: People, report: dict[str, Any]) -> None:
    """Write base.safetensors, its twin base.pt in the original's format, and base.json: its data and its errors."""
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint.write(folder / "base.safetensors")
    to_original_pt(checkpoint, folder / "base.pt")
    description = {
        "data_digest": checkpoint.data_digest,
        "code_version": checkpoint.code_version,
        "train_people": {person: len(workouts) for person, workouts in people.train.items()},
        "held_out_people": {person: len(workouts) for person, workouts in people.val.items()},
        "simulated": {"people": SIMULATED_PEOPLE, "workouts_each": SIMULATED_WORKOUTS, "seed": SIMULATED_SEED},
        "evaluation": {key: report[key] for key in ("score", "people", "test_workouts", "protocols", "baselines")},
    }
    (folder / "base.json").write_text(json.dumps(description, indent=1, sort_keys=True) + "\n")


def _fit(people: People, stage: StageConfig, architecture: str) -> Checkpoint:
    contract = FeatureContract()
    simulated: dict[str, list[GriddedWorkout]] = {}
    for workout in simulate_workouts(people=SIMULATED_PEOPLE, workouts=SIMULATED_WORKOUTS, seed=SIMULATED_SEED):
        simulated.setdefault(str(workout.person), []).append(to_grid(workout))
    train_people = [*people.train.values(), *simulated.values()]
    train = TrainingViews(_scaled(train_people, contract), contract, stage.seed, stage.batch_size)
    val = ValidationViews(_scaled(people.val.values(), contract), contract)
    log.info("%d training workouts, %d of them simulated", train.workouts, SIMULATED_PEOPLE * SIMULATED_WORKOUTS)
    torch.manual_seed(stage.seed)
    network = NetworkConfig(architecture=architecture, dropout=stage.dropout)
    state = fit(build_network(network), train, val, stage, on_epoch=lambda _, state: _log_epoch(state))
    digests = [workout.digest for workouts in people.train.values() for workout in workouts]
    return Checkpoint(
        network=network,
        contract=contract,
        weights=state.best_weights,
        stage="base",
        configuration={**stage.to_dict(), "recipe": "auto"},
        history=state.history,
        data_digest=digest_of(digests),
        code_version=CODE_VERSION,
    )


def _scaled(people: Iterable[list[GriddedWorkout]], contract: FeatureContract) -> list[ScaledWorkout]:
    """The workouts of all people, each in the person's own scale."""
    scaled = []
    for workouts in people:
        scale = fit_scale(workouts, contract)
        scaled += [ScaledWorkout(gridded=workout, level=scale) for workout in workouts]
    return scaled


def _log_epoch(state: TrainingState) -> None:
    entry = state.history[-1]
    log.info(
        "epoch %d/%d: train %.4f, val %.4f (%.0f s)",
        state.epoch,
        state.stage.epochs,
        entry["train_loss"],
        entry["val_loss"],
        entry["epoch_time"],
    )


def _mae(report: dict[str, Any], protocol: str) -> float:
    return float(report["protocols"][protocol]["mean"]["mae"])
