"""The training loop of every stage."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from hrmodel.network.network import HeartRateNetwork
from hrmodel.training.batches import Batch
from hrmodel.training.frozen_cache import FrozenLayerCache
from hrmodel.training.stages import StageConfig
from hrmodel.training.state import Entry, TrainingState
from hrmodel.training.views import FixedViews, Views


class Stop(Exception):
    """Raised by a callback to end training here; `fit` lets it through."""


class NonFiniteLoss(ArithmeticError):
    """The loss or its gradient became NaN or infinite in `epoch`."""

    def __init__(self, epoch: int) -> None:
        super().__init__(f"the loss is not finite in epoch {epoch}; lower learning_rate or gradient_clip")
        self.epoch = epoch


def ignore(*_: object) -> None:
    """Do nothing: the default callback."""


def fit(
    model: HeartRateNetwork,
    train: Views | Sequence[Batch],
    val: Views | Sequence[Batch],
    stage: StageConfig,
    *,
    resume: TrainingState | None = None,
    on_batch: Callable[[TrainingState], None] = ignore,
    on_validation: Callable[[TrainingState], None] = ignore,
    on_epoch: Callable[[HeartRateNetwork, TrainingState], None] = ignore,
) -> TrainingState:
    """Train one stage until its epochs are over or validation stops improving, on the device where the model is.

    Every callback may raise `Stop`, which passes through; an epoch that was not finished is run again by a fit that
    gets `resume`, a state restored from the last finished epoch's checkpoint. During `on_validation`, after each
    validation batch, the model holds the averaged weights. `model` ends with the weights of the last step; the
    weights to keep are `state.best_weights`. torch's global random state is the same afterwards.
    Raises NonFiniteLoss, and ValueError without training batches.
    """
    train, val = views_of(train), views_of(val)
    if len(train) == 0:
        raise ValueError("no training workout has a measured heart rate")
    with own_random_numbers(model):
        state = resume or TrainingState(model, stage)
        state.stops_early = len(val) > 0 and train.workouts >= stage.early_stopping_min_workouts
        state.use_random_state()
        cache = FrozenLayerCache(model)
        while not state.should_stop:
            state.finish_epoch(_epoch(state, cache, train, val, on_batch, on_validation))
            on_epoch(model, state)
    return state


def explain_out_of_memory(batch_size: int) -> str:
    """The message for a torch.cuda.OutOfMemoryError (`fit` lets it through)."""
    return f"The GPU is out of memory: lower batch_size (it is {batch_size}) or use --device cpu."


def _epoch(
    state: TrainingState,
    cache: FrozenLayerCache,
    train: Views,
    val: Views,
    on_batch: Callable[[TrainingState], None],
    on_validation: Callable[[TrainingState], None],
) -> Entry:
    """Train and validate once; returns the epoch's entry in the history."""
    on_gpu = state.device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(state.device)
    started = time.perf_counter()
    train_loss = _train(state, cache, train, on_batch)
    val_loss = _validate(state, cache, val, on_validation)
    entry: Entry = {"train_loss": train_loss, "val_loss": val_loss, "epoch_time": time.perf_counter() - started}
    if on_gpu:
        entry["gpu_peak_bytes"] = torch.cuda.max_memory_allocated(state.device)
    return entry


def _train(
    state: TrainingState, cache: FrozenLayerCache, train: Views, on_batch: Callable[[TrainingState], None]
) -> float:
    """One pass over the training batches; the mean loss over their measured steps."""
    state.model.train()
    state.batch, state.batches = 0, len(train)
    total = Mean()
    for batch in train.batches(state.epoch + 1):
        moved = batch.to(state.device)
        loss = masked_mse(cache.predict(moved), moved.target, moved.mask)
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(state.parameters.values(), state.stage.gradient_clip)
        value, length = torch.stack([loss.detach(), norm]).tolist()  # the only time per batch that waits for the device
        if not math.isfinite(value + length):
            raise NonFiniteLoss(state.epoch + 1)
        state.step()
        total.add(value, batch)
        state.batch += 1
        on_batch(state)
    return total.value


@torch.no_grad()
def _validate(
    state: TrainingState, cache: FrozenLayerCache, val: Views, on_validation: Callable[[TrainingState], None]
) -> float | None:
    """The averaged weights' mean loss over the measured validation steps; None without validation workouts."""
    state.model.eval()
    if len(val) == 0:
        return None
    total = Mean()
    with state.averaged():
        for batch in val.batches(state.epoch + 1):
            moved = batch.to(state.device)
            total.add(masked_mse(cache.predict(moved), moved.target, moved.mask).item(), batch)
            on_validation(state)
    if not math.isfinite(total.value):
        raise NonFiniteLoss(state.epoch + 1)
    return total.value


def masked_mse(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """(B, T) each -> scalar: the mean of (prediction - target)^2 over the steps where `mask` is True; 0 without any."""
    squared = (prediction - target).square() * mask
    return squared.sum() / mask.sum().clamp(min=1)


class Mean:
    """Mean over steps of losses that are means over the steps of their batches."""

    def __init__(self) -> None:
        self._sum, self._steps = 0.0, 0

    def add(self, loss: float, batch: Batch) -> None:
        """Count one batch."""
        steps = int(batch.mask.sum())
        self._sum, self._steps = self._sum + loss * steps, self._steps + steps

    @property
    def value(self) -> float:
        """The mean so far."""
        return self._sum / max(self._steps, 1)


def views_of(batches: Views | Sequence[Batch]) -> Views:
    """Let a list of batches be the same batches in every epoch."""
    return FixedViews(batches) if isinstance(batches, Sequence) else batches


@contextmanager
def own_random_numbers(model: HeartRateNetwork) -> Iterator[None]:
    """Leave torch's global random state as it was."""
    device = next(model.parameters()).device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield
