"""Datasets: made by an upload, read by jobs, and deleted with everything that was trained on them."""

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import case, select
from sqlalchemy.orm import Session

from service.errors import NotFound
from service.registry import subjects
from service.registry.pages import Page, PageRequest, fetch
from service.registry.tables import (
    Dataset,
    DatasetFile,
    DatasetKind,
    DatasetState,
    DatasetWorkout,
    Job,
    Stage,
    Subject,
    WorkoutRow,
)

_FILE = DatasetFile.id, DatasetFile.name, DatasetFile.format, DatasetFile.workouts, DatasetFile.problem

DatasetRow = tuple[Dataset, str | None, UUID | None]  # with its subject's name and its import job


class Outline(NamedTuple):
    """The fields of a workout that a summary needs."""

    started_at: datetime | None
    duration_s: float
    sport: str
    heart_rate_per_minute: float
    split: str | None
    verdict: str
    reasons: list[dict[str, Any]]


class WorkoutPlace(NamedTuple):
    """A workout's place in the newest dataset that holds it."""

    dataset_id: UUID
    source: str
    started_at: datetime | None
    split: str | None


def add(session: Session, account_id: UUID, subject: Subject | None, **columns: Any) -> Dataset:
    """Record an upload: of one subject, or of many people when there is none."""
    dataset = Dataset(
        account_id=account_id,
        subject_id=subject.id if subject else None,
        kind=DatasetKind.PERSONAL if subject else DatasetKind.POPULATION,
        state=DatasetState.QUEUED,
        **columns,
    )
    session.add(dataset)
    session.flush()
    return dataset


def require(session: Session, account_id: UUID, dataset_id: UUID) -> Dataset:
    """The account's dataset. Raises NotFound."""
    dataset = session.scalar(select(Dataset).where(Dataset.id == dataset_id, Dataset.account_id == account_id))
    if dataset is None:
        raise _missing(dataset_id)
    return dataset


def upload_size(session: Session, account_id: UUID, dataset_id: UUID) -> int | None:
    """Bytes of the file that a dataset came from; None: there is no such dataset."""
    size = select(Dataset.upload_size).where(Dataset.id == dataset_id, Dataset.account_id == account_id)
    return session.scalar(size)


def newest_ready(session: Session, subject_id: UUID) -> Dataset | None:
    """The subject's newest dataset that is ready: it holds all their workouts, and its test workouts decide."""
    ready = select(Dataset).where(Dataset.subject_id == subject_id, Dataset.state == DatasetState.READY)
    return session.scalar(ready.order_by(Dataset.created_at.desc(), Dataset.id.desc()).limit(1))


def read(session: Session, account_id: UUID, dataset_id: UUID) -> DatasetRow:
    """The account's dataset as the API shows it. Raises NotFound."""
    row = session.execute(_shown(account_id).where(Dataset.id == dataset_id)).first()
    if row is None:
        raise _missing(dataset_id)
    return row[0], row[1], row[2]


def page(session: Session, account_id: UUID, subject: str | None, request: PageRequest) -> Page[DatasetRow]:
    """Datasets of an account, or of one of its subjects."""
    rows = _shown(account_id)
    if subject is not None:
        rows = rows.where(Dataset.subject_id == subjects.id_of(account_id, subject))
    return fetch(session, rows, Dataset, request)


def files(session: Session, dataset_id: UUID, after: int, limit: int) -> list[dict[str, Any]]:
    """What the files of the upload behind number `after` gave: number, name, format, workouts, problem."""
    rows = select(*_FILE).where(DatasetFile.dataset_id == dataset_id, DatasetFile.id > after)
    return _plain(session, rows.order_by(DatasetFile.id).limit(limit))


def problems(session: Session, dataset_id: UUID, limit: int) -> list[dict[str, Any]]:
    """The first files with a problem."""
    rows = select(*_FILE).where(DatasetFile.dataset_id == dataset_id, DatasetFile.problem.is_not(None))
    return _plain(session, rows.order_by(DatasetFile.id).limit(limit))


