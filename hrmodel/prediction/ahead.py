"""Forecasts a fixed number of steps ahead, from every origin of a workout in one go.

The correction by observed heart rate is causal: one filter over the workout gives it for all origins. What differs from
origin to origin is the free run alone, and only in the steps between origin and target: up to the step after the origin
the network has read what it reads when everything is known. So its states along one observed pass are where all the
short free runs begin.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hrmodel.personal.correction import causal_past
from hrmodel.prediction.stepwise import HIGHEST, LOWEST, Ready, StepPrediction, blind_heart_rate, with_history
from hrmodel.signals.features import Features, history_feature, scaled
from hrmodel.signals.grid import STEP_SECONDS, carried, carried_on
from hrmodel.signals.steps import elapsed_steps
from hrmodel.workouts.workout import Array

# trunk (T, 3), places (O,), branches (O, K, 3) -> (O,) last outputs
RunBranches = Callable[[Features, NDArray[np.intp], Features], Array]


def answer_ahead(
    ready: Ready, scaled_blind: Array, targets: NDArray[np.intp], horizon: int, run: RunBranches
) -> StepPrediction:
    """One value per target (O,): what the only view holds up to `horizon` steps before it is known, and nothing later.

    `scaled_blind` (S,) is the network's output without heart rate; `run` runs branches off one pass.
    """
    blind = blind_heart_rate(ready, scaled_blind)
    elapsed, (view,) = elapsed_steps(ready.gridded), ready.views
    past = causal_past(elapsed, view - blind, ready.variance, horizon).at(targets)
    own = blind[targets]
    if ready.known:
        answer = past.answer(own, own + ready.scale.spread * _moved(ready, scaled_blind, targets, horizon, run))
    else:
        answer = past.corrected(own)
    return StepPrediction(
        heart_rate=np.clip(answer, LOWEST, HIGHEST),
        blind=own,
        kinds=past.kinds,
        minutes=np.where(past.nothing, elapsed[targets] * STEP_SECONDS, past.since) / 60.0,
    )


def _moved(ready: Ready, scaled_blind: Array, targets: NDArray[np.intp], horizon: int, run: RunBranches) -> Array:
    """(O,) how far the free run is from the blind pass; 0 where no heart rate of the target's segment is known."""
    moved = np.zeros(len(targets))
    for part in ready.parts:
        inside = np.flatnonzero((targets >= part.start + horizon) & (targets < part.stop))
        known = ready.views[0][part] - ready.added[part]
        if len(inside) and np.isfinite(known).any():
            own = targets[inside] - part.start
            last = run(*_branches(ready, ready.motion[part], known, own, horizon))
            moved[inside] = last - scaled_blind[targets[inside]]
    return moved


def _branches(
    ready: Ready, motion: Features, known: Array, targets: NDArray[np.intp], horizon: int
) -> tuple[Features, NDArray[np.intp], Features]:
    """One segment's observed pass, where the free runs leave it, and what they read from there to their targets."""
    level, spread = ready.scale.heart_rate, ready.scale.spread
    trunk = with_history(motion, history_feature(carried(known), level, spread))
    origins = targets - horizon
    own_steps = max(horizon - 1, 1)  # with a horizon of 1 the target itself is read again
    read = targets[:, None] + np.arange(1 - own_steps, 1)
    history = scaled(carried_on(known, origins, horizon)[:, -own_steps:], level, spread)
    return trunk, read[:, 0], with_history(motion[read], history)
