"""Many people's models trained together, each as `fit` would train it alone."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from hrmodel.network.lstm import HeartRateLSTM
from hrmodel.network.stacked import run_upper
from hrmodel.signals.batches import Batch
from hrmodel.signals.views import Views
from hrmodel.training.fit import Mean, NonFiniteLoss, Stop, ignore, own_random_numbers, views_of
from hrmodel.training.side_by_side import SharedLower, SideBySide
from hrmodel.training.stack import Stack
from hrmodel.training.stages import StageConfig
from hrmodel.training.state import TrainingState

Result = TrainingState | NonFiniteLoss | Stop


@dataclass(eq=False)
class _Person:
    """One of those who train together. `random`: the state of their own random numbers on the CPU."""

    place: int
    state: TrainingState
    train: Views
    val: Views
    random: Tensor
    train_loss: Mean = field(default_factory=Mean)
    val_loss: Mean = field(default_factory=Mean)
    ended: Result | None = None


def fit_many(
    models: Sequence[HeartRateLSTM],
    trains: Sequence[Views | Sequence[Batch]],
    vals: Sequence[Views | Sequence[Batch]],
    stages: Sequence[StageConfig],
    *,
    resume: Sequence[TrainingState | None] | None = None,
    on_batch: Callable[[], None] = ignore,
    on_epoch: Callable[[int, TrainingState], None] = ignore,
) -> list[Result]:
    """Train one stage of P people at once, on the device where their models are; one result per person, in order.

    Everybody has their own batches in their own order, learning rate, clipping, optimiser, average, early stopping and
    dropout; whoever has no batch left in an epoch does not move, and whoever is done leaves. The state of a person is
    that of `fit`, on a CPU within rounding (checkpoints and `resume` are the same); on a GPU dropout is drawn for all
    at once, so that random numbers are others than one by one. `epoch_time` is the time of the epoch of all. It is
    made for a GPU: on a CPU one by one is quicker.

    A loss that is not finite ends its person alone: their result is the NonFiniteLoss, and their model is of no use. A
    `Stop` that `on_epoch` raises for the person at a place ends that person too, with their model as it was then. What
    `on_batch` raises ends all. Raises ValueError when the people's networks (dropout aside), frozen layers or devices
    differ, or someone has no training batches.
    """
    states = resume or [None] * len(models)
    with own_random_numbers(models[0]):
        people = [
            _person(place, *each) for place, each in enumerate(zip(models, trains, vals, stages, states, strict=True))
        ]
        _require_alike([person.state for person in people])
        together = sorted(people, key=lambda person: -len(person.train))  # so that whoever has a batch comes first
        together = [person for person in together if not person.state.should_stop]
        if together:
            _train_together(together, on_batch, on_epoch)
    return [person.ended or person.state for person in people]


def _person(
    place: int,
    model: HeartRateLSTM,
    train: Views | Sequence[Batch],
    val: Views | Sequence[Batch],
    stage: StageConfig,
    resumed: TrainingState | None,
) -> _Person:
    train, val = views_of(train), views_of(val)
    if len(train) == 0:
        raise ValueError(f"no training workout of person {place} has a measured heart rate")
    state = resumed or TrainingState(model, stage)
    state.stops_early = len(val) > 0 and train.workouts >= stage.early_stopping_min_workouts
    state.use_random_state()
    return _Person(place=place, state=state, train=train, val=val, random=torch.get_rng_state())


def _require_alike(states: Sequence[TrainingState]) -> None:
    shapes = [{name: p.shape for name, p in state.model.named_parameters()} for state in states]
    for place, state in enumerate(states):
        if shapes[place] != shapes[0]:
            raise ValueError(f"person {place} has another network than person 0: train them in two groups")
        if state.parameters.keys() != states[0].parameters.keys():
            raise ValueError(f"person {place} freezes other layers than person 0: train them in two groups")
        if state.device != states[0].device:
            raise ValueError(f"person {place} is on {state.device}, person 0 on {states[0].device}")


def _train_together(
    people: list[_Person], on_batch: Callable[[], None], on_epoch: Callable[[int, TrainingState], None]
) -> None:
    """Epoch after epoch; whoever is done leaves the stack."""
    stack, lower = Stack([person.state for person in people]), SharedLower([person.state for person in people])
    try:
        while people:
            started = time.perf_counter()
            _train(people, stack, lower, on_batch)
            _validate(people, stack, lower, on_batch)
            for person in people:
                _finish_epoch(person, time.perf_counter() - started, on_epoch)
            going = [i for i, person in enumerate(people) if not (person.ended or person.state.should_stop)]
            if len(going) < len(people):
                stack.keep(going)
                people = [people[i] for i in going]
    finally:
        stack.keep([])


def _train(people: list[_Person], stack: Stack, lower: SharedLower, on_batch: Callable[[], None]) -> None:
    """One pass of everybody over their batches."""
    for person in people:
        person.state.model.train()
        person.state.batch, person.state.batches, person.train_loss = 0, len(person.train), Mean()
    passes = [person.train.batches(person.state.epoch + 1) for person in people]
    for number in range(len(people[0].train)):
        active = [person for person in people if len(person.train) > number]
        batches = [next(each) for each in passes[: len(active)]]
        side = SideBySide.of(batches, stack.weights.device)
        weights = stack.trained(len(active))
        fixed = {name: values[: len(active)] for name, values in stack.frozen.items()}
        hidden = lower.lower(side, [person.state for person in active])
        dropout = _draw_dropout(active, side, lower.layers)
        layers = active[0].state.model.config.num_layers
        losses = side.losses(run_upper({**fixed, **weights}, hidden, lower.layers, layers, dropout))
        norms = stack.step(torch.autograd.grad(losses.sum(), list(weights.values())))
        found = torch.stack([losses.detach(), norms], 1).tolist()  # waits for the device: once for everybody
        for person, batch, (loss, norm) in zip(active, batches, found, strict=True):
            if not math.isfinite(loss + norm) and person.ended is None:
                person.ended = NonFiniteLoss(person.state.epoch + 1)
            person.train_loss.add(loss, batch)
            person.state.batch += 1
        on_batch()


@torch.no_grad()
def _validate(people: list[_Person], stack: Stack, lower: SharedLower, on_batch: Callable[[], None]) -> None:
    """Everybody's averaged weights on their validation batches."""
    passes = [person.val.batches(person.state.epoch + 1) for person in people]
    for person in people:
        person.state.model.eval()
        person.val_loss = Mean()
    for number in range(max(len(person.val) for person in people)):
        places = [i for i, person in enumerate(people) if len(person.val) > number]
        active, batches = [people[i] for i in places], [next(passes[i]) for i in places]
        side = SideBySide.of(batches, stack.weights.device)
        weights = stack.averaged(torch.tensor(places, device=stack.weights.device))
        hidden = lower.lower(side, [person.state for person in active])
        layers = active[0].state.model.config.num_layers
        losses = side.losses(run_upper(weights, hidden, lower.layers, layers, [])).tolist()
        for person, batch, loss in zip(active, batches, losses, strict=True):
            person.val_loss.add(loss, batch)
        on_batch()


