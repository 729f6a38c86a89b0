"""What an import writes: workouts, their place in the dataset, files and verdicts, in the transaction that ends it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from service.registry.session import insert_ignoring
from service.registry.tables import (
    Dataset,
    DatasetFile,
    DatasetState,
    DatasetWorkout,
    Subject,
    WorkoutRow,
    utc_now,
)

# a small upload may hold tens of thousands of tiny files: what a report lists of one dataset is bounded
MAX_FILES, MAX_DROPPED = 5000, 5000
MAX_PROBLEM = 500  # characters


@dataclass(frozen=True, kw_only=True)
class ImportedWorkout:
    """One workout of an upload after cleaning. `digest` is None when it was dropped.

    `heart_rate_per_minute`: readings per minute of recorded time, 0 for none.
    """

    digest: str | None
    size: int
    started_at: datetime | None
    duration_s: float
    samples: int
    person: str | None
    source: str
    split: str | None
    verdict: str
    reasons: list[dict[str, Any]]
    sport: str = "running"
    heart_rate_per_minute: float = 0.0


@dataclass(frozen=True, kw_only=True)
class ImportedFile:
    """One file of an upload."""

    name: str
    format: str | None
    workouts: int
    problem: str | None


@dataclass(frozen=True)
class StoredWorkout:
    """Where a dataset's workout lies and which split it has."""

    digest: str
    split: str
    person: str | None
    source: str


# where a workout is, and the columns that make an ImportedWorkout: thousands of rows without the ORM's objects
_KNOWN = (
    *(DatasetWorkout.dataset_id, DatasetWorkout.position),
    *(WorkoutRow.digest, WorkoutRow.size, WorkoutRow.started_at, WorkoutRow.duration_s, WorkoutRow.samples),
    *(DatasetWorkout.person, DatasetWorkout.source, DatasetWorkout.split, DatasetWorkout.verdict),
    *(DatasetWorkout.reasons, DatasetWorkout.sport, DatasetWorkout.heart_rate_per_minute),
)
_DIGEST = 2  # its place among them
_KNOWN_NAMES = tuple(column.key for column in _KNOWN[_DIGEST:])


def begin(session: Session, dataset_id: UUID) -> Dataset:
    """Mark a dataset as being imported."""
    dataset = session.get_one(Dataset, dataset_id)
    dataset.state = DatasetState.IMPORTING
    return dataset


def stored_workouts(session: Session, dataset_id: UUID) -> list[StoredWorkout]:
    """The kept workouts of a dataset in its order."""
    rows = session.execute(
        select(WorkoutRow.digest, DatasetWorkout.split, DatasetWorkout.person, DatasetWorkout.source)
        .join(WorkoutRow, WorkoutRow.id == DatasetWorkout.workout_id)
        .where(DatasetWorkout.dataset_id == dataset_id)
        .order_by(DatasetWorkout.position)
    )
    return [StoredWorkout(digest, split or "train", person, source) for digest, split, person, source in rows]


def ready_datasets(session: Session, dataset: Dataset) -> list[UUID]:
    """The ready datasets of a dataset's subject, newest first; what is known of the subject depends on them alone."""
    if dataset.subject_id is None:
        return []
    ready = select(Dataset.id).where(Dataset.subject_id == dataset.subject_id, Dataset.state == DatasetState.READY)
    return list(session.scalars(ready.order_by(Dataset.created_at.desc(), Dataset.id)))


def known_workouts(session: Session, ready: Sequence[UUID]) -> list[ImportedWorkout]:
    """The kept workouts of a subject's ready datasets, which come newest first: each workout once, as its newest
    dataset has it, with its first split.

    Most datasets repeat the one before: of the others only workouts are read that the newest has not, or has with
    another split.
    """  # fmt: skip
    if not ready:
        return []
    inside = select(*_KNOWN).join(WorkoutRow, WorkoutRow.id == DatasetWorkout.workout_id)
    of_any = DatasetWorkout.dataset_id.in_(ready)
    newest = session.execute(inside.where(DatasetWorkout.dataset_id == ready[0])).tuples().all()
    splits = inside.with_only_columns(WorkoutRow.digest, DatasetWorkout.split).where(of_any).distinct()
    open_questions = {row[_DIGEST]: -1 for row in newest}  # by digest: splits beside that of the newest dataset
    for digest, _ in session.execute(splits).tuples():
        open_questions[digest] = open_questions.get(digest, 0) + 1
    rows = [row for row in newest if not open_questions[row[_DIGEST]]]
    for chunk in _chunks(sorted(digest for digest, count in open_questions.items() if count), 500):
        rows += session.execute(inside.where(of_any, WorkoutRow.digest.in_(chunk))).tuples()
    order = {dataset_id: place for place, dataset_id in enumerate(ready)}
    known: dict[str, ImportedWorkout] = {}
    for _, _, *values in sorted(rows, key=lambda row: (order[row[0]], row[1])):
        workout = ImportedWorkout(**dict(zip(_KNOWN_NAMES, values, strict=True)))
        digest, split = workout.digest or "", workout.split
        newest_of_it = known.setdefault(digest, replace(workout, split=split or "train"))
        if split and newest_of_it.split != split:
            known[digest] = replace(newest_of_it, split=split)
    return list(known.values())


