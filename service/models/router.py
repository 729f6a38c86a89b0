"""Model versions over HTTP."""

from typing import Annotated, Any
from urllib.parse import quote
from uuid import UUID

from fastapi import APIRouter, Path, Query
from starlette.responses import FileResponse, Response

from service.models import service
from service.models.schemas import EvaluationRead, Format, ModelPage, ModelRead, Promotion
from service.registry.model_pages import ModelFilter
from service.registry.tables import Stage
from service.subjects import service as subjects
from service.subjects.schemas import ChampionRead
from service.web.deps import ApiRoute, PageDep, ReadCaller, ServicesDep, SessionDep, TrainCaller
from service.web.fields import SubjectFilter
from service.web.openapi import problems

BINARY = "application/octet-stream"
_FILE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The file",
        "content": {
            BINARY: {
                "schema": {"type": "string", "format": "binary"},
                "example": "(the bytes of a safetensors file)",
            }
        },
    }
}

router = APIRouter(prefix="/models", tags=["models"], route_class=ApiRoute)

VersionId = Annotated[UUID, Path(description="The model version.")]


@router.get("", responses=problems())
def list_models(
    caller: ReadCaller,
    session: SessionDep,
    page: PageDep,
    subject: SubjectFilter = None,
    dataset_id: Annotated[UUID | None, Query(description="Only versions trained on this dataset.")] = None,
    stage: Annotated[Stage | None, Query(description="Only versions of this stage.")] = None,
) -> ModelPage:
    """List model versions, newest first; the base model that came with the software too."""
    criteria = ModelFilter(subject=subject, dataset_id=dataset_id, stage=stage)
    return service.show_page(session, caller.account_id, criteria, page)


@router.get("/{version_id}", responses=problems(404))
def get_model(version_id: VersionId, caller: ReadCaller, session: SessionDep) -> ModelRead:
    """Show a model version: where it comes from and how good it is."""
    return service.show(session, caller.account_id, version_id)


@router.get("/{version_id}/evaluation", responses=problems(404))
def get_model_evaluation(
    version_id: VersionId,
    caller: ReadCaller,
    session: SessionDep,
    dataset_id: Annotated[UUID | None, Query(description="On which dataset; the newest one scored.")] = None,
) -> EvaluationRead:
    """Show how a version does on held-out workouts, protocol by protocol, beside the baselines."""
    return service.evaluation(session, caller.account_id, version_id, dataset_id)


@router.get("/{version_id}/download", responses={**_FILE, **problems(404, 409)}, response_class=Response)
def download_model(
    version_id: VersionId,
    caller: ReadCaller,
    session: SessionDep,
    services: ServicesDep,
    form: Annotated[Format, Query(alias="format", description="Ours, the original's, or ONNX.")] = "safetensors",
) -> Response:
    """Download a version's checkpoint: as safetensors, as a PyTorch file with the original's keys, or as ONNX.

    The ONNX file (opset 17) is the network alone; its description says what goes in and out, its metadata entry
    `stagewise` holds the person's scale.
    """
    file = service.download(session, services.store, caller.account_id, version_id, form)
    headers = {"ETag": f'"{file.sha256}"'}
    if isinstance(file.content, bytes):
        headers["Content-Disposition"] = _attachment(file.filename)
        return Response(file.content, media_type=BINARY, headers=headers)
    return FileResponse(file.content, media_type=BINARY, filename=file.filename, headers=headers)


@router.post("/{version_id}/promote", responses=problems(404, 409, body=True))
def promote_model(
    version_id: VersionId, caller: TrainCaller, services: ServicesDep, body: Promotion | None = None
) -> ChampionRead:
    """Let a version serve its subject: only if it is better on the same test workouts, or with force."""
    force = body.force if body else False
    subject = service.promote(services, caller.account_id, version_id, force=force)
    return subjects.read_champion(services, caller.account_id, subject)


def _attachment(filename: str) -> str:
    """What FileResponse says of a file that has this name."""
    quoted = quote(filename)
    return f'attachment; filename="{filename}"' if quoted == filename else f"attachment; filename*=utf-8''{quoted}"
