"""Heart rate of workouts from a model that was trained, the person's response followed from one to the next."""

import csv
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from hrmodel.evaluation.forecasters import Answer, NetworkForecaster, Question
from hrmodel.evaluation.protocols import Task, after_prefix
from hrmodel.offline.console import progress_bar
from hrmodel.offline.errors import UserError
from hrmodel.offline.paths import Folders
from hrmodel.offline.start import ModelFile, read_base, read_checkpoint
from hrmodel.offline.tables import prediction_table
from hrmodel.personal.state import PersonState
from hrmodel.prediction.predictor import Predictor
from hrmodel.signals.grid import STEP_SECONDS, GriddedWorkout, to_grid
from hrmodel.signals.steps import elapsed_steps, measured_heart_rate
from hrmodel.training.stages import personal_stages
from hrmodel.workouts.bounds import within_bounds
from hrmodel.workouts.cleaning.clean import clean
from hrmodel.workouts.cleaning.duplicates import duplicates, extent_of
from hrmodel.workouts.cleaning.faults import take_out
from hrmodel.workouts.workout import Array, Workout

BAND = "0.9"  # the coverage of lower and upper
NEW, LEARNED, NOT_FOLLOWED = "new", "learned from", "not followed"
COLUMNS = ("workout", "source", "started_at", "seconds", "speed", "altitude", "heart_rate", "blind")
PREDICTED = ("predicted", "lower", "upper")
log = logging.getLogger("hrmodel.predict")