def finish(
    session: Session,
    dataset_id: UUID,
    workouts: Sequence[ImportedWorkout],
    files: Iterable[ImportedFile],
    *,
    digest: str,
    level: dict[str, Any] | None,
) -> Dataset:
    """Make the dataset ready with all its workouts and files. Its subject's level becomes the dataset's."""
    dataset = session.get_one(Dataset, dataset_id)
    _add_workouts(session, dataset, workouts, _stored_ids(session, dataset.account_id, workouts))
    _add_files(session, dataset, files)
    splits = [workout.split for workout in workouts]
    dataset.train_workouts, dataset.val_workouts = splits.count("train"), splits.count("val")
    dataset.test_workouts, dataset.dropped_workouts = splits.count("test"), splits.count(None)
    dataset.digest, dataset.level = digest, level
    dataset.state, dataset.ready_at = DatasetState.READY, utc_now()
    if dataset.subject_id is not None:
        session.get_one(Subject, dataset.subject_id).level = level
    session.flush()
    return dataset


def report_failed(
    session: Session, dataset_id: UUID, workouts: Sequence[ImportedWorkout], files: Iterable[ImportedFile]
) -> None:
    """Record the files and workouts of a failed import: the report gives the reason for each."""
    dataset = session.get_one(Dataset, dataset_id)
    _add_workouts(session, dataset, [replace(workout, digest=None, split=None) for workout in workouts], {})
    _add_files(session, dataset, files)


def _add_workouts(
    session: Session, dataset: Dataset, workouts: Sequence[ImportedWorkout], stored: dict[str, UUID]
) -> None:
    """A row for each kept workout, and for the first of the dropped ones; the others are counted."""
    dropped = [position for position, workout in enumerate(workouts) if workout.digest is None]
    unlisted = set(dropped[MAX_DROPPED:])
    dataset.unlisted_workouts = len(unlisted)
    rows = [
        {
            "dataset_id": dataset.id,
            "workout_id": stored[workout.digest] if workout.digest else None,
            "position": position,
            "person": _text(workout.person, 200) if workout.person else workout.person,
            "source": _text(workout.source, 500),
            "started_at": workout.started_at,
            "duration_s": workout.duration_s,
            "sport": _text(workout.sport, 50),
            "heart_rate_per_minute": workout.heart_rate_per_minute,
            "split": workout.split,
            "verdict": workout.verdict,
            "reasons": [{**reason, "message": _text(reason["message"])} for reason in workout.reasons],
        }
        for position, workout in enumerate(workouts)
        if position not in unlisted
    ]
    if rows:
        session.execute(insert(DatasetWorkout), rows)


def _add_files(session: Session, dataset: Dataset, files: Iterable[ImportedFile]) -> None:
    """A row for each file up to a bound, those with a problem and those with workouts first; all are counted."""
    every = list(files)
    dataset.file_count, dataset.problem_count = len(every), sum(file.problem is not None for file in every)
    telling = sorted(range(len(every)), key=lambda place: (every[place].problem is None, every[place].workouts == 0))
    rows = [
        {
            "dataset_id": dataset.id,
            "name": _text(file.name, 500),
            "format": file.format,
            "workouts": file.workouts,
            "problem": _text(file.problem, MAX_PROBLEM) if file.problem else None,
        }
        for file in (every[place] for place in sorted(telling[:MAX_FILES]))
    ]
    if rows:
        session.execute(insert(DatasetFile), rows)


def _text(words: str, limit: int = 2000) -> str:
    """What a file says of itself, as SQL, JSON and a terminal can hold it: nothing that cannot be printed."""
    if words.isprintable():
        return words[:limit]
    return "".join(character if character.isprintable() else "?" for character in words[:limit])


def _stored_ids(session: Session, account_id: UUID, workouts: Sequence[ImportedWorkout]) -> dict[str, UUID]:
    """The row of each kept workout, shared with other datasets of the account, of imports that end now too."""
    kept = {workout.digest: workout for workout in workouts if workout.digest}
    ids: dict[str, UUID] = {}
    for chunk in _chunks(sorted(kept), 500):  # sorted: two imports at once wait for each other in one order only
        known = select(WorkoutRow.digest, WorkoutRow.id).where(
            WorkoutRow.account_id == account_id, WorkoutRow.digest.in_(chunk)
        )
        ids.update(session.execute(known).tuples().all())
        if missing := [kept[digest] for digest in chunk if digest not in ids]:
            _add_missing(session, account_id, missing)
            ids.update(session.execute(known).tuples().all())
    return ids


def _add_missing(session: Session, account_id: UUID, kept: Sequence[ImportedWorkout]) -> None:
    names = ("digest", "size", "started_at", "duration_s", "samples")
    rows = [{"account_id": account_id, **{name: getattr(workout, name) for name in names}} for workout in kept]
    session.execute(insert_ignoring(session, WorkoutRow), rows)


def _chunks(values: list[str], size: int) -> Iterable[list[str]]:
    return (values[start : start + size] for start in range(0, len(values), size))
