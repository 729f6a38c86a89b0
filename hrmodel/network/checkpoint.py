"""The one file that rebuilds a model: weights, scale, configuration, history and the state for a resume."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from hrmodel.network.architectures import build_network
from hrmodel.network.config import NetworkConfig
from hrmodel.network.network import HeartRateNetwork
from hrmodel.network.whitening import Whitening
from hrmodel.personal.state import PersonState
from hrmodel.signals.contract import FeatureContract
from hrmodel.signals.scale import SubjectScale

FORMAT_VERSION = 3
PLAIN = 1  # the version of a file without the person's state and the last layer's whitening: earlier code reads it, too
READ = (PLAIN, 2, FORMAT_VERSION)
METADATA_KEY = "stagewise"  # exactly one: several come out in random order and would change the digest
_WEIGHTS, _TRAINING, _LAST_LAYER = "weights.", "training.", "last_layer."


class InvalidCheckpoint(ValueError):
    """A file that is not a Stagewise checkpoint, or is damaged; the message names the file and the reason."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Checkpoint:
    """A whole model. `training` and `training_meta` are None in a file that only serves."""

    network: NetworkConfig
    contract: FeatureContract
    weights: dict[str, Tensor]
    stage: str
    configuration: dict[str, Any]
    history: list[dict[str, float | int | None]]
    level: SubjectScale | None = None  # the subject's static level; None for a base model
    intervals: dict[str, list[float]] | None = None
    data_digest: str = ""
    code_version: str = ""
    training: dict[str, Tensor] | None = None
    training_meta: dict[str, Any] | None = None
    followed: PersonState | None = None  # None: not in the file
    last_layer: Whitening | None = None  # None: a person is followed by the response's own weights alone

    def metadata(self) -> str:
        """Give all but the tensors as sorted JSON. Raises ValueError for NaN or infinity: use None instead."""
        values = {
            "format_version": PLAIN if self.followed is None and self.last_layer is None else FORMAT_VERSION,
            "network": self.network.to_dict(),
            "contract": self.contract.to_dict(),
            "stage": self.stage,
            "configuration": self.configuration,
            "history": self.history,
            "level": None if self.level is None else self.level.to_dict(),
            "intervals": self.intervals,
            "data_digest": self.data_digest,
            "code_version": self.code_version,
            "training_meta": self.training_meta,
        }
        if self.followed is not None:
            values["followed"] = self.followed.to_dict()
        return json.dumps(values, sort_keys=True, allow_nan=False)

    def to_bytes(self) -> bytes:
        """Give the safetensors file. The same content gives the same bytes."""
        tensors = {_WEIGHTS + name: _plain(tensor) for name, tensor in self.weights.items()}
        tensors |= {_TRAINING + name: _plain(tensor) for name, tensor in (self.training or {}).items()}
        tensors |= {_LAST_LAYER + name: tensor for name, tensor in self.last_layer_tensors().items()}
        data: bytes = save(tensors, metadata={METADATA_KEY: self.metadata()})
        return data

    def last_layer_tensors(self) -> dict[str, Tensor]:
        """The whitening's arrays by name; none without it."""
        values = {} if self.last_layer is None else vars(self.last_layer)
        return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in values.items()}

    def write(self, path: Path) -> None:
        """Write the file, not atomically: to survive a crash in between, write to another path and rename."""
        path.write_bytes(self.to_bytes())

    @staticmethod
    def from_bytes(data: bytes, *, name: str = "checkpoint") -> "Checkpoint":
        """Read a file's bytes; `name` stands in errors. Raises InvalidCheckpoint."""
        try:
            metadata = _metadata_of(data)
            tensors = load(data)
            return from_metadata(
                metadata,
                weights=_under(tensors, _WEIGHTS),
                training=_under(tensors, _TRAINING) or None,
                last_layer=_under(tensors, _LAST_LAYER),
            )
        except KeyError as error:
            raise InvalidCheckpoint(f"{name} is not a Stagewise checkpoint: {error.args[0]!r} is missing") from error
        except (SafetensorError, ValueError, TypeError, AttributeError) as error:
            raise InvalidCheckpoint(f"{name} is not a Stagewise checkpoint: {error}") from error

    @staticmethod
    def read(path: Path) -> "Checkpoint":
        """Read a file. Raises InvalidCheckpoint naming the path and the reason, or FileNotFoundError."""
        return Checkpoint.from_bytes(path.read_bytes(), name=str(path))

    def build(self) -> HeartRateNetwork:
        """Make the model, on the CPU, in eval mode, with its own copy of the weights. Raises InvalidCheckpoint."""
        with torch.device("meta"):  # no random first weights: they cost time and move the random state
            model = build_network(self.network)
        try:
            model.load_state_dict({name: _plain(w) for name, w in self.weights.items()}, strict=True, assign=True)
        except RuntimeError as error:
            raise InvalidCheckpoint(f"the weights do not fit the network of the checkpoint: {error}") from error
        return model.eval()


def from_metadata(
    metadata: str, *, weights: dict[str, Tensor], training: dict[str, Tensor] | None, last_layer: dict[str, Tensor]
) -> Checkpoint:
    """Put a checkpoint together from `Checkpoint.metadata` and its tensors. Raises KeyError, ValueError, TypeError."""
    values = json.loads(metadata)
    version = values.pop("format_version")
    if version not in READ:
        raise ValueError(f"its format version is {version!r}; this code reads up to {FORMAT_VERSION}")
    level, followed = values.pop("level"), values.pop("followed", None)
    network = NetworkConfig.from_dict(values.pop("network"))
    return Checkpoint(
        network=network,
        contract=FeatureContract.from_dict(values.pop("contract")),
        level=None if level is None else SubjectScale.from_dict(level),
        followed=None if followed is None else PersonState.from_dict(followed),
        weights=weights,
        training=training,
        last_layer=_whitening(last_layer, network.hidden_size) if last_layer else None,
        **values,
    )


def _whitening(tensors: dict[str, Tensor], units: int) -> Whitening:
    whitening = Whitening(**{name: tensor.numpy().astype(np.float64) for name, tensor in tensors.items()})
    if len(whitening.mean) != units:
        raise ValueError(f"the whitening of {len(whitening.mean)} units does not fit a network of {units}")
    return whitening


def _metadata_of(data: bytes) -> str:
    """Read our metadata out of the header: 8 bytes of length, then JSON with the key `__metadata__`."""
    if len(data) < 8:
        raise ValueError(f"it has only {len(data)} bytes")
    length = int.from_bytes(data[:8], "little")
    if length > len(data) - 8:
        raise ValueError("it is cut short, or not a safetensors file")
    metadata = json.loads(data[8 : 8 + length]).get("__metadata__") or {}
    text: str = metadata[METADATA_KEY]
    return text


def _plain(tensor: Tensor) -> Tensor:
    """Copy to a tensor of its own on the CPU: on a GPU the layers of an LSTM share one block of memory."""
    return tensor.detach().to("cpu", copy=True).contiguous()


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
