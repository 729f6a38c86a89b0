"""Uploads become datasets with an import job; datasets are shown, reported and deleted."""

from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from uuid import UUID

from anyio import to_thread
from sqlalchemy.orm import Session

from service.datasets.deps import DatasetServices
from service.datasets.in_flight import Incoming
from service.datasets.picture_text import MAX_PROBLEMS
from service.datasets.schemas import (
    DEFAULT_SUBJECT,
    DatasetPage,
    DatasetQuery,
    DatasetRead,
    DatasetReport,
    FileRead,
    ReportSummary,
    UploadRead,
    WorkoutCounts,
    WorkoutRead,
)
from service.datasets.summary import summarise
from service.datasets.upload import OnSize, Upload, taken
from service.errors import Conflict, FieldError, Unavailable, Unprocessable
from service.operations.queue import hint
from service.registry import datasets, idempotency, jobs, leftovers, quotas, removal, subjects
from service.registry.datasets import DatasetRow, Outline
from service.registry.faults import DATABASE_UNAVAILABLE
from service.registry.idempotency import Once
from service.registry.pages import PageRequest
from service.registry.tables import DatasetKind, DatasetState, Stage
from service.web.fields import ErrorRead

RESERVED_BYTES = 4 * 1024**2  # ahead of an upload that does not say its size: a look at the database for each


def subject_of(query: DatasetQuery) -> str | None:
    """The subject of an upload; None for a population. Raises Unprocessable."""
    if query.kind == DatasetKind.PERSONAL:
        return query.subject or DEFAULT_SUBJECT
    if query.subject is not None:
        message = "does not go with kind=population, which is many people's"
        raise Unprocessable("invalid_request", "A population has no subject.", [FieldError("?subject", message)])
    return None


async def upload(
    services: DatasetServices,
    account_id: UUID,
    query: DatasetQuery,
    chunks: AsyncIterator[bytes],
    announced: int,
    wish: Callable[[str], Once | None],
    key: str | None,
) -> UploadRead:
    """Store a body and record it; `wish` turns its digest into the idempotent request.

    What comes in counts for the account's quota while it comes: `announced` bytes at once, else 4 MB at a time.
    Raises TooManyRequests, TooLarge, RequestTimeout, Unprocessable, Unavailable, or Conflict for a reused key.
    """
    with services.uploads.begin(account_id) as incoming:
        repeated = await to_thread.run_sync(_size_before, services, account_id, key) if key else None
        if repeated is not None and announced > repeated:
            raise idempotency.reused()

        async def count(size: int) -> None:
            if repeated is not None:
                if size > repeated:  # another file than the one before
                    raise idempotency.reused()
            elif size > incoming.size:
                await _reserve(services, account_id, incoming, size)

        await count(announced)
        file = await store_upload(services, account_id, chunks, count)
        return await to_thread.run_sync(accept, services, account_id, query, file, wish(file[0]))


async def _reserve(services: DatasetServices, account_id: UUID, incoming: Incoming, size: int) -> None:
    """Count an upload up to `size`, and some ahead when it does not say how large it is. Raises TooManyRequests."""
    limit = services.settings.max_account_bytes
    async with services.uploads.looking:  # of concurrent uploads the first pass
        incoming.grow_to(size + RESERVED_BYTES if incoming.size else size)  # before the look: other processes look too
        size_then = size - incoming.size + services.uploads.bytes_of(account_id)
        await to_thread.run_sync(services.database.read, quotas.check_bytes, account_id, size_then, limit)


def _size_before(services: DatasetServices, account_id: UUID, key: str) -> int | None:
    """Bytes of the earlier upload with this Idempotency-Key; None without one."""
    with services.database.reading() as session:
        made = idempotency.made_by(session, account_id, key)
        return None if made is None else datasets.upload_size(session, account_id, made)


async def store_upload(
    services: DatasetServices, account_id: UUID, chunks: AsyncIterator[bytes], on_size: OnSize = taken
) -> tuple[str, int]:
    """Stream a body to a stored file; its digest and size in bytes."""
    async with Upload(services.store, account_id, services.settings.max_upload_bytes, services.uploads.disk) as upload:
        await upload.receive(chunks, on_size)
        return await upload.adopt()


def accept(
    services: DatasetServices, account_id: UUID, query: DatasetQuery, file: tuple[str, int], once: Once | None
) -> UploadRead:
    """Record a stored upload. Raises TooManyRequests, Unavailable, or Conflict for a reused Idempotency-Key."""
    created = False
    try:
        with services.database.unit_of_work() as session:
            services.send_hints(session)
            dataset_id = idempotency.begin(session, account_id, once)
            if new := dataset_id is None:
                quotas.lock(session, account_id)
                quotas.check_jobs(session, account_id, services.settings.max_jobs)
                quotas.check_bytes(session, account_id, file[1], services.settings.max_account_bytes)
                dataset_id = _add(session, account_id, query, file)
                _check_file(services, account_id, file[0])
                idempotency.finish(session, account_id, once, dataset_id)
            dataset, _, job_id = datasets.read(session, account_id, dataset_id)
        created = new
    finally:
        if not created:
            _forget_file(services, account_id, file[0])
    assert job_id is not None
    return UploadRead(id=dataset.id, state=dataset.state, job_id=job_id)


def _add(session: Session, account_id: UUID, query: DatasetQuery, file: tuple[str, int]) -> UUID:
    name = subject_of(query)
    dataset = datasets.add(
        session,
        account_id,
        subjects.ensure(session, account_id, name) if name else None,
        name=query.name,
        min_hr_per_minute=query.min_hr_per_minute,
        upload_sha256=file[0],
        upload_size=file[1],
    )
    jobs.add(session, dataset, stage=Stage.IMPORT, configuration=query.configuration)
    hint(session, Stage.IMPORT)
    return dataset.id


