"""Errors that the user of the command line can fix."""

import torch

from hrmodel.network.checkpoint import InvalidCheckpoint
from hrmodel.training.fit import NonFiniteLoss
from hrmodel.training.stages import InvalidHyperparameter
from hrmodel.workouts.errors import InvalidFile


class UserError(ValueError):
    """One sentence: the problem and its fix."""


class Interrupted(Exception):
    """Ctrl-C during a training; the sentence names the checkpoint on disk."""


USER_ERRORS = (
    UserError,
    InvalidFile,
    InvalidCheckpoint,
    InvalidHyperparameter,
    NonFiniteLoss,
    OSError,
    torch.OutOfMemoryError,
)


def sentence(error: Exception) -> str:
    """Say one of `USER_ERRORS` without the words of the library that raised it."""
    if isinstance(error, torch.OutOfMemoryError):
        return "The GPU is out of memory: use --device cpu."
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)
