"""Forecasts a fixed number of steps ahead, from every origin of many workouts in few passes, for evaluation.

The correction is causal, so one filter gives it for all origins. The free runs differ only in the steps between origin
and target: up to the step after its origin, a free run reads the same as one fully observed pass, the trunk. So each of
them starts from a state of that pass. The trunks of many workouts run side by side.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from hrmodel.network.network import HeartRateNetwork, State
from hrmodel.prediction.passes import MAX_STEPS, SAME_BITS
from hrmodel.prediction.prepared import PreparedQuery, with_history
from hrmodel.signals.features import Features, history_feature, scaled
from hrmodel.signals.grid import forward_fill, forward_fill_from
from hrmodel.signals.steps import segment_slices
from hrmodel.workouts.workout import Array

BRANCHES = 1024  # side by side


class Forecasts(NamedTuple):
    """A view with targets of one workout, and the (S,) network output without heart rate."""

    query: PreparedQuery
    network: Array
    view: Array  # (S,)
    targets: NDArray[np.intp]  # (O,)
    horizon: int


@dataclass(frozen=True, kw_only=True, eq=False)
class _Trunk:
    """The observed pass of one segment of T steps, and the O free runs that leave it."""

    inputs: Features  # (T, 3); T: up to the last step at which a free run leaves
    places: NDArray[np.intp]  # (O,) increasing: number o leaves after the first places[o] steps
    branches: Features  # (O, K, 3), up to the targets
    run: int  # which of the free runs, and which of its steps the outputs are
    targets: NDArray[np.intp]  # (O,)


def free_runs_ahead(model: HeartRateNetwork, runs: Sequence[Forecasts]) -> list[Array]:
    """For each of `runs` (S,): the free run's output at each target.

    Equal to the output without heart rate elsewhere, without a subject's scale, and in segments in which the view holds
    no heart rate.
    """
    outputs = [run.network.copy() for run in runs]
    trunks = [trunk for number, run in enumerate(runs) for trunk in _trunks(number, run)]
    for batch in _batches(trunks):
        for trunk, output in zip(batch, _run(model, batch), strict=True):
            outputs[trunk.run][trunk.targets] = output
    return outputs


def _trunks(number: int, run: Forecasts) -> Iterator[_Trunk]:
    if not run.query.subject_known:
        return
    for _, part in segment_slices(run.query.gridded):
        first = part.start + run.horizon
        reached = run.targets[slice(*np.searchsorted(run.targets, [first, part.stop]))]
        if len(reached) and np.isfinite(run.view[part]).any():
            yield _trunk(number, run, part, reached)


def _trunk(number: int, run: Forecasts, part: slice, reached: NDArray[np.intp]) -> _Trunk:
    """One segment's observed pass, the steps at which the free runs leave it, and their inputs up to the targets."""
    scale, horizon = run.query.scale, run.horizon
    motion, residual = run.query.motion[part], run.view[part] - run.query.response[part]
    targets = reached - part.start
    own_steps = max(horizon - 1, 1)  # with a horizon of 1 the target itself is read again
    read = targets[:, None] + np.arange(1 - own_steps, 1)
    last = int(read[-1, 0])
    trunk = history_feature(forward_fill(residual), scale.heart_rate, scale.spread)[:last]
    history = scaled(
        forward_fill_from(residual, targets - horizon, horizon)[:, -own_steps:], scale.heart_rate, scale.spread
    )
    return _Trunk(
        inputs=with_history(motion[:last], trunk),
        places=read[:, 0],
        branches=with_history(motion[read], history),
        run=number,
        targets=reached,
    )


def _batches(trunks: Sequence[_Trunk]) -> Iterator[list[_Trunk]]:
    """Trunks of similar lengths, the longest first; those of one batch have branches of one length."""
    batch: list[_Trunk] = []
    for trunk in sorted(trunks, key=lambda trunk: (trunk.branches.shape[1], -len(trunk.inputs))):
        full = batch and (len(batch) + 1) * max(len(batch[0].inputs), 1) > MAX_STEPS
        if batch and (full or trunk.branches.shape[1] != batch[0].branches.shape[1]):
            yield batch
            batch = []
        batch.append(trunk)
    if batch:
        yield batch


def _run(network: HeartRateNetwork, batch: Sequence[_Trunk]) -> list[Array]:
    """For each trunk of a batch the (O,) last outputs of its branches.

    All trunks run side by side, and then all branches: the outputs of O passes of up to T steps take T + O K steps.
    """
    ends = np.cumsum([len(trunk.places) for trunk in batch])
    branches = torch.from_numpy(np.concatenate([trunk.branches for trunk in batch])).to(network.device)
    outputs = np.empty(len(branches))
    with torch.inference_mode():
        for numbers, state in _gathered(_states(network, batch)):
            last = network.go_on(branches[numbers], state)[0][:, -1]
            outputs[numbers] = last.cpu().numpy()
    return np.split(outputs, ends[:-1])


def _states(network: HeartRateNetwork, batch: Sequence[_Trunk]) -> Iterator[tuple[NDArray[np.intp], State]]:
    """At every place of the trunks: the numbers of the branches that leave there, and the state of each."""
    lengths = np.array([len(trunk.inputs) for trunk in batch])  # the longest first
    inputs = np.zeros((max(len(batch), SAME_BITS), lengths[0], 3), dtype=np.float32)
    for row, trunk in enumerate(batch):
        inputs[row, : len(trunk.inputs)] = trunk.inputs
    steps, state, begun = torch.from_numpy(inputs).to(network.device), network.start_state(len(inputs)), 0
    rows = np.repeat(np.arange(len(batch)), [len(trunk.places) for trunk in batch])
    places = np.concatenate([trunk.places for trunk in batch])
    order = np.argsort(places, kind="stable")
    for numbers in np.split(order, np.flatnonzero(np.diff(places[order])) + 1):
        place = int(places[numbers[0]])
        if place > begun:
            going_on = max(int((lengths >= place).sum()), SAME_BITS)
            _, state = network.go_on(steps[:going_on, begun:place], tuple(p[:, :going_on].contiguous() for p in state))
            begun = place
        yield numbers, tuple(part[:, rows[numbers]] for part in state)


def _gathered(states: Iterable[tuple[NDArray[np.intp], State]]) -> Iterator[tuple[NDArray[np.intp], State]]:
    """The same, of about BRANCHES branches at once."""
    waiting: list[tuple[NDArray[np.intp], State]] = []
    count = 0
    for numbers, state in states:
        waiting.append((numbers, state))
        count += len(numbers)
        if count >= BRANCHES:
            yield _joined(waiting)
            waiting, count = [], 0
    if waiting:
        yield _joined(waiting)


def _joined(parts: Sequence[tuple[NDArray[np.intp], State]]) -> tuple[NDArray[np.intp], State]:
    if sum(len(numbers) for numbers, _ in parts) < SAME_BITS:
        parts = [*parts, *parts]  # a branch alone is run twice
    numbers = np.concatenate([numbers for numbers, _ in parts])
    return numbers, tuple(torch.cat(tensors, dim=1) for tensors in zip(*(state for _, state in parts), strict=True))
