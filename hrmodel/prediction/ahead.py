"""Forecasts a fixed number of steps ahead, from every origin of a workout in one pass, for evaluation.

The correction is causal, so one filter gives it for all origins. The free runs differ only in the steps between origin
and target: up to the step after its origin, a free run reads the same as one fully observed pass. So each of them
starts from a state of that pass.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from hrmodel.network.network import HeartRateNetwork, State
from hrmodel.prediction.prepared import PreparedQuery, with_history
from hrmodel.signals.features import Features, history_feature, scaled
from hrmodel.signals.grid import forward_fill, forward_fill_from
from hrmodel.signals.steps import segment_slices
from hrmodel.workouts.workout import Array

BRANCHES = 1024  # side by side


def free_run_ahead(
    model: HeartRateNetwork, query: PreparedQuery, network: Array, targets: NDArray[np.intp], horizon: int
) -> Array:
    """(S,) the free run's output at each target, when the only view is observed up to `horizon` steps before it.

    Equal to `network` (S,), the output without heart rate, elsewhere and in segments in which the view holds none.
    """
    free_network = network.copy()
    for number, (_, part) in enumerate(segment_slices(query.gridded)):
        reached = targets[(targets >= part.start + horizon) & (targets < part.stop)]
        if query.subject_known and len(reached) and query.has_history[0, number]:
            residual = query.views[0][part] - query.response[part]
            branches = _branches(query, query.motion[part], residual, reached - part.start, horizon)
            free_network[reached] = _run_branches(model, *branches)
    return free_network


def _branches(
    query: PreparedQuery, motion: Features, residual: Array, targets: NDArray[np.intp], horizon: int
) -> tuple[Features, NDArray[np.intp], Features]:
    """One segment's observed pass, the steps at which the free runs leave it, and their inputs up to the targets."""
    centre, spread = query.scale.heart_rate, query.scale.spread
    trunk = with_history(motion, history_feature(forward_fill(residual), centre, spread))
    origins = targets - horizon
    own_steps = max(horizon - 1, 1)  # with a horizon of 1 the target itself is read again
    read = targets[:, None] + np.arange(1 - own_steps, 1)
    history = scaled(forward_fill_from(residual, origins, horizon)[:, -own_steps:], centre, spread)
    return trunk, read[:, 0], with_history(motion[read], history)


def _run_branches(network: HeartRateNetwork, trunk: Features, places: NDArray[np.intp], branches: Features) -> Array:
    """(T, 3) trunk and (O, K, 3) branches, number o after the trunk's first places[o] steps -> (O,) last outputs.

    `places` increase. The trunk is run once and all branches side by side: the outputs of O passes of up to T steps
    take T + O K steps.
    """
    device = network.device
    steps, following = torch.from_numpy(trunk)[None].to(device), torch.from_numpy(branches)
    states: list[State] = []
    outputs = [np.empty(0)]
    with torch.inference_mode():
        state, begun = network.start_state(1), 0
        for place in places.tolist():
            if place > begun:
                _, state = network.go_on(steps[:, begun:place], state)
                begun = place
            states.append(state)
        for first in range(0, len(states), BRANCHES):
            state = tuple(torch.cat(parts, dim=1) for parts in zip(*states[first : first + BRANCHES], strict=True))
            output, _ = network.go_on(following[first : first + BRANCHES].to(device), state)
            outputs.append(output[:, -1].cpu().numpy().astype(np.float64))
    return np.concatenate(outputs)
