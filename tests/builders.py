"""What the API works with, in rows and files: keys, jobs, model versions that really predict. Each takes overrides."""

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select

from hrmodel.network.original_format import to_original_pt
from hrmodel.workouts.simulate import simulate_runner
from service.registry import accounts, datasets, jobs, model_versions, promotion
from service.registry.artifacts import ArtifactStore
from service.registry.session import Database
from service.registry.tables import (
    Base,
    ChampionChange,
    ChampionReason,
    Dataset,
    DatasetKind,
    DatasetWorkout,
    EpochMetrics,
    Job,
    JobState,
    ModelVersion,
    Stage,
    WorkoutRow,
    utc_now,
)
from tests.prediction_builders import LEVEL, make_checkpoint, make_state
from tests.registry_builders import add_account, add_dataset

# Most of the API behaves alike on both databases; what is heavy on SQL is tested on both.
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


class Sent(list[str]):
    """The hints that went out, instead of a broker."""

    def send(self, name: str) -> None:
        self.append(name)


def add_key(database: Database, *scopes: str, account: str = "default") -> str:
    """A new key with these scopes."""
    add_account(database, account)
    with database.unit_of_work() as session:
        return accounts.create_key(session, accounts.ensure_account(session, account), "test", scopes)


def add_population(database: Database, account: str = "default", **columns: Any) -> Dataset:
    """A ready dataset of many people."""
    values = {"kind": DatasetKind.POPULATION, "subject_id": None, "train_workouts": 20, "val_workouts": 4, **columns}
    return add_dataset(database, account, **values)


def add_ready(database: Database, account: str = "default", subject: str = "me", **columns: Any) -> Dataset:
    """A ready personal dataset that can train."""
    values = {"train_workouts": 10, "val_workouts": 2, "test_workouts": 3, **columns}
    return add_dataset(database, account, subject, **values)


def add_workout(
    database: Database, store: ArtifactStore, dataset: Dataset, data: bytes = b"workout", position: int = 0
) -> WorkoutRow:
    """A stored workout with its file, shared by datasets of the account that hold the same bytes."""
    digest = store.put(dataset.account_id, data)
    with database.unit_of_work() as session:
        row = session.scalar(
            select(WorkoutRow).where(WorkoutRow.account_id == dataset.account_id, WorkoutRow.digest == digest)
        )
        if row is None:
            row = WorkoutRow(
                account_id=dataset.account_id, digest=digest, size=len(data), duration_s=1800.0, samples=180
            )
            session.add(row)
            session.flush()
        session.add(
            DatasetWorkout(
                dataset_id=dataset.id,
                workout_id=row.id,
                position=position,
                source=f"{position}.gpx",
                duration_s=1800.0,
                split="train",
                verdict="kept",
                reasons=[],
            )
        )
        return row


def add_recorded(database: Database, store: ArtifactStore, dataset: Dataset, seed: int = 0) -> WorkoutRow:
    """A stored workout that was really recorded, by a simulated runner."""
    return add_workout(database, store, dataset, simulate_runner(workouts=1, seed=seed)[0].to_bytes())


def add_job(database: Database, dataset: Dataset, stage: Stage = Stage.STAGE1, **columns: Any) -> Job:
    """A job in any state, without going through the ones before."""
    with database.unit_of_work() as session:
        job = jobs.add(session, session.get_one(Dataset, dataset.id), stage=stage, configuration={"epochs": 20})
        for name, value in columns.items():
            setattr(job, name, value)
        return job


def add_epochs(database: Database, job: Job, count: int) -> None:
    """Epochs whose validation loss is lowest at the second."""
    with database.unit_of_work() as session:
        session.add_all(
            EpochMetrics(
                job_id=job.id,
                epoch=epoch,
                attempt=1,
                train_loss=1.0 / epoch,
                val_loss=0.5 + abs(epoch - 2) / 10,
                learning_rate=0.001,
                epoch_time=2.0,
                trainable_parameters=33_345,
            )
            for epoch in range(1, count + 1)
        )


