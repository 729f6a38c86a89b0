"""Deletes datasets and people: all derived rows in one transaction, which also records the files to delete."""

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import delete, or_, select
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session

from service.errors import Conflict
from service.registry import datasets, leftovers, promotion, reserve
from service.registry.artifacts import ArtifactStore
from service.registry.faults import DATABASE_UNAVAILABLE, Fault, fault_of
from service.registry.session import Database, clock
from service.registry.tables import (
    Champion,
    Dataset,
    DatasetState,
    DatasetWorkout,
    Job,
    JobState,
    ModelVersion,
    Subject,
    WorkoutRow,
)

CHUNK = 5000  # parameters of one statement; both databases have a limit


@dataclass(frozen=True)
class Removed:
    """What was deleted: the account, and the versions that caches must drop. Its files are recorded as leftovers."""

    account_id: UUID
    versions: frozenset[UUID]


def remove(
    database: Database,
    store: ArtifactStore,
    delete_rows: Callable[[Session], Removed],
    forget: Callable[[Collection[UUID]], None],
) -> None:
    """Delete rows in one transaction, then let `forget` drop the deleted versions from memory, then delete the files.

    On a full disk the rows are deleted in the room that is reserved for it. A reconciler deletes the files that cannot
    be deleted now. Raises what `delete_rows` raises.
    """
    try:
        with database.unit_of_work() as session:
            removed = delete_rows(session)
    except DatabaseError as error:
        if fault_of(error) != Fault.FULL or not reserve.give_up(database):
            raise
        with database.unit_of_work() as session:
            removed = delete_rows(session)
    forget(removed.versions)
    with suppress(*DATABASE_UNAVAILABLE, OSError):
        leftovers.work_off(database, store, removed.account_id, hurried=True)
        leftovers.clear_scratch(database, store)
        database.checkpoint_wal()


def remove_dataset(session: Session, dataset: Dataset) -> Removed:
    """Delete a dataset, its jobs, every version trained on it and their descendants; champions among them fall back.

    Raises Conflict while a worker is busy with one of its jobs.
    """
    if dataset.subject_id is not None:
        session.get(Subject, dataset.subject_id, with_for_update=True)  # first, as a job that ends does: no deadlock
    removed = _remove(session, dataset.account_id, [dataset], "dataset_in_use")
    if dataset.subject_id is not None:
        _refresh_level(session, session.get_one(Subject, dataset.subject_id), dataset)
    return removed


def remove_subject(session: Session, subject: Subject) -> Removed:
    """Delete a person: datasets, jobs, versions, champion and its history. Raises Conflict while a worker is busy."""
    session.get(Subject, subject.id, with_for_update=True)
    own = session.scalars(select(Dataset).where(Dataset.subject_id == subject.id).with_for_update()).all()
    session.execute(delete(Champion).where(Champion.subject_id == subject.id))
    removed = _remove(session, subject.account_id, own, "subject_in_use")
    session.execute(delete(Subject).where(Subject.id == subject.id))
    return removed


def _remove(session: Session, account_id: UUID, datasets: Sequence[Dataset], code: str) -> Removed:
    ids = [dataset.id for dataset in datasets]
    versions = _descendants(session, ids)
    version_ids = {version.id for version in versions}
    jobs = _jobs(session, ids, versions)
    _refuse_if_busy(session, jobs, code)
    workouts = _workouts(session, ids)
    digests = {workout.digest for workout in workouts} | {dataset.upload_sha256 for dataset in datasets}
    digests |= {digest for version in versions for digest in (version.sha256, version.pt_sha256)}
    digests |= {
        digest for job in jobs for digest in (job.latest_sha256, job.previous_sha256, job.best_sha256) if digest
    }
    promotion.fall_back(session, version_ids)
    session.execute(delete(ModelVersion).where(ModelVersion.id.in_(version_ids)))
    session.execute(delete(Job).where(Job.id.in_([job.id for job in jobs])))
    session.execute(delete(Dataset).where(Dataset.id.in_(ids)))
    _delete_unused(session, workouts)
    leftovers.add(session, account_id, digests)
    if any(_may_have_stored_more(job) for job in jobs):
        leftovers.look_later(session, account_id)
    return Removed(account_id, frozenset(version_ids))


def _may_have_stored_more(job: Job) -> bool:
    """Whether a job ended, or was cut short, between storing a file and the row that refers to it."""
    return job.attempt > 1 or (job.attempt == 1 and job.state != JobState.SUCCEEDED)


def _descendants(session: Session, dataset_ids: Sequence[UUID]) -> list[ModelVersion]:
    """Versions trained on these datasets, and all their descendants."""
    doomed = select(ModelVersion.id).where(ModelVersion.dataset_id.in_(dataset_ids)).cte("doomed", recursive=True)
    doomed = doomed.union(select(ModelVersion.id).join(doomed, ModelVersion.parent_id == doomed.c.id))
    return list(session.scalars(select(ModelVersion).where(ModelVersion.id.in_(select(doomed.c.id)))))


def _jobs(session: Session, dataset_ids: Sequence[UUID], versions: Sequence[ModelVersion]) -> list[Job]:
    """Jobs on the datasets, and those that made or start from the versions; locked against claims."""
    made = [version.job_id for version in versions if version.job_id]
    start = Job.start_model_version_id.in_([version.id for version in versions])
    jobs = select(Job).where(or_(Job.dataset_id.in_(dataset_ids), Job.id.in_(made), start))
    return list(session.scalars(jobs.with_for_update().execution_options(populate_existing=True)))


def _refuse_if_busy(session: Session, jobs: Sequence[Job], code: str) -> None:
    """A job whose lease is over has no worker: it does not count."""
    now = clock(session)
    for job in jobs:
        if job.state == JobState.RUNNING and (job.lease_until or 0.0) > now:
            raise Conflict(code, f"Job {job.id} is running on this data; cancel it or wait until it has ended.")


def _workouts(session: Session, dataset_ids: Sequence[UUID]) -> list[WorkoutRow]:
    """Stored workouts of the datasets; locked, so that an import that adds one to its dataset is seen or waits."""
    inside = select(DatasetWorkout.workout_id).where(DatasetWorkout.dataset_id.in_(dataset_ids))
    return list(session.scalars(select(WorkoutRow).where(WorkoutRow.id.in_(inside)).with_for_update()))


def _delete_unused(session: Session, workouts: Sequence[WorkoutRow]) -> None:
    used = select(DatasetWorkout.id).where(DatasetWorkout.workout_id == WorkoutRow.id).exists()
    for start in range(0, len(workouts), CHUNK):
        chunk = [workout.id for workout in workouts[start : start + CHUNK]]
        session.execute(delete(WorkoutRow).where(WorkoutRow.id.in_(chunk), ~used))


def _refresh_level(session: Session, subject: Subject, dataset: Dataset) -> None:
    """The subject's level is its newest ready dataset's; the deleted dataset's states went with it."""
    newest = datasets.newest_ready(session, subject.id)
    if dataset.state == DatasetState.READY and (newest is None or newest.created_at < dataset.created_at):
        subject.level = newest.level if newest else None
    session.flush()
