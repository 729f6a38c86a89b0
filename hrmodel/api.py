"""The functions that `import hrmodel` offers. They do what the commands of `python -m hrmodel` do, without files.

Each runs in `THREADS` torch threads and then restores torch's own number: a step of this network is too small to share,
so a second thread mostly waits.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hrmodel.evaluation.report import Report
from hrmodel.network.checkpoint import Checkpoint
from hrmodel.offline.data import prepare, split_of, usable, with_trusted_split
from hrmodel.offline.evaluating import report_of
from hrmodel.offline.start import read_base
from hrmodel.offline.training import Training
from hrmodel.personal.state import PersonState
from hrmodel.prediction.predictor import Prediction, Predictor, Query
from hrmodel.training.stages import resolve
from hrmodel.workouts.formats.source import SaidSport
from hrmodel.workouts.sandbox.reading import read_with_format
from hrmodel.workouts.units import Units
from hrmodel.workouts.workout import Workout

THREADS = 1
ORIGIN = "the list of workouts"  # in messages


def load_workouts(
    path: str | Path, *, person: str | None = None, units: Units | None = None, sport: SaidSport | None = None
) -> list[Workout]:
    """Read the workouts of a file, an archive or a folder, as they were recorded.

    Formats: FIT, GPX, TCX, Apple Health, Strava, Endomondo, Parquet, and the original's train.pt, val.pt, test.pt.
    `person`: only this person's workouts, where a file holds several people. `units`: for formats without fixed units;
    `sport`: for files that name no sport. A damaged file is logged as a warning and left out.
    Raises FileNotFoundError, and InvalidFile when nothing can be read.
    """
    workouts = with_trusted_split(list(read_with_format(Path(path), units=units, sport=sport)))
    return [workout for workout in workouts if person is None or workout.person == person]


def split(workouts: Sequence[Workout]) -> list[Workout]:
    """Choose the workouts that a model can learn from, and mark each with its `split`: `train`, `val` or `test`.

    The result is in time order, as recorded; workouts that are too short, no run, without enough heart
    rate, or recorded twice are left out. The last 15 % (at least 3) are `test`, 15 % before them (at least 2) `val`.
    Fewer than 8 workouts all train. A split stays when every workout brings one. Raises ValueError when no workout is
    left or they are several people's.
    """
    recorded, _ = usable(_one_persons(workouts), ORIGIN)
    return [replace(workout, split=name) for workout, name in zip(recorded, split_of(recorded), strict=True)]


def load_base() -> Checkpoint:
    """Read the base model that comes with the package, trained on other people.

    A model of a file of your own: `Checkpoint.read(path)`.
    """
    return read_base(None).checkpoint


def train_stage1(
    base: Checkpoint, workouts: Sequence[Workout], *, recipe: str = "auto", device: str = "cpu", **hyperparameters: Any
) -> Checkpoint:
    """Train a person's stage 1 from a base model: LSTM layer 0 is frozen, layer 1 and the output layer train.

    `workouts`: all workouts of the person, from `load_workouts` or `split`; workouts marked `test` are not used.
    `hyperparameters`: freeze_layers, learning_rate, batch_size, epochs, patience, dropout, weight_decay,
    gradient_clip, seed (of the random numbers); the others come from the recipe, by default small steps from few
    workouts. `base` stays as it is.
    Returns the best epoch's model, with the person's scale, response and bands.
    Raises InvalidHyperparameter (a ValueError) for a value out of its bounds, NonFiniteLoss, and ValueError as `split`.
    """
    return _train("stage1", base, workouts, recipe, device, hyperparameters)


def train_stage2(
    model: Checkpoint, workouts: Sequence[Workout], *, recipe: str = "auto", device: str = "cpu", **hyperparameters: Any
) -> Checkpoint:
    """Train a person's stage 2 from their stage-1 model: all layers train, in smaller steps.

    Arguments, result and errors are those of `train_stage1`. Use the same workouts for both.
    """
    return _train("stage2", model, workouts, recipe, device, hyperparameters)


def evaluate(model: Checkpoint, workouts: Sequence[Workout], *, device: str = "cpu") -> Report:
    """Measure a model's error on a person's test workouts, beside four baselines.

    `workouts`: all workouts of the person; those before a test workout fit the baselines and the person's response.
    `report["protocols"][name]["mean"]["mae"]` is the mean absolute error in bpm: P1 from speed and altitude alone,
    P2-60, P2-180 and P2-600 after so many seconds of heart rate, P3-30 always 30 s ahead; `report["baselines"]` has the
    same of the baselines, `report["per_workout"]` each test workout. Raises ValueError as `split`.
    """
    with _torch_threads():
        return report_of(model, prepare(_one_persons(workouts), ORIGIN), device)


def predict(
    model: Checkpoint,
    workout: Workout,
    person: PersonState | None = None,
    *,
    observed: float = 0.0,
    coverage: float = 0.9,
    device: str = "cpu",
) -> Prediction:
    """Predict a workout's heart rate from its speed and altitude: one value with a band per sample, in bpm.

    `observed`: the first so many seconds of its heart rate are used too, math.inf all of it; no value sees its own or a
    later heart rate. `person`: the person's state, by default the state that the model holds.
    `coverage`: the share of heart rates that the band holds. Raises ValueError for a coverage outside 0.5..0.99.
    """
    seen = workout if observed == math.inf else _first_seconds(workout, observed)
    query = Query(workout=seen, coverage=coverage)
    if person is not None:
        query = replace(
            query, response=person.response_at(workout.started_at or datetime.now(UTC)), intervals=person.intervals
        )
    with _torch_threads():
        (prediction,) = Predictor(model, device).predict([query])
        return prediction


def _train(
    stage: str,
    start: Checkpoint,
    workouts: Sequence[Workout],
    recipe: str,
    device: str,
    hyperparameters: dict[str, Any],
) -> Checkpoint:
    resolve(stage, recipe, hyperparameters, workouts=0)  # a wrong value is reported before the workouts are prepared
    data = prepare(_one_persons(workouts), ORIGIN)
    config = resolve(stage, recipe, hyperparameters, workouts=len(data.train))
    with _torch_threads():
        return Training(stage=config, recipe=recipe, start=start, data=data, device=device).run()


def _one_persons(workouts: Sequence[Workout]) -> Sequence[Workout]:
    """The same workouts. Raises ValueError when they are several people's."""
    people = sorted({workout.person for workout in workouts if workout.person})
    if len(people) > 1:
        raise ValueError(
            f"the workouts are of {len(people)} people ({people[0]}, {people[1]}{', ...' * (len(people) > 2)}): "
            "keep one person's, for example with load_workouts(path, person=...)"
        )
    return workouts


def _first_seconds(workout: Workout, seconds: float) -> Workout:
    """The workout after so many seconds: all of its speed and altitude, the beginning of its heart rate.

    Without any the prediction is blind.
    """
    if workout.heart_rate is None or seconds <= 0:
        return replace(workout, heart_rate=None)
    return replace(workout, heart_rate=np.where(workout.t - workout.t[0] < seconds, workout.heart_rate, np.nan))


@contextmanager
def _torch_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        yield
    finally:
        torch.set_num_threads(before)