@dataclass(frozen=True, kw_only=True, eq=False)
class Recording:
    """One workout to predict. `follow`: its heart rate is good enough to learn from; else `why` is the reason."""

    gridded: GriddedWorkout
    source: str
    follow: bool
    why: str | None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One predicted workout. Errors are mean absolute errors in bpm, None where too little was measured."""

    digest: str
    source: str
    started_at: str | None
    minutes: float
    use: str  # new: followed after it was predicted | learned from | not followed
    why: str | None
    measured: float | None  # mean, bpm
    predicted: float  # mean, bpm
    blind_error: float | None
    error: float | None  # over the steps after the observed prefix


def find_model(folders: Folders, checkpoint: Path | None) -> ModelFile:
    """The file that --checkpoint names, else the newest stage's best model, else the shipped base.

    Raises UserError when it is missing or is not a Stagewise checkpoint.
    """
    if checkpoint is not None and not checkpoint.exists():
        raise UserError(f"--checkpoint {checkpoint} does not exist.")
    trained = [best for stage in reversed(personal_stages()) if (best := folders.best(stage)).exists()]
    path = checkpoint or next(iter(trained), None)
    model = read_checkpoint(path) if path else read_base(None)
    if model.warning:
        raise UserError(f"{model.path} cannot predict. {model.warning}")
    log.info("predicts with %s (%s)", model.path, model.checkpoint.stage)
    return model


def predict_workouts(
    workouts: Sequence[Workout], model: ModelFile, folders: Folders, device: str, *, observed: float = 0.0
) -> list[Outcome]:
    """Predict all workouts in time order; print a table, write results/predictions.csv and results/predictions.json.

    The first `observed` seconds of heart rate are read. As in the service, each workout later than the training data
    updates the response, with which the next workout is predicted.
    """
    _log_person_state(model)
    recordings = _recordings(workouts)
    network = NetworkForecaster(predictor=Predictor(model.checkpoint, device), level=model.checkpoint.level)
    path = folders.predictions
    path.parent.mkdir(parents=True, exist_ok=True)
    outcomes, done = [], count(1)
    with path.open("w", newline="", encoding="utf-8") as file, progress_bar("predict") as show:
        writer = csv.writer(file)
        writer.writerow([*COLUMNS, *PREDICTED])
        for recording, blind, answer, learned in _in_time(network, recordings, observed):
            writer.writerows(_rows(recording, blind, answer))
            outcomes.append(_outcome(recording, blind, answer, observed, learned))
            show(next(done) / len(recordings))
    summary = _summary(model, observed, outcomes)
    path.with_suffix(".json").write_text(json.dumps(summary, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    for line in prediction_table(summary):
        log.info("%s", line)
    log.info("wrote %s and %s", path, path.with_suffix(".json"))
    return outcomes


def _log_person_state(model: ModelFile) -> None:
    checkpoint = model.checkpoint
    if checkpoint.level is None:
        log.warning("%s holds no data of the person: it predicts as for an unknown person", model.path)
    elif checkpoint.followed is None:
        log.warning(
            "%s does not hold the person's response (an earlier version wrote it, or its training did not end): errors "
            "are higher until enough workouts of --data were followed. Train again to have it in the file.",
            model.path,
        )
    else:
        until = f"{checkpoint.followed.last_workout:%Y-%m-%d}"
        log.info("the person's response was followed over %d workouts, until %s", checkpoint.followed.workouts, until)


def _recordings(workouts: Sequence[Workout]) -> list[Recording]:
    """All workouts in time order, each recording once; a workout unfit for learning is predicted as it was recorded."""
    cleaned = [clean(workout) for workout in workouts]
    usable = [
        result.workout or take_out(within_bounds(workout)[0])[0]
        for result, workout in zip(cleaned, workouts, strict=True)
    ]
    twice = duplicates([extent_of(workout) for workout in usable])
    once = {workout.digest: i for i, workout in reversed(list(enumerate(usable))) if i not in twice}
    recordings = [
        Recording(
            gridded=to_grid(usable[i], digest),
            source=usable[i].source,
            follow=cleaned[i].workout is not None,
            why=None if cleaned[i].workout else cleaned[i].reasons[0].message,
        )
        for digest, i in once.items()
    ]
    return sorted(recordings, key=lambda recording: (recording.gridded.sort_key, recording.gridded.digest))


def _in_time(
    network: NetworkForecaster, recordings: Sequence[Recording], observed: float
) -> Iterator[tuple[Recording, Answer, Answer, bool]]:
    """Each workout, its predictions (blind, and after the observed prefix), and whether the model learned from it."""
    stored = network.predictor.followed
    state = stored or PersonState.start(network.size)
    learned_until = stored.last_workout if stored else None
    for recording in recordings:
        gridded = recording.gridded
        truth = measured_heart_rate(gridded)
        prefix = np.where((elapsed_steps(gridded) + 1) * STEP_SECONDS <= observed, truth, np.nan)
        views = (np.full(len(truth), np.nan), prefix)
        tasks = [Task(view=view, scored=np.isfinite(truth)) for view in views]
        ((blind, answer),) = network.answers([Question.of(gridded, state, tasks)])
        learned = learned_until is not None and gridded.sort_key <= learned_until
        yield recording, blind, answer, learned
        if recording.follow and not learned:
            (state,) = state.advance(network, [gridded])


def _rows(recording: Recording, blind: Answer, answer: Answer) -> Iterator[list[Any]]:
    """One line per step of 10 s; empty where nothing was measured."""
    gridded = recording.gridded
    start = gridded.started_at.isoformat() if gridded.started_at else ""
    speed, altitude = (np.concatenate([getattr(s, name) for s in gridded.segments]) for name in ("speed", "altitude"))
    width = answer.half_width[BAND]
    columns = [speed, altitude, measured_heart_rate(gridded), blind.heart_rate, answer.heart_rate]
    columns += [answer.heart_rate - width, answer.heart_rate + width]
    seconds = (elapsed_steps(gridded) * STEP_SECONDS).tolist()
    for second, *values in zip(seconds, *(column.tolist() for column in columns), strict=True):
        shown = ["" if value != value else round(value, 3) for value in values]
        yield [gridded.digest[:8], recording.source, start, second, *shown]


def _outcome(recording: Recording, blind: Answer, answer: Answer, observed: float, learned: bool) -> Outcome:
    gridded = recording.gridded
    use = NOT_FOLLOWED if not recording.follow else LEARNED if learned else NEW
    return Outcome(
        digest=gridded.digest,
        source=recording.source,
        started_at=gridded.started_at.isoformat() if gridded.started_at else None,
        minutes=round(float(elapsed_steps(gridded)[-1] + 1) * STEP_SECONDS / 60.0, 1),
        use=use,
        why=recording.why,
        measured=_known(gridded.mean_heart_rate),
        predicted=float(answer.heart_rate.mean()),
        blind_error=_error(gridded, blind.heart_rate, 0.0),
        error=_error(gridded, answer.heart_rate, observed),
    )


def _error(gridded: GriddedWorkout, predicted: Array, observed: float) -> float | None:
    """As `evaluate` scores P1 and P2: over the measured steps after the observed prefix; None for too few."""
    task = after_prefix(observed)(gridded)
    return None if task is None else float(np.abs(predicted - measured_heart_rate(gridded))[task.scored].mean())


def _summary(model: ModelFile, observed: float, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """`mean`: over the workouts that the model did not learn from and whose heart rate is plausible."""
    new = [outcome for outcome in outcomes if outcome.use == NEW]
    followed = model.checkpoint.followed
    return {
        "model": str(model.path),
        "response": "followed" if followed else "missing" if model.checkpoint.level else "none",
        "observed_seconds": observed,
        "mean": {"workouts": len(new)}
        | {name: _mean([getattr(outcome, name) for outcome in new]) for name in ("blind_error", "error")},
        "workouts": [asdict(outcome) for outcome in outcomes],
    }


def _mean(values: Sequence[float | None]) -> float | None:
    finite = [value for value in values if value is not None]
    return float(np.mean(finite)) if finite else None


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None
