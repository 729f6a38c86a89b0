"""Model versions: shown, downloaded, and promoted by the rule that a person's model never gets worse."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args
from uuid import UUID

from sqlalchemy.orm import Session

from hrmodel.evaluation.promotion import compare
from service.errors import Conflict, NotFound, Unavailable
from service.models.onnx import onnx_of
from service.models.schemas import EvaluationRead, Format, ModelPage, ModelRead
from service.predict.cache import check_serves
from service.registry import datasets, model_pages, model_versions, promotion
from service.registry.artifacts import ArtifactStore
from service.registry.model_pages import ModelFilter, ModelRow
from service.registry.pages import PageRequest
from service.registry.tables import ChampionReason, ModelVersion
from service.web.deps import Services


@dataclass(frozen=True)
class Download:
    """A stored file, or the bytes of one made now, and the name that it gets on the caller's disk."""

    content: Path | bytes
    filename: str
    sha256: str


def show_page(session: Session, account_id: UUID, criteria: ModelFilter, request: PageRequest) -> ModelPage:
    """Versions, newest first."""
    page = model_pages.page(session, account_id, criteria, request)
    return ModelPage(items=[_read(row) for row in page.items], next_cursor=page.next_cursor)


def show(session: Session, account_id: UUID, version_id: UUID) -> ModelRead:
    """One version. Raises NotFound."""
    return _read(model_pages.read(session, account_id, version_id))


def evaluation(session: Session, account_id: UUID, version_id: UUID, dataset_id: UUID | None) -> EvaluationRead:
    """How a version does on a dataset of the caller. Raises NotFound."""
    model_versions.require(session, account_id, version_id)
    if dataset_id is not None:
        datasets.require(session, account_id, dataset_id)
    scored = model_pages.evaluation(session, account_id, version_id, dataset_id=dataset_id)
    if scored is None:
        raise NotFound("no_evaluation", f"Model version {version_id} was not scored on a dataset of yours.")
    return EvaluationRead.model_validate(scored)


def download(session: Session, store: ArtifactStore, account_id: UUID, version_id: UUID, form: Format) -> Download:
    """A version's file. Raises NotFound, Conflict for ONNX of a network that has none, Unavailable without the file."""
    version, subject, _, _ = model_pages.read(session, account_id, version_id)
    parts = ("stagewise", subject, version.stage.value, version.id.hex[:8])
    filename = f"{'-'.join(part for part in parts if part)}.{form}"
    if form == "onnx":
        made = onnx_of(store, version)
        return Download(made, filename, hashlib.sha256(made).hexdigest())
    sha256 = version.sha256 if form == "safetensors" else version.pt_sha256
    path = store.path(version.account_id, sha256)
    if not path.is_file():
        detail = f"The {form} file of model version {version_id} is missing."
        raise Unavailable("model_unavailable", detail, retry_after=60)
    return Download(path, filename, sha256)


def promote(services: Services, account_id: UUID, version_id: UUID, *, force: bool) -> str:
    """Let a version serve its subject, whose name is returned. Raises NotFound, Conflict or Unavailable."""
    with services.database.reading() as session:
        version, subject, _, _ = model_pages.read(session, account_id, version_id)
        if version.subject_id is None or subject is None:
            raise Conflict(
                "not_personal", f"Model version {version_id} is a base model; only a person's own can be promoted."
            )
        champion = promotion.require(session, version.subject_id)
        if champion.model_version_id == version_id:
            raise Conflict("already_champion", f"Model version {version_id} already serves this subject.")
        decision = _compare_stored(session, account_id, version, champion.model_version_id)
    if not decision["promote"] and not force:
        raise Conflict("not_better", f"{decision['reason']} Send force: true to promote it nevertheless.")
    check_serves(services.store, version)  # before the transaction: it takes a while
    with services.database.unit_of_work() as session:
        promotion.promote(
            session,
            version.subject_id,
            version_id,
            reason=ChampionReason.MANUAL if decision["promote"] else ChampionReason.FORCED,
            expected_revision=champion.revision,
            decision=decision,
        )
    return subject


def _compare_stored(session: Session, account_id: UUID, version: ModelVersion, champion_id: UUID) -> dict[str, Any]:
    """The decision between a person's version and their champion, from stored reports on the newest test workouts."""
    assert version.dataset_id is not None  # only a shipped base was trained elsewhere
    dataset_id = promotion.deciding_dataset(session, version.subject_id, version.dataset_id)
    challenger = model_pages.evaluation(session, account_id, version.id, dataset_id=dataset_id)
    champion = model_pages.evaluation(session, account_id, champion_id, dataset_id=dataset_id)
    decision = compare(challenger.report if challenger else None, champion.report if champion else None)
    return {**decision.to_dict(), "champion_id": str(champion_id), "dataset_id": str(dataset_id)}


def _read(row: ModelRow) -> ModelRead:
    version, subject, score, champion_of = row
    return ModelRead(
        id=version.id,
        stage=version.stage,
        subject=subject,
        dataset_id=version.dataset_id,
        job_id=version.job_id,
        parent_id=version.parent_id,
        score=score,
        champion=champion_of is not None,
        shipped=version.account_id is None,
        formats=list(get_args(Format)),
        size=version.size,
        sha256=version.sha256,
        dataset_digest=version.dataset_digest,
        code_version=version.code_version,
        created_at=version.created_at,
    )
