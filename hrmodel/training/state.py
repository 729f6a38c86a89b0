"""The state of a training between two epochs, saved to and restored from a checkpoint."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from hrmodel.network.network import HeartRateNetwork
from hrmodel.training.adam import PlainAdam
from hrmodel.training.stages import StageConfig

Entry = dict[str, float | int | None]
_SCHEDULER = ("best", "num_bad_epochs", "cooldown_counter", "last_epoch")


class TrainingState:
    """One stage on one model. A new state freezes the model's layers and sets its dropout as the stage requires.

    `epoch` counts finished epochs; `batch` of `batches` are done in the current epoch. `best_weights` are the averaged
    weights of the epoch with the lowest validation loss, of the last epoch when nothing validates.
    """

    def __init__(self, model: HeartRateNetwork, stage: StageConfig) -> None:
        model.freeze_layers(stage.freeze_layers)
        model.set_dropout(stage.dropout)
        self.model, self.stage = model, stage
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.optimizer = PlainAdam(self.parameters.values(), lr=stage.learning_rate, weight_decay=stage.weight_decay)
        self.scheduler = ReduceLROnPlateau(
            self.optimizer, factor=stage.scheduler_factor, patience=stage.scheduler_patience
        )
        self.average = [p.detach().clone() for p in self.parameters.values()] if stage.ema is not None else None
        self.epoch = self.batch = self.batches = 0
        self.history: list[Entry] = []
        self.best_val_loss: float | None = None
        self.best_epoch = 0
        self.best_weights: dict[str, Tensor] = self.weights()
        self.epochs_without_improvement = 0
        self.stops_early = False  # fit sets it from the number of workouts
        self.random = _seeded(stage.seed, self.device)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.device

    @property
    def learning_rate(self) -> float:
        """The optimiser's current learning rate."""
        return float(self.optimizer.param_groups[0]["lr"])

    @property
    def progress(self) -> float:
        """Share of the stage's epochs that is done, 0..1; early stopping may end it sooner."""
        return (self.epoch + self.batch / max(self.batches, 1)) / self.stage.epochs

    @property
    def should_stop(self) -> bool:
        """All epochs are done, or validation has not improved for `patience` of them."""
        waited = self.stops_early and self.epochs_without_improvement >= self.stage.patience
        return waited or self.epoch >= self.stage.epochs

    def step(self) -> None:
        """Take one optimiser step and let the averaged weights follow."""
        self.optimizer.step()
        if self.average is not None and self.stage.ema is not None:
            with torch.no_grad():  # lerp gives a weight that did not move back exactly
                torch._foreach_lerp_(self.average, list(self.parameters.values()), 1.0 - self.stage.ema)

    @contextmanager
    def averaged(self) -> Iterator[HeartRateNetwork]:
        """Lend the model with its averaged weights; afterwards it has its own again."""
        if self.average is None:
            yield self.model
            return
        own = [p.detach().clone() for p in self.parameters.values()]
        self._set(self.average)
        try:
            yield self.model
        finally:
            self._set(own)

    def weights(self) -> dict[str, Tensor]:
        """Give a copy, on the CPU, of the weights to serve: the averaged weights, and the frozen weights unchanged."""
        with self.averaged() as model:
            return _copy(model.state_dict())

    def finish_epoch(self, entry: Entry) -> None:
        """Close an epoch (train_loss, val_loss, epoch_time): history, best weights, scheduler, early stopping."""
        self.epoch, self.batch = self.epoch + 1, 0
        measured = {"learning_rate": self.learning_rate, "trainable_parameters": self.model.trainable_parameters()}
        self.history.append({"epoch": self.epoch, **entry, **measured})
        val_loss = entry["val_loss"]
        self.epochs_without_improvement += 1
        if val_loss is None or self.best_val_loss is None or val_loss < self.best_val_loss:
            self.best_val_loss, self.best_epoch, self.best_weights = val_loss, self.epoch, self.weights()
            self.epochs_without_improvement = 0
        if val_loss is not None:
            self.scheduler.step(val_loss)
        self.random = _random_now(self.device)

    def use_random_state(self) -> None:
        """Put the random state of the end of the last finished epoch in force."""
        torch.set_rng_state(self.random["cpu"])
        if self.device.type == "cuda":
            fresh = _seeded(self.stage.seed, self.device)["cuda"]  # the job may have begun on a CPU
            torch.cuda.set_rng_state(self.random.get("cuda", fresh), self.device)

    def to_tensors(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Give the values of `Checkpoint.training` and `.training_meta`. Call it between epochs (in `on_epoch`)."""
        tensors = {f"weights.{name}": tensor for name, tensor in self.model.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best_weights.items()}
        tensors |= {f"random.{kind}": tensor for kind, tensor in self.random.items()}
        if self.average is not None:
            tensors |= {f"average.{name}": t for name, t in zip(self.parameters, self.average, strict=True)}
        for name, parameter in self.parameters.items():
            values = self.optimizer.state.get(parameter, {})
            tensors |= {f"optimizer.{name}.{key}": value for key, value in values.items()}
        scheduler = self.scheduler.state_dict()
        meta = {
            "epoch": self.epoch,
            "history": list(self.history),
            "best_val_loss": self.best_val_loss,
            "best_epoch": self.best_epoch,
            "epochs_without_improvement": self.epochs_without_improvement,
            "learning_rate": self.learning_rate,
            "scheduler": {key: scheduler[key] for key in _SCHEDULER} if self.best_val_loss is not None else None,
        }
        return _copy(tensors), meta

    @classmethod
    def from_tensors(
        cls, model: HeartRateNetwork, stage: StageConfig, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]
    ) -> "TrainingState":
        """The inverse of `to_tensors`; puts the state's weights into `model`. Raises KeyError if incomplete."""
        model.load_state_dict(_under(tensors, "weights."))
        state = cls(model, stage)
        if state.average is not None:
            state.average = [tensors[f"average.{name}"].to(state.device, copy=True) for name in state.parameters]
        state.best_weights = _under(tensors, "best.")
        state.random = _under(tensors, "random.")
        state.epoch, state.history = meta["epoch"], list(meta["history"])
        state.best_val_loss, state.best_epoch = meta["best_val_loss"], meta["best_epoch"]
        state.epochs_without_improvement = meta["epochs_without_improvement"]
        state._restore_optimizer(tensors, meta["learning_rate"])
        if meta["scheduler"] is not None:
            state.scheduler.load_state_dict(meta["scheduler"])
        return state

    def _restore_optimizer(self, tensors: Mapping[str, Tensor], learning_rate: float) -> None:
        groups = self.optimizer.state_dict()["param_groups"]
        groups[0]["lr"] = learning_rate
        moments = {place: _under(tensors, f"optimizer.{name}.") for place, name in enumerate(self.parameters)}
        self.optimizer.load_state_dict({"state": {k: v for k, v in moments.items() if v}, "param_groups": groups})

    def _set(self, values: list[Tensor]) -> None:
        with torch.no_grad():
            for parameter, value in zip(self.parameters.values(), values, strict=True):
                parameter.copy_(value)


def _copy(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return _copy({name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)})


def _seeded(seed: int, device: torch.device) -> dict[str, Tensor]:
    devices = {torch.device("cpu"), device}
    return {place.type: torch.Generator(place).manual_seed(seed).get_state() for place in devices}


def _random_now(device: torch.device) -> dict[str, Tensor]:
    cuda = {"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {}
    return {"cpu": torch.get_rng_state(), **cuda}
