"""Weights, moments and averages of many people in one block of memory, and the optimiser step that moves them all."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from hrmodel.training.state import TrainingState

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # torch.optim.Adam's own


class Stack:
    """P people's weights as rows of N numbers. While a person is in it, their model, their optimiser's moments and
    their average are views of their row, so that everything that `TrainingState` does between epochs stays right.

    The network, what is frozen and the device are the same for all; every other number of a stage is a person's own.
    """  # fmt: skip

    def __init__(self, states: Sequence[TrainingState]) -> None:
        self.states = list(states)
        first = states[0]
        self.names = list(first.parameters)
        self.shapes = [parameter.shape for parameter in first.parameters.values()]
        self.weights = torch.stack([_row(state.parameters.values()) for state in states])  # (P, N)
        moments = [_moments(state) for state in states]
        self.mean = torch.stack([mean for mean, _, _ in moments])
        self.square = torch.stack([square for _, square, _ in moments])
        self.steps = torch.tensor([steps for _, _, steps in moments])  # (P,) on the CPU, as Adam has them
        averages = [None if state.average is None else _row(state.average) for state in states]
        self.average = torch.stack([w if a is None else a for a, w in zip(averages, self.weights, strict=True)])
        frozen = {name: p for name, p in first.model.named_parameters() if name not in first.parameters}
        self.frozen = {
            name: torch.stack([state.model.get_parameter(name).detach() for state in states]) for name in frozen
        }
        self._lend()

    def trained(self, people: int) -> dict[str, Tensor]:
        """The weights of the first `people` by name, to be differentiated by."""
        rows = self.weights[:people].split([shape.numel() for shape in self.shapes], 1)
        return {
            name: row.view(people, *shape).detach().requires_grad_()
            for name, row, shape in zip(self.names, rows, self.shapes, strict=True)
        }

    def averaged(self, chosen: Tensor) -> dict[str, Tensor]:
        """Copies of the averaged weights of the people at these places by name, frozen ones included."""
        rows = self.average[chosen].split([shape.numel() for shape in self.shapes], 1)
        named = zip(self.names, rows, self.shapes, strict=True)
        return {name: row.reshape(-1, *shape) for name, row, shape in named} | {
            name: weights[chosen] for name, weights in self.frozen.items()
        }

    def step(self, gradients: Sequence[Tensor]) -> Tensor:
        """Clip, take each person's Adam step and let the average follow, for the first A people, in place.

        `gradients`: one (A, ...) per name. Returns (A,) norms of the gradients before clipping.
        """
        people = len(gradients[0])
        gradient = torch.cat([each.reshape(people, -1) for each in gradients], 1)
        norms = gradient.norm(dim=1)
        clip, decay, rate, follow = self._numbers(people)
        gradient *= (clip / (norms + 1e-6)).clamp(max=1.0)[:, None]
        weights, mean, square = self.weights[:people], self.mean[:people], self.square[:people]
        gradient.addcmul_(weights, decay[:, None])
        mean.lerp_(gradient, 1 - BETA1)
        square.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
        self.steps[:people] += 1
        taken = self.steps[:people].double()
        first, second = ((1 - beta**taken).to(weights) for beta in (BETA1, BETA2))
        deviation = square.sqrt().div_(second.sqrt()[:, None]).add_(EPSILON)
        weights.sub_(mean / deviation * (rate / first)[:, None])
        self.average[:people].lerp_(weights, follow[:, None])
        return norms

    def keep(self, places: Sequence[int]) -> None:
        """Go on with the people at these places, in this order. The others get memory of their own."""
        chosen = torch.tensor(places, dtype=torch.long)
        for place in set(range(len(self.states))) - set(places):
            _give(self.states[place], self._rows(place, copy=True))
        self.states = [self.states[place] for place in places]
        self.steps = self.steps[chosen]
        on_device = chosen.to(self.weights.device)
        for name in ("weights", "mean", "square", "average"):
            setattr(self, name, getattr(self, name)[on_device])
        self.frozen = {name: weights[on_device] for name, weights in self.frozen.items()}
        self._lend()

    def _numbers(self, people: int) -> list[Tensor]:
        """(A,) each: gradient clip, weight decay, learning rate, and how far the average follows (1: all the way)."""
        rows = [
            (
                state.stage.gradient_clip,
                state.stage.weight_decay,
                state.learning_rate,
                1.0 if state.stage.ema is None else 1.0 - state.stage.ema,
            )
            for state in self.states[:people]
        ]
        return list(torch.tensor(rows).to(self.weights).unbind(1))

    def _lend(self) -> None:
        for place, state in enumerate(self.states):
            _give(state, self._rows(place))

    def _rows(self, place: int, *, copy: bool = False) -> list[Tensor]:
        """A person's weights, moments, average and number of steps."""
        rows = [block[place] for block in (self.weights, self.mean, self.square, self.average, self.steps)]
        return [row.clone() for row in rows] if copy else rows


def _row(tensors: Iterable[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


def _moments(state: TrainingState) -> tuple[Tensor, Tensor, float]:
    """What Adam remembers of a person: mean and square of the gradients (N,), and the steps taken."""
    known = [state.optimizer.state.get(parameter, {}) for parameter in state.parameters.values()]
    if not known[0]:
        nothing = torch.zeros_like(_row(state.parameters.values()))
        return nothing, nothing, 0.0
    mean, square = (_row([each[name] for each in known]) for name in ("exp_avg", "exp_avg_sq"))
    return mean, square, float(known[0]["step"])


def _give(state: TrainingState, rows: list[Tensor]) -> None:
    """Let a person's model, optimiser and average be these rows of N numbers."""
    parameters = list(state.parameters.values())
    sizes, shapes = [p.numel() for p in parameters], [p.shape for p in parameters]
    weights, mean, square, average = (
        [part.view(shape) for part, shape in zip(row.split(sizes), shapes, strict=True)] for row in rows[:4]
    )
    for place, parameter in enumerate(parameters):
        parameter.data = weights[place]
        state.optimizer.state[parameter] = {"step": rows[4], "exp_avg": mean[place], "exp_avg_sq": square[place]}
    if state.average is not None:
        state.average = average