def workouts(session: Session, dataset_id: UUID, after: int, limit: int) -> list[dict[str, Any]]:
    """Workouts behind position `after` in the dataset's order, with the result of cleaning; for stored workouts also
    digest and number of samples.
    """  # fmt: skip
    behind = _workouts(dataset_id).where(DatasetWorkout.position > after)
    return _plain(session, behind.order_by(DatasetWorkout.position).limit(limit))


def workouts_by_verdict(
    session: Session, dataset_id: UUID, verdict: str | None, start: int, limit: int
) -> list[dict[str, Any]]:
    """The same for a reader: dropped ones first, then repaired, then kept, the newest first in each; or those of one
    verdict. `start`: how many to leave out.
    """  # fmt: skip
    rows = _workouts(dataset_id)
    if verdict is not None:
        rows = rows.where(DatasetWorkout.verdict == verdict)
    rank = case({"dropped": 0, "repaired": 1}, value=DatasetWorkout.verdict, else_=2)
    return _plain(session, rows.order_by(rank, DatasetWorkout.position.desc()).offset(start).limit(limit))


def files_by_problem(session: Session, dataset_id: UUID, start: int, limit: int) -> list[dict[str, Any]]:
    """What the files of the upload gave, those with a problem first. `start`: how many to leave out."""
    rows = select(*_FILE).where(DatasetFile.dataset_id == dataset_id)
    return _plain(session, rows.order_by(DatasetFile.problem.is_(None), DatasetFile.id).offset(start).limit(limit))


def workout_of(session: Session, account_id: UUID, subject_id: UUID, digest: str) -> WorkoutPlace:
    """A subject's stored workout of that digest. Raises NotFound."""
    row = session.execute(
        select(Dataset.id, DatasetWorkout.source, DatasetWorkout.started_at, DatasetWorkout.split)
        .join(DatasetWorkout, DatasetWorkout.dataset_id == Dataset.id)
        .join(WorkoutRow, WorkoutRow.id == DatasetWorkout.workout_id)
        .where(WorkoutRow.account_id == account_id, WorkoutRow.digest == digest, Dataset.subject_id == subject_id)
        .order_by(Dataset.created_at.desc(), Dataset.id.desc())
        .limit(1)
    ).first()
    if row is None:
        raise NotFound("workout_not_found", f"This subject has no stored workout {digest}.")
    return WorkoutPlace(*row)


def outline(workout: dict[str, Any]) -> Outline:
    """The columns of `workouts` that an outline needs."""
    return Outline(**{name: workout[name] for name in Outline._fields})


def outlines(session: Session, dataset_id: UUID) -> list[Outline]:
    """All workouts of a dataset in its order, as far as its summary and its picture show them."""
    columns = [getattr(DatasetWorkout, name) for name in Outline._fields]
    rows = select(*columns).where(DatasetWorkout.dataset_id == dataset_id).order_by(DatasetWorkout.position)
    return [Outline(*row) for row in session.execute(rows)]


def _workouts(dataset_id: UUID) -> Any:
    columns = [getattr(DatasetWorkout, name) for name in ("position", "source", "person", *Outline._fields)]
    return (
        select(*columns, WorkoutRow.digest, WorkoutRow.samples)
        .outerjoin(WorkoutRow, WorkoutRow.id == DatasetWorkout.workout_id)
        .where(DatasetWorkout.dataset_id == dataset_id)
    )


def _plain(session: Session, rows: Any) -> list[dict[str, Any]]:
    """Thousands of rows without the ORM's objects, which take twice as long."""
    result = session.execute(rows)
    names = tuple(result.keys())
    return [dict(zip(names, row, strict=True)) for row in result]


def _shown(account_id: UUID) -> Any:
    return (
        select(Dataset, Subject.name, Job.id)
        .outerjoin(Subject, Subject.id == Dataset.subject_id)
        .outerjoin(Job, (Job.dataset_id == Dataset.id) & (Job.stage == Stage.IMPORT))
        .where(Dataset.account_id == account_id)
    )


def _missing(dataset_id: UUID) -> NotFound:
    return NotFound("dataset_not_found", f"There is no dataset {dataset_id}.")
