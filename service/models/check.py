"""The last checks before a version serves somebody: that it predicts, and that it is better."""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from hrmodel.evaluation.promotion import compare
from hrmodel.prediction.golden import golden_check
from service.errors import Conflict
from service.predict.cache import load_predictor
from service.registry import model_pages, promotion
from service.registry.artifacts import ArtifactStore
from service.registry.tables import ModelVersion


def check_serves(store: ArtifactStore, version: ModelVersion) -> None:
    """Read the version's file anew and predict the golden workout. Raises Unavailable or Conflict."""
    try:
        golden_check(load_predictor(store, version))
    except ValueError as error:
        detail = f"Model version {version.id} does not serve: {error}."
        raise Conflict("failed_golden_check", detail) from error


def compare_stored(session: Session, account_id: UUID, version: ModelVersion, champion_id: UUID) -> dict[str, Any]:
    """The decision between a person's version and their champion, from stored reports on the newest test workouts."""
    assert version.dataset_id is not None  # only a shipped base was trained elsewhere
    dataset_id = promotion.deciding_dataset(session, version.subject_id, version.dataset_id)
    challenger = model_pages.evaluation(session, account_id, version.id, dataset_id=dataset_id)
    champion = model_pages.evaluation(session, account_id, champion_id, dataset_id=dataset_id)
    decision = compare(challenger.report if challenger else None, champion.report if champion else None)
    return {**decision.to_dict(), "champion_id": str(champion_id), "dataset_id": str(dataset_id)}
