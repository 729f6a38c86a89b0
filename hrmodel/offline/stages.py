"""A personal stage offline: from a start checkpoint and a person's workouts to the original's files."""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from hrmodel.network.checkpoint import Checkpoint
from hrmodel.network.network import HeartRateNetwork
from hrmodel.network.original_format import to_original_pt
from hrmodel.offline.console import progress_bar
from hrmodel.offline.errors import Interrupted, UserError
from hrmodel.offline.paths import Folders
from hrmodel.offline.resuming import START, resumed, start_digest
from hrmodel.offline.training import Training
from hrmodel.training.curves import best_entry, draw_curves
from hrmodel.training.fit import explain_out_of_memory, fit
from hrmodel.training.state import Entry, TrainingState

log = logging.getLogger("hrmodel.stages")


@dataclass(frozen=True, kw_only=True, eq=False)
class StageRun(Training):
    """A training that is kept in files."""

    folders: Folders
    resume: bool = False  # go on after the last finished epoch of the training that was interrupted


def train_stage(task: StageRun) -> None:
    """Train one stage: checkpoints and history are written after each epoch, the curves and the person's state at the
    end.

    Raises Interrupted on Ctrl-C, UserError when the GPU's memory or the network's layers do not allow it or there is
    nothing to resume, NonFiniteLoss.
    """  # fmt: skip
    model = _model(task)
    stage, name = task.stage, task.stage.stage
    keep = _Keeper(task)
    before = resumed(task.folders, keep.planned(model), model, stage) if task.resume else None
    with progress_bar("reading the person") as show:
        train, val = task.views(show)
    _announce(task, model)
    if before is not None:
        log.info("goes on after epoch %d of %d", before.epoch, stage.epochs)
        keep.begin(before)
    try:
        with progress_bar(name) as show:
            state = fit(model, train, val, stage, resume=before, on_batch=lambda s: show(s.progress), on_epoch=keep)
        with progress_bar("following the person") as show:
            keep.end(state, show)
    except KeyboardInterrupt as error:
        raise Interrupted(_interruption(task, keep.epochs)) from error
    except torch.OutOfMemoryError as error:
        raise UserError(explain_out_of_memory(stage.batch_size)) from error
    draw_curves(state.history, task.folders.curves(name), f"Training of {name}")
    if state.epoch < stage.epochs:
        log.info("early stopping: no better validation loss in %d epochs", stage.patience)
    log.info("best epoch %d of %d; wrote %s", state.best_epoch, state.epoch, task.folders.best(name))


def original_history(history: list[Entry]) -> dict[str, Any]:
    """One list per number, an element per epoch, and the best epoch (None without validation). Peak memory in bytes."""
    best = best_entry(history)
    columns = {"train_loss": "train_loss", "val_loss": "val_loss", "learning_rate": "learning_rate"}
    columns |= {"epoch_times": "epoch_time", "trainable_parameters": "trainable_parameters"}
    if any("gpu_peak_bytes" in entry for entry in history):
        columns["gpu_peak_bytes"] = "gpu_peak_bytes"
    lists = {column: [entry.get(key) for entry in history] for column, key in columns.items()}
    return {**lists, "best_epoch": best[0] if best else None, "best_val_loss": best[1] if best else None}


def epoch_line(entry: Entry, epochs: int, best: bool) -> str:
    """One epoch in one line of the log."""
    val = "-" if entry["val_loss"] is None else f"{entry['val_loss']:.4f}"
    parts = [f"epoch {entry['epoch']}/{epochs}: train {entry['train_loss']:.4f}", f"val {val}"]
    parts += [f"learning rate {entry['learning_rate']:g}", f"{entry['epoch_time']:.1f} s"]
    if entry.get("gpu_peak_bytes") is not None:
        parts.append(f"GPU peak {(entry['gpu_peak_bytes'] or 0) / 2**20:.0f} MiB")
    return ", ".join(parts) + (" (best)" if best else "")


def _model(task: StageRun) -> HeartRateNetwork:
    try:
        return task.build()
    except ValueError as error:
        raise UserError(f"--freeze-layers: {error}.") from error


class _Keeper:
    """Keeps each epoch: files, then a line in the log. `epochs` of them are on disk."""

    def __init__(self, task: StageRun) -> None:
        self._task = task
        self._start = {START: start_digest(task.start)}
        self.epochs = 0

    def planned(self, model: HeartRateNetwork) -> Checkpoint:
        """The checkpoint that this training would write before its first epoch."""
        return replace(self._task.checkpoint(model.config, model.state_dict(), []), training_meta=self._start)

    def begin(self, state: TrainingState) -> None:
        """Go on after the epochs of a state that was resumed."""
        self.epochs = state.epoch
        self._keep_best(state)

    def __call__(self, _model: HeartRateNetwork, state: TrainingState) -> None:
        """Keep the epoch that was just finished."""
        task, name = self._task, self._task.stage.stage
        improved = state.best_epoch == state.epoch
        if improved:
            self._keep_best(state)
        tensors, meta = state.to_tensors()
        latest = task.checkpoint(state.model.config, state.weights(), state.history)
        _write(replace(latest, training=tensors, training_meta={**meta, **self._start}), task.folders.latest(name))
        path = task.folders.history(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(original_history(state.history), indent=1) + "\n", encoding="utf-8")
        self.epochs = state.epoch
        log.info("%s", epoch_line(state.history[-1], task.stage.epochs, improved and bool(task.data.val)))

    def end(self, state: TrainingState, on_progress: Callable[[float], None]) -> None:
        """Write the person's state under the best model into its file; nothing is left to resume."""
        task, name = self._task, self._task.stage.stage
        _write(task.best(state, on_progress), task.folders.best(name))
        _write(task.checkpoint(state.model.config, state.weights(), state.history), task.folders.latest(name))

    def _keep_best(self, state: TrainingState) -> None:
        best = self._task.checkpoint(state.model.config, state.best_weights, state.history)
        _write(best, self._task.folders.best(self._task.stage.stage))


def _write(checkpoint: Checkpoint, path: Path) -> None:
    """Write a `.pt` with the whole checkpoint, atomically: a reader sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    to_original_pt(checkpoint, unfinished)
    unfinished.replace(path)


def _announce(task: StageRun, model: HeartRateNetwork) -> None:
    stage = task.stage
    log.info("%s, recipe %s, on %s: %s", stage.stage, task.recipe, task.device, json.dumps(stage.to_dict()))
    counts = [(count, trains) for _, count, trains in model.parameter_report()]
    frozen = ", ".join(map(str, stage.freeze_layers)) or "none"
    values = (sum(count for count, trains in counts if trains), sum(count for count, _ in counts), frozen)
    log.info("%d of %d parameters train; frozen layers: %s", *values)


def _interruption(task: StageRun, epochs: int) -> str:
    if not epochs:
        return "Interrupted before the first epoch was finished: no checkpoint was written."
    latest = task.folders.latest(task.stage.stage)
    return f"Interrupted: {latest} holds epoch {epochs}, the last finished one; the same command with --resume goes on."
