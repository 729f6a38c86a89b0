"""Forecasters of the benchmark alone: boosted trees, and the person's response without a network."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hrmodel.evaluation.baselines import Baseline
from hrmodel.evaluation.forecasters import Answer, EvaluationData
from hrmodel.evaluation.protocols import Task
from hrmodel.evaluation.ridge import motion_table
from hrmodel.personal.correction import causal_past
from hrmodel.personal.response import NAMES, response_features
from hrmodel.personal.state import PersonState
from hrmodel.signals.contract import FeatureContract
from hrmodel.signals.grid import GriddedWorkout
from hrmodel.signals.scale import SubjectScale
from hrmodel.signals.steps import elapsed_steps, measured_heart_rate
from hrmodel.workouts.workout import Array

CONTRACT = FeatureContract()
# the best of a dozen settings for runners with 10 and 40 workouts, inside train + val
TREES = {"max_leaf_nodes": 15, "learning_rate": 0.05, "min_samples_leaf": 60, "max_features": 0.3}
MOST_TREES, TREES_WITHOUT_VALIDATION = 300, 100
WHOLE_WORKOUT = 4  # the response's last features: by them trees know a workout again instead of learning from it


def boosted_trees(data: EvaluationData) -> Baseline:
    """Gradient-boosted trees on the features of ridge and of the response, followed and corrected as ridge is.

    As many trees as have the lowest squared error on validation.
    """
    level = _level(data)
    features, target = _table(data.train, level)
    count = TREES_WITHOUT_VALIDATION
    if data.val:
        features_val, target_val = _table(data.val, level)
        stages = _grow(MOST_TREES, features, target).staged_predict(features_val)
        count = int(np.argmin([np.mean((stage - target_val) ** 2) for stage in stages])) + 1
    trees = _grow(count, features, target)
    return Baseline(
        blind=lambda workout: level.heart_rate + trees.predict(_features(workout, level)),
        after=lambda blind, past: past.corrected(blind),
        offset=True,
    )


def _grow(count: int, features: Array, target: Array) -> Any:
    from sklearn.ensemble import HistGradientBoostingRegressor  # the benchmark's alone: tests run without it

    return HistGradientBoostingRegressor(max_iter=count, early_stopping=False, random_state=0, **TREES).fit(
        features, target
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class ResponseAlone:
    """The level, and the person's response on top of it: all that is served but the network."""

    level: SubjectScale

    @property
    def size(self) -> int:
        """All of the response's weights."""
        return len(NAMES)

    def features(self, workout: GriddedWorkout) -> Array:
        """Those of the response, as for the network."""
        return response_features(workout, self.level, CONTRACT)

    def predict_blind(self, workout: GriddedWorkout, state: PersonState) -> Array:
        """Level + response."""
        prediction: Array = self.level.heart_rate + self.features(workout) @ state.filter.mean
        return prediction

    def answers(self, workout: GriddedWorkout, views: Sequence[Array], state: PersonState) -> list[Answer]:
        """The same, with the network's corrector after observed heart rate; there is no free run."""
        blind = self.predict_blind(workout, state)
        elapsed, variance = elapsed_steps(workout), state.filter.variance
        pasts = [causal_past(elapsed, view - blind, variance) for view in views]
        return [Answer(heart_rate=past.corrected(blind)) for past in pasts]

    def ahead(self, workout: GriddedWorkout, task: Task, state: PersonState) -> Answer:
        """The same, `task.horizon` steps ahead."""
        blind = self.predict_blind(workout, state)
        past = causal_past(elapsed_steps(workout), task.view - blind, state.filter.variance, task.horizon)
        return Answer(heart_rate=past.corrected(blind)[task.scored])


def response_alone(data: EvaluationData) -> ResponseAlone:
    """See `ResponseAlone`."""
    return ResponseAlone(level=_level(data))


def _level(data: EvaluationData) -> SubjectScale:
    if data.level is None:
        raise ValueError("a person without a level can only be predicted by a base model")
    return data.level


def _features(workout: GriddedWorkout, level: SubjectScale) -> Array:
    return np.column_stack([motion_table(workout), response_features(workout, level, CONTRACT)[:, 1:-WHOLE_WORKOUT]])


def _table(workouts: Sequence[GriddedWorkout], level: SubjectScale) -> tuple[Array, Array]:
    """Features and heart rate less the level of all measured steps."""
    measured = [np.isfinite(measured_heart_rate(workout)) for workout in workouts]
    features = [_features(workout, level)[known] for workout, known in zip(workouts, measured, strict=True)]
    target = [measured_heart_rate(workout)[known] for workout, known in zip(workouts, measured, strict=True)]
    return np.concatenate(features), np.concatenate(target) - level.heart_rate
