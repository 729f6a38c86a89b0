"""The checkpoint that a command starts from, or an error that says how to get one."""

import logging
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch

from hrmodel.network.checkpoint import Checkpoint
from hrmodel.network.original_format import from_original_pt
from hrmodel.offline.errors import UserError
from hrmodel.offline.paths import Folders, shipped_base
from hrmodel.training.stages import STAGES

log = logging.getLogger("hrmodel.start")


@dataclass(frozen=True, kw_only=True, eq=False)
class ModelFile:
    """A checkpoint read from `path`. `warning`: it is not a Stagewise file and can only start a training."""

    path: Path
    checkpoint: Checkpoint
    warning: str | None = None


def read_checkpoint(path: Path) -> ModelFile:
    """Read a `.safetensors` checkpoint or a `.pt`: whole if Stagewise wrote it, only start weights if the original did.

    Raises InvalidCheckpoint, UserError for a network that this code does not know, FileNotFoundError.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        checkpoint = Checkpoint.read(path) if path.suffix == ".safetensors" else from_original_pt(path)
    try:
        checkpoint.build()
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
    messages = [str(warning.message) for warning in caught if warning.category is UserWarning]
    return ModelFile(path=path, checkpoint=checkpoint, warning=messages[0] if messages else None)


def read_base(pretrained: Path | None) -> ModelFile:
    """The file that --pretrained names, else the shipped base. Raises UserError when it is missing."""
    path = pretrained or shipped_base()
    if not path.exists():
        train = "train one with `python -m hrmodel base --data FILE` (a file of many people)"
        raise UserError(f"No pretrained model at {path}: {train}, or name another file with --pretrained FILE.")
    return read_checkpoint(path)


def read_start(stage: str, pretrained: Path | None, checkpoint: Path | None, folders: Folders) -> ModelFile:
    """The checkpoint that a personal stage starts from: a base model, or the best model of the stage before.

    `pretrained` and `checkpoint` are the options of the command. Raises UserError when the option for the other kind
    of start is used, or the file is missing.
    """
    before = STAGES[stage].starts_from
    if before is None or not STAGES[before].personal:
        if checkpoint:
            raise UserError(f"{stage} starts from a base model: name it with --pretrained, not with --checkpoint.")
        return read_base(pretrained)
    if pretrained:
        raise UserError(f"{stage} starts from a {before} model: name it with --checkpoint, not with --pretrained.")
    path = checkpoint or folders.best(before)
    if not path.exists():
        first = f"run `python -m hrmodel {before} --data DIR` first"
        raise UserError(f"No {before} checkpoint at {path}: {first}, or name another file with --checkpoint FILE.")
    return read_checkpoint(path)


def announce(start: ModelFile) -> None:
    """Log where a training starts."""
    if start.warning:
        log.warning("%s", start.warning)
    log.info("starts from %s (%s)", start.path, start.checkpoint.stage)


def choose_device(name: str) -> str:
    """`auto`, `cpu` or `cuda` -> where torch shall work. Raises UserError for cuda on a machine without it."""
    available = torch.cuda.is_available()
    if name == "auto":
        return "cuda" if available else "cpu"
    if name == "cuda" and not available:
        raise UserError("--device cuda: torch finds no usable CUDA device here; use --device cpu or --device auto.")
    return name
