"""The checkpoint that a command starts from: found, read, or missed in a sentence that helps."""

import logging
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch

from hrmodel.network.checkpoint import Checkpoint
from hrmodel.network.original_format import from_original_pt
from hrmodel.offline.errors import UserError
from hrmodel.offline.paths import shipped_base

log = logging.getLogger("hrmodel.start")


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """A checkpoint read from `path`. `warning`: it is not ours and can only start a training."""

    path: Path
    checkpoint: Checkpoint
    warning: str | None = None


def read_checkpoint(path: Path) -> Found:
    """Read a `.safetensors` checkpoint or a `.pt`: ours comes back whole, the seed's as start weights with a warning.

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
    return Found(path=path, checkpoint=checkpoint, warning=messages[0] if messages else None)


def read_base(pretrained: Path | None) -> Found:
    """The file that --pretrained names, else the shipped base. Raises UserError when it is missing."""
    path = pretrained or shipped_base()
    if not path.exists():
        train = "train one with `python -m hrmodel base --data FILE` (a file of many people)"
        raise UserError(f"No pretrained model at {path}: {train}, or name another file with --pretrained FILE.")
    return read_checkpoint(path)


def read_stage1(checkpoint: Path | None, default: Path) -> Found:
    """The file that --checkpoint names, else stage 1's best at `default`. Raises UserError when it is missing."""
    path = checkpoint or default
    if not path.exists():
        first = "run `python -m hrmodel stage1 --data DIR` first"
        raise UserError(f"No stage-1 checkpoint at {path}: {first}, or name another file with --checkpoint FILE.")
    return read_checkpoint(path)


def announce(found: Found) -> None:
    """Log where a training starts."""
    if found.warning:
        log.warning("%s", found.warning)
    log.info("starts from %s (%s)", found.path, found.checkpoint.stage)


def choose_device(name: str) -> str:
    """`auto`, `cpu` or `cuda` -> where torch shall work. Raises UserError for cuda on a machine without it."""
    available = torch.cuda.is_available()
    if name == "auto":
        return "cuda" if available else "cpu"
    if name == "cuda" and not available:
        raise UserError("--device cuda: torch finds no usable CUDA device here; use --device cpu or --device auto.")
    return name
