"""The original's `.pt` files, in and out."""

import warnings
from io import BytesIO
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from hrmodel.network.checkpoint import Checkpoint, InvalidCheckpoint, from_metadata
from hrmodel.network.config import NetworkConfig
from hrmodel.signals.contract import FeatureContract

MAX_BYTES = 256 * 2**20
ORIGINAL_KEYS = ("model_state_dict", "config")
SIZES = ("input_size", "hidden_size", "num_layers")
WARNING = (
    "{path} is in the original's format: its inputs were standardised speed, altitude and the heart rate of the same "
    "step. Here they are speed and vertical speed in the subject's scale and the heart rate of the step before. "
    "It serves as start weights for training only."
)


def to_original_pt(checkpoint: Checkpoint, path: Path) -> None:
    """Write `original_pt` to a file. Raises OSError (disk full), where torch's own writer raises RuntimeError."""
    path.write_bytes(original_pt(checkpoint))


def original_pt(checkpoint: Checkpoint) -> bytes:
    """Give a `.pt` with the original's keys (model_state_dict, config, history, epoch, best_val_loss) plus `stagewise`,
    and `training` and `last_layer` where the checkpoint holds the state for a resume and the last layer's whitening.
    """  # fmt: skip
    network = checkpoint.network
    losses = [entry["val_loss"] for entry in checkpoint.history if entry.get("val_loss") is not None]
    names = ("train_loss", "val_loss", "learning_rate", "epoch_time")
    content = {
        "model_state_dict": {name: tensor.detach().cpu().clone() for name, tensor in checkpoint.weights.items()},
        "config": {
            **{name: getattr(network, name) for name in SIZES},
            "dropout": network.dropout,
            "bidirectional": False,
        },
        "history": {name: [entry.get(name) for entry in checkpoint.history] for name in names},
        "epoch": len(checkpoint.history),
        "best_val_loss": min((loss for loss in losses if loss is not None), default=None),
        "stagewise": checkpoint.metadata(),
    }
    if checkpoint.training is not None:
        content["training"] = checkpoint.training
    if checkpoint.last_layer is not None:
        content["last_layer"] = checkpoint.last_layer_tensors()
    buffer = BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def from_original_pt(path: Path) -> Checkpoint:
    """Read start weights from a `.pt` of the original, with a warning; a file of `original_pt` gives the whole
    checkpoint.

    Raises InvalidCheckpoint naming the path and the reason, or FileNotFoundError.
    """
    content = _load(path)
    missing = [key for key in ORIGINAL_KEYS if not isinstance(content.get(key), dict)]
    if missing:
        raise InvalidCheckpoint(f"{path} has no {' and no '.join(missing)}")
    weights = content["model_state_dict"]
    if isinstance(content.get("stagewise"), str):
        return _own(path, content["stagewise"], weights, content)
    checkpoint = Checkpoint(
        network=_network(path, content["config"]),
        contract=FeatureContract(),
        weights=weights,
        stage="base",
        configuration={"source": path.name},
        history=[],
    )
    _check(path, checkpoint)
    warnings.warn(WARNING.format(path=path), stacklevel=2)
    return checkpoint


def _load(path: Path) -> dict[str, Any]:
    if path.stat().st_size > MAX_BYTES:
        raise InvalidCheckpoint(f"{path} is larger than {MAX_BYTES // 2**20} MB")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise InvalidCheckpoint(f"{path} is not a .pt file of plain tensors: {error}") from error
    if not isinstance(content, dict):
        raise InvalidCheckpoint(f"{path} holds a {type(content).__name__}, not a dict with {', '.join(ORIGINAL_KEYS)}")
    return content


def _network(path: Path, config: dict[str, Any]) -> NetworkConfig:
    missing = [name for name in SIZES if name not in config]
    if missing:
        raise InvalidCheckpoint(f"{path}: config has no {', '.join(missing)}")
    if config.get("bidirectional"):
        raise InvalidCheckpoint(f"{path}: a bidirectional network would see the heart rate that it predicts")
    if config["input_size"] != NetworkConfig.input_size:
        raise InvalidCheckpoint(f"{path}: input_size is {config['input_size']}, not {NetworkConfig.input_size}")
    try:
        return NetworkConfig(**{name: config[name] for name in SIZES}, dropout=config.get("dropout", 0.2))
    except ValueError as error:
        raise InvalidCheckpoint(f"{path}: {error}") from error


def _own(path: Path, metadata: str, weights: dict[str, Tensor], content: dict[str, Any]) -> Checkpoint:
    training, last_layer = content.get("training"), content.get("last_layer", {})
    try:
        checkpoint = from_metadata(metadata, weights=weights, training=training, last_layer=last_layer)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise InvalidCheckpoint(f"{path}: its `stagewise` entry cannot be read: {error}") from error
    _check(path, checkpoint)
    return checkpoint


def _check(path: Path, checkpoint: Checkpoint) -> None:
    """Raise InvalidCheckpoint, with the names, when weights are missing, unknown or of another shape."""
    try:
        checkpoint.build()
    except (InvalidCheckpoint, AttributeError) as error:
        raise InvalidCheckpoint(f"{path}: {error}") from error
