"""Resuming an interrupted training: the newest epoch's file holds the whole state."""

import hashlib
import json
from typing import Any

from hrmodel.network.checkpoint import Checkpoint
from hrmodel.network.network import HeartRateNetwork
from hrmodel.offline.errors import UserError
from hrmodel.offline.paths import Folders
from hrmodel.offline.start import read_checkpoint
from hrmodel.training.stages import StageConfig, recipe_name
from hrmodel.training.state import TrainingState

START = "start"  # in `training_meta`: the digest of the start model


def start_digest(start: Checkpoint) -> str:
    """Names the model that a training starts from."""
    return hashlib.sha256(start.to_bytes()).hexdigest()


def resumed(folders: Folders, planned: Checkpoint, model: HeartRateNetwork, stage: StageConfig) -> TrainingState:
    """The state after the last finished epoch; `model` gets its weights.

    `planned` is the checkpoint that this training would write. Raises UserError when there is nothing to resume, or
    when it was another training: other data, another start or other settings.
    """
    path = folders.latest(stage.stage)
    if not path.exists():
        raise UserError(f"--resume: there is no training to resume at {path}; leave --resume out.")
    interrupted = read_checkpoint(path).checkpoint
    if interrupted.training is None or interrupted.training_meta is None:
        raise UserError(f"--resume: the training that wrote {path} has ended; leave --resume out to train anew.")
    changes = _changes(interrupted, planned)
    if changes:
        raise UserError(f"--resume: {path} is of another training: {'; '.join(changes)}.")
    try:
        return TrainingState.from_tensors(model, stage, interrupted.training, interrupted.training_meta)
    except (KeyError, RuntimeError) as error:
        raise UserError(f"--resume: {path} cannot be used ({error}); leave --resume out to train anew.") from error


def _changes(interrupted: Checkpoint, planned: Checkpoint) -> list[str]:
    """The differences between the interrupted training and this one, in words."""
    before, now = _as_read(interrupted.configuration), _as_read(planned.configuration)
    names = sorted({*before, *now})
    changes = [
        f"{name} was {before.get(name)} and is {now.get(name)}" for name in names if before.get(name) != now.get(name)
    ]
    if interrupted.data_digest != planned.data_digest:
        changes.append("it was trained on other --data")
    if (interrupted.training_meta or {}).get(START) != (planned.training_meta or {}).get(START):
        changes.append("it started from another model")
    return changes


def _as_read(configuration: dict[str, Any]) -> dict[str, Any]:
    """The configuration as a file would give it back, with the recipe's present name."""
    values: dict[str, Any] = json.loads(json.dumps(configuration))
    return {**values, "recipe": recipe_name(values.get("recipe", ""))}
