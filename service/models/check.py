"""The last checks before a version serves somebody: that it predicts, and that it is better."""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from hrmodel.evaluation.promotion import compare
from hrmodel.prediction.golden import golden_check
from service.errors import Conflict
from service.predict.cache import load_predictor
from service.registry import datasets, model_pages
from service.registry.artifacts import ArtifactStore
from service.registry.tables import ModelVersion


def check_serves(store: ArtifactStore, version: ModelVersion) -> None:
    """Read the version's file anew and predict the golden workout. Raises Unavailable or Conflict."""
    try:
        golden_check(load_predictor(store, version))
    except ValueError as error:
        detail = f"Model version {version.id} does not serve: {error}."
        raise Conflict("failed_golden_check", detail) from error


def decide(session: Session, account_id: UUID, version: ModelVersion, champion_id: UUID) -> dict[str, Any]:
    """Whether a person's version may replace their champion: a worker's rule, on their newest test workouts."""
    newest = datasets.newest_ready(session, version.subject_id) if version.subject_id else None
    where = newest.id if newest else version.dataset_id
    own = model_pages.evaluation(session, account_id, version.id, dataset_id=where)
    theirs = model_pages.evaluation(session, account_id, champion_id, dataset_id=where)
    if own is None or theirs is None:
        reason = "Both were not scored on the newest test workouts, so nobody knows which is better."
        return {"promote": False, "reason": reason, "champion_id": str(champion_id)}
    return {**compare(own.report, theirs.report), "champion_id": str(champion_id), "dataset_id": str(where)}