def _check_file(services: DatasetServices, account_id: UUID, sha256: str) -> None:
    """Once the row exists, the file is safe; before, the end of an import of the same bytes may have deleted it."""
    if not services.store.path(account_id, sha256).exists():
        raise Unavailable("upload_lost", "An import of the same file ended just now; send it again.", retry_after=1)


def _forget_file(services: DatasetServices, account_id: UUID, sha256: str) -> None:
    """A refused or repeated upload leaves no file, unless a dataset still waits for the same bytes."""
    with suppress(*DATABASE_UNAVAILABLE), services.database.unit_of_work() as session:
        leftovers.delete_unreferenced(session, services.store, account_id, [sha256])


def show_page(session: Session, account_id: UUID, subject: str | None, request: PageRequest) -> DatasetPage:
    """Datasets, newest first."""
    page = datasets.page(session, account_id, subject, request)
    return DatasetPage(items=[_read(row) for row in page.items], next_cursor=page.next_cursor)


def show(session: Session, account_id: UUID, dataset_id: UUID) -> DatasetRead:
    """One dataset. Raises NotFound."""
    return _read(datasets.read(session, account_id, dataset_id))


def report(
    session: Session, account_id: UUID, dataset_id: UUID, after: int, limit: int, file_after: int, file_limit: int
) -> DatasetReport:
    """What became of an upload; workouts behind position `after`, files behind number `file_after`. Raises NotFound."""
    dataset = datasets.require(session, account_id, dataset_id)
    files = datasets.files(session, dataset_id, file_after, file_limit + 1)
    rows = datasets.workouts(session, dataset_id, after, limit + 1)
    shown = [WorkoutRead.model_validate(row) for row in rows[:limit]]
    all_shown = after < 0 and len(rows) <= limit
    outlines = [datasets.outline(row) for row in rows] if all_shown else datasets.outlines(session, dataset_id)
    summary = summarise(outlines, dataset)
    return DatasetReport(
        dataset_id=dataset_id,
        state=dataset.state,
        verdicts=summary.verdicts,
        summary=summary,
        files=[FileRead.model_validate(row) for row in files[:file_limit]],
        workouts=shown,
        next_after=shown[-1].position if len(rows) > limit else None,
        next_file_after=files[file_limit - 1]["id"] if 0 < file_limit < len(files) else None,
    )


def summary(session: Session, account_id: UUID, dataset_id: UUID) -> ReportSummary:
    """All workouts and files of an upload in counts. Raises NotFound."""
    dataset = datasets.require(session, account_id, dataset_id)
    return summarise(datasets.outlines(session, dataset_id), dataset)


def workouts_to_read(
    session: Session, account_id: UUID, dataset_id: UUID, verdict: str | None, start: int, limit: int
) -> list[WorkoutRead]:
    """Workouts of an upload behind the first `start`: dropped, repaired, kept, or one verdict only. Raises NotFound."""
    datasets.require(session, account_id, dataset_id)
    rows = datasets.workouts_by_verdict(session, dataset_id, verdict, start, limit)
    return [WorkoutRead.model_validate(row) for row in rows]


def files_to_read(session: Session, account_id: UUID, dataset_id: UUID, start: int, limit: int) -> list[FileRead]:
    """Files of an upload behind the first `start`, those with a problem first. Raises NotFound."""
    datasets.require(session, account_id, dataset_id)
    return [FileRead.model_validate(row) for row in datasets.files_by_problem(session, dataset_id, start, limit)]


def to_draw(
    session: Session, account_id: UUID, dataset_id: UUID
) -> tuple[DatasetRead, ReportSummary, list[Outline], list[FileRead]]:
    """What the picture of a report shows. Raises NotFound, or Conflict before the import has ended."""
    dataset = show(session, account_id, dataset_id)
    if dataset.state in (DatasetState.QUEUED, DatasetState.IMPORTING):
        raise Conflict(
            "dataset_not_ready", f"Dataset {dataset_id} is {dataset.state}; wait until its import has ended."
        )
    outlines = datasets.outlines(session, dataset_id)
    summary = summarise(outlines, datasets.require(session, account_id, dataset_id))
    problems = [FileRead.model_validate(row) for row in datasets.problems(session, dataset_id, MAX_PROBLEMS)]
    return dataset, summary, outlines, problems


def delete(services: DatasetServices, account_id: UUID, dataset_id: UUID) -> None:
    """Delete a dataset and everything derived from it: rows first, then files. Raises NotFound or Conflict."""
    removal.remove(
        services.database,
        services.store,
        lambda session: removal.remove_dataset(session, datasets.require(session, account_id, dataset_id)),
        services.models.forget,
    )


def _read(row: DatasetRow) -> DatasetRead:
    dataset, subject, job_id = row
    return DatasetRead(
        id=dataset.id,
        name=dataset.name,
        kind=dataset.kind,
        subject=subject,
        state=dataset.state,
        job_id=job_id,
        workouts=WorkoutCounts(
            train=dataset.train_workouts,
            val=dataset.val_workouts,
            test=dataset.test_workouts,
            dropped=dataset.dropped_workouts,
        ),
        min_hr_per_minute=dataset.min_hr_per_minute,
        upload_size=dataset.upload_size,
        digest=dataset.digest,
        level=dataset.level,
        error=ErrorRead(code=dataset.error_code, message=dataset.error_message or "") if dataset.error_code else None,
        created_at=dataset.created_at,
        ready_at=dataset.ready_at,
    )
