"""Datasets over HTTP."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request, Response

from service.datasets import service
from service.datasets.deps import DatasetServicesDep
from service.datasets.picture import draw_import
from service.datasets.schemas import DatasetPage, DatasetQuery, DatasetRead, DatasetReport, UploadRead
from service.errors import UnsupportedType
from service.registry.idempotency import Once
from service.web.body import check_announced_size
from service.web.deps import (
    ApiRoute,
    IdempotencyHeader,
    PageDep,
    ReadCaller,
    SessionDep,
    TrainCaller,
    once,
)
from service.web.fields import MAX_AFTER, After, SubjectFilter
from service.web.openapi import PICTURE, problems

router = APIRouter(prefix="/datasets", tags=["datasets"], route_class=ApiRoute)

DatasetId = Annotated[UUID, Path(description="The dataset.")]
ReportLimit = Annotated[int, Query(ge=1, le=5000, description="How many workouts at most.")]
FileAfter = Annotated[int, Query(ge=-1, le=MAX_AFTER, description="Only files behind this number: `next_file_after`.")]
FileLimit = Annotated[int, Query(ge=0, le=5000, description="How many files at most.")]
UPLOAD_BODY = {
    "requestBody": {
        "required": True,
        "description": "The bytes of one file of a known format, or of a zip of such files.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.post("", status_code=202, responses=problems(400, 408, 409, 413, 415), openapi_extra=UPLOAD_BODY)
async def upload_dataset(
    request: Request,
    response: Response,
    query: Annotated[DatasetQuery, Query()],
    caller: TrainCaller,
    services: DatasetServicesDep,
    idempotency_key: IdempotencyHeader = None,
) -> UploadRead:
    """Upload workouts: the raw bytes of a file or a zip as the body. The format is found by content.

    Answers at once; an import job reads, cleans and splits the workouts. Follow the Location, or the job. An account
    may have 16 uploads under way; what comes in counts for its quota while it comes.
    """
    if request.headers.get("content-type", "").lower().startswith("multipart/"):
        raise UnsupportedType(
            "raw_body_required", "Send the file's bytes as the body, not as a form: --data-binary @file."
        )
    service.subject_of(query)
    announced = check_announced_size(request, services.settings.max_upload_bytes)

    def wish(sha256: str) -> Once | None:
        return once(request, idempotency_key, sha256) if idempotency_key else None

    accepted = await service.upload(
        services, caller.account_id, query, request.stream(), announced, wish, idempotency_key
    )
    response.headers["Location"] = f"/datasets/{accepted.id}"
    return accepted


@router.get("", responses=problems())
def list_datasets(caller: ReadCaller, session: SessionDep, page: PageDep, subject: SubjectFilter = None) -> DatasetPage:
    """List datasets, newest first."""
    return service.show_page(session, caller.account_id, subject, page)


@router.get("/{dataset_id}", responses=problems(404))
def get_dataset(dataset_id: DatasetId, caller: ReadCaller, session: SessionDep) -> DatasetRead:
    """Show a dataset: its state and how many workouts each split has."""
    return service.show(session, caller.account_id, dataset_id)


@router.get("/{dataset_id}/report", responses=problems(404))
def get_dataset_report(
    dataset_id: DatasetId,
    caller: ReadCaller,
    session: SessionDep,
    after: After = -1,
    limit: ReportLimit = 1000,
    file_after: FileAfter = -1,
    file_limit: FileLimit = 1000,
) -> DatasetReport:
    """Show what became of each file and workout: kept, repaired or dropped, and why; `summary` says it in short."""
    return service.report(session, caller.account_id, dataset_id, after, limit, file_after, file_limit)


@router.get("/{dataset_id}/report.png", responses={**PICTURE, **problems(404, 409)}, response_class=Response)
async def get_dataset_picture(dataset_id: DatasetId, caller: ReadCaller, services: DatasetServicesDep) -> Response:
    """Draw the report on one page: workouts over time by verdict, how dense their heart rate is, split and reasons."""
    read = services.database.read, service.to_draw, caller.account_id, dataset_id
    return Response(await services.pictures.of(caller.account_id, draw_import, *read), media_type="image/png")


@router.delete("/{dataset_id}", status_code=204, responses=problems(404, 409))
def delete_dataset(dataset_id: DatasetId, caller: TrainCaller, services: DatasetServicesDep) -> None:
    """Delete a dataset with its jobs, the versions trained on it and all their descendants, rows and files.

    Subjects that were served by one of them fall back to an earlier version or the base model.
    """
    service.delete(services, caller.account_id, dataset_id)