def add_version(
    database: Database,
    store: ArtifactStore,
    dataset: Dataset | None = None,
    stage: Stage = Stage.STAGE1,
    *,
    seed: int = 0,
    **columns: Any,
) -> ModelVersion:
    """A version with its files and its succeeded job; without a dataset, the shipped base."""
    account_id = dataset.account_id if dataset else None
    personal = dataset is not None and dataset.subject_id is not None
    kind = Stage.BASE if dataset is None else stage
    checkpoint = make_checkpoint(seed=seed, stage=kind.value, level=LEVEL if personal else None)
    data = checkpoint.to_bytes()
    path = store.temporary(account_id)
    to_original_pt(checkpoint, path)
    pt_sha256, pt_size = store.adopt(account_id, path)
    job = add_job(database, dataset, kind, state=JobState.SUCCEEDED, finished_at=utc_now()) if dataset else None
    values = {
        "account_id": account_id,
        "subject_id": dataset.subject_id if dataset else None,
        "dataset_id": dataset.id if dataset else None,
        "job_id": job.id if job else None,
        "stage": kind,
        "sha256": store.put(account_id, data),
        "size": len(data),
        "pt_sha256": pt_sha256,
        "pt_size": pt_size,
        "dataset_digest": "d" * 64,
        "code_version": "test",
        **columns,
    }
    with database.unit_of_work() as session:
        version = ModelVersion(**values)
        session.add(version)
        return version


def add_evaluation(
    database: Database, version: ModelVersion, dataset: Dataset, score: float, test_workouts: int = 5
) -> None:
    """A report with this score."""
    errors = {"P1": {"workouts": test_workouts, "mean": {"mae": score}}}
    report = {
        "score": score,
        "selected_on": "test",
        "test_workouts": test_workouts,
        "protocols": errors,
        "baselines": {"training_mean": {"P1": {"mae": 9.0}}},
        "per_workout": [{"digest": f"{n}", "P1": score, "P2-180": score} for n in range(test_workouts)],
    }
    with database.unit_of_work() as session:
        model_versions.record_evaluation(session, version.id, dataset.id, report)


def crown(database: Database, subject_id: UUID, *versions: ModelVersion) -> None:
    """Let the versions serve one after the other; the last one is the champion."""
    for version in versions:
        with database.unit_of_work() as session:
            champion = promotion.current(session, subject_id)
            if champion is None:
                promotion.start(session, subject_id, version.id)
            else:
                revision = champion.revision
                promotion.promote(
                    session, subject_id, version.id, reason=ChampionReason.PROMOTED, expected_revision=revision
                )


def roll_back(database: Database, subject_id: UUID) -> None:
    """Let the version serve again that served before. Raises Conflict when there is none."""
    with database.unit_of_work() as session:
        promotion.roll_back(session, subject_id, promotion.version_before(session, subject_id).id)


def make_default(database: Database, base: ModelVersion) -> None:
    """Let the account's new subjects start from its own base."""
    assert base.account_id is not None
    with database.unit_of_work() as session:
        before = promotion.default_base(session, base.account_id)
        promotion.promote_base(session, base.account_id, base.id, expected=before.id, score=9.0)


def history_of(database: Database, subject_id: UUID) -> list[tuple[str, UUID | None]]:
    """Reason and version of each change of the subject's champion, oldest first."""
    changes = select(ChampionChange).where(ChampionChange.subject_id == subject_id).order_by(ChampionChange.revision)
    with database.reading() as session:
        return [(change.reason, change.model_version_id) for change in session.scalars(changes)]


def set_offset(database: Database, subject_id: UUID, version: ModelVersion, value: float) -> None:
    """Let the subject's level have moved by so many bpm after their newest dataset."""
    with database.unit_of_work() as session:
        newest = datasets.newest_ready(session, subject_id)
        assert newest
        model_versions.set_person_state(session, subject_id, version.id, newest.id, make_state(level=value).to_dict())


def row_counts(database: Database) -> dict[str, int]:
    """How many rows each table has."""
    with database.reading() as session:
        return {
            name: session.scalar(select(func.count()).select_from(table)) or 0
            for name, table in Base.metadata.tables.items()
        }


def files_of(store: ArtifactStore, account_id: UUID | None) -> set[Path]:
    """Every file of an account."""
    return set(store.folder(account_id).iterdir())
