"""Forecasters of the benchmark alone: boosted trees, and the person's response without a network."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hrmodel.evaluation.baselines import Baseline
from hrmodel.evaluation.forecasters import Answer, EvaluationData, Question
from hrmodel.evaluation.ridge import motion_table
from hrmodel.personal.correction import observed_state
from hrmodel.personal.response import NAMES, response_features
from hrmodel.personal.state import BlindTerms
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
        after=lambda blind, past: blind + past.correction,
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

    def blind_terms(self, workouts: Iterable[GriddedWorkout]) -> Iterator[BlindTerms]:
        """Level + response, with the features of the network's response."""
        for workout in workouts:
            features = response_features(workout, self.level, CONTRACT)
            yield BlindTerms(features=features, rest=np.full(len(features), self.level.heart_rate))

    def answers(self, questions: Iterable[Question]) -> Iterator[list[Answer]]:
        """The same, with the network's corrector after observed heart rate."""
        for question in questions:
            (terms,) = self.blind_terms([question.workout])
            blind, elapsed = terms.predict(question.response.weights), elapsed_steps(question.workout)
            variance = question.response.variance
            pasts = [observed_state(elapsed, task.view - blind, variance, task.horizon) for task in question.tasks]
            yield [Answer(heart_rate=blind + past.correction) for past in pasts]


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
