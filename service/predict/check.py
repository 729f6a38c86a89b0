"""The last check before a version serves somebody."""

from hrmodel.prediction.golden import golden_check
from service.errors import Conflict
from service.predict.cache import load_predictor
from service.registry.artifacts import ArtifactStore
from service.registry.tables import ModelVersion


def check_serves(store: ArtifactStore, version: ModelVersion) -> None:
    """Read the version's file anew and predict the golden workout. Raises Unavailable or Conflict."""
    try:
        golden_check(load_predictor(store, version))
    except ValueError as error:
        detail = f"Model version {version.id} does not serve: {error}."
        raise Conflict("failed_golden_check", detail) from error
