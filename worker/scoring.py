"""A person's workouts replayed under one version: its report, and the state that serves the next workout."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from hrmodel.evaluation.calibration import person_states
from hrmodel.evaluation.forecasters import EvaluationData, NetworkForecaster
from hrmodel.evaluation.report import evaluate
from hrmodel.personal.state import PersonState
from hrmodel.prediction.predictor import Predictor
from service.registry import model_versions


@dataclass(frozen=True, kw_only=True, eq=False)
class EvaluationResult:
    """How one version does on one dataset."""

    report: dict[str, Any]
    state: PersonState | None = None  # after the last workout; None: of many people, or stored already

    def store(self, session: Session, subject_id: UUID | None, version_id: UUID, dataset_id: UUID) -> None:
        """Store the report, and the state of the subject."""
        model_versions.record_evaluation(session, version_id, dataset_id, self.report)
        if subject_id is not None and self.state is not None:
            model_versions.set_person_state(session, subject_id, version_id, dataset_id, self.state.to_dict())


def evaluate_person(
    predictor: Predictor, data: EvaluationData, on_progress: Callable[[float], None]
) -> EvaluationResult:
    """Replay and score one person; `on_progress` gets the share done, 0..1, as work advances."""
    network = NetworkForecaster(predictor=predictor, level=data.level)
    states = person_states(network, data, lambda share: on_progress(share / 2))
    report = evaluate(network, data, states, on_progress=lambda share: on_progress((1 + share) / 2))
    return EvaluationResult(report=report, state=states[-1])
