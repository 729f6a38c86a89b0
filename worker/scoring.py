"""A person's workouts followed under one version: its report, and the state that serves the next workout."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from hrmodel.evaluation import stored_history
from hrmodel.evaluation.calibration import person_states
from hrmodel.evaluation.forecasters import EvaluationData, NetworkForecaster
from hrmodel.evaluation.history import EvaluatedHistory
from hrmodel.evaluation.report import evaluate
from hrmodel.personal.state import PersonState
from hrmodel.prediction.predictor import Predictor
from hrmodel.signals.grid import GriddedWorkout
from service.registry import model_versions


@dataclass(frozen=True, kw_only=True, eq=False)
class EvaluationResult:
    """How one version does on one dataset."""

    report: dict[str, Any]
    state: PersonState | None = None  # after the last workout; None: of many people, or stored already
    history: EvaluatedHistory | None = None  # what later workouts go on from; None without test workouts

    def store(self, session: Session, subject_id: UUID | None, version_id: UUID, dataset_id: UUID) -> None:
        """Store the report, and the state of the subject with what later workouts go on from."""
        model_versions.record_evaluation(session, version_id, dataset_id, self.report)
        if subject_id is not None and self.state is not None:
            model_versions.set_person_state(session, subject_id, version_id, dataset_id, self.state.to_dict())
            kept = stored_history.to_bytes(self.history) if self.history else None
            model_versions.keep_history(session, subject_id, version_id, dataset_id, kept)


def evaluate_person(
    predictor: Predictor, data: EvaluationData, on_progress: Callable[[float], None]
) -> EvaluationResult:
    """Follow and score one person from the first workout on; `on_progress` gets the share done, 0..1."""
    network = NetworkForecaster(predictor=predictor, level=data.level)
    if not data.test:
        states = person_states(network, data, on_progress)
        return EvaluationResult(report=evaluate(network, data, states), state=states[-1])
    by_digest = {workout.digest: workout for workout in data.test}
    return _result(network, EvaluatedHistory.of(network, data, on_progress), by_digest.__getitem__)


def evaluate_growth(
    predictor: Predictor,
    history: EvaluatedHistory,
    data: EvaluationData,
    find: Callable[[str], GriddedWorkout],
    on_progress: Callable[[float], None],
) -> EvaluationResult:
    """The same as of all workouts, when those of `data` follow an evaluated history; `find` gives an earlier one."""
    network = NetworkForecaster(predictor=predictor, level=data.level)
    return _result(network, history.go_on(network, data, on_progress), find)


def _result(
    network: NetworkForecaster, history: EvaluatedHistory, find: Callable[[str], GriddedWorkout]
) -> EvaluationResult:
    return EvaluationResult(report=history.report(network, find), state=history.state, history=history)