def _finish_epoch(person: _Person, seconds: float, on_epoch: Callable[[int, TrainingState], None]) -> None:
    """Close an epoch of one person, with their own random state in force as it is in `fit`."""
    val_loss = person.val_loss.value if len(person.val) else None
    if person.ended is None and val_loss is not None and not math.isfinite(val_loss):
        person.ended = NonFiniteLoss(person.state.epoch + 1)
    if person.ended is not None:
        return
    torch.set_rng_state(person.random)
    person.state.finish_epoch({"train_loss": person.train_loss.value, "val_loss": val_loss, "epoch_time": seconds})
    try:
        on_epoch(person.place, person.state)
    except Stop as stop:
        person.ended = stop


def _draw_dropout(people: Sequence[_Person], side: SideBySide, from_layer: int) -> list[Tensor]:
    """Masks (P, T, B, H) by layer; on a CPU from everybody's own random numbers, as one by one."""
    shares = [person.state.model.lstm.dropout for person in people]
    config = people[0].state.model.config
    count = config.num_layers - max(from_layer, 1)
    if not any(shares):
        return []
    if side.mask.device.type != "cpu":
        kept = 1.0 - torch.tensor(shares, device=side.mask.device)[:, None, None, None]
        size = (*side.mask.shape, config.hidden_size)
        return [(torch.rand(size, device=side.mask.device) < kept) / kept for _ in range(count)]
    drawn = []
    for person, batch in zip(people, side.batches, strict=True):
        torch.set_rng_state(person.random)
        own = person.state.model.draw_dropout(batch.mask.shape, from_layer)
        person.random = torch.get_rng_state()
        drawn.append(own or [torch.ones(*batch.mask.shape, config.hidden_size)] * count)
    return side.masks(drawn)
