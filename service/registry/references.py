"""Which files rows refer to."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from sqlalchemy import Select, select, union_all
from sqlalchemy.orm import Session

from service.registry.tables import Dataset, DatasetState, Job, ModelVersion, WorkoutRow

UNFINISHED = (DatasetState.QUEUED, DatasetState.IMPORTING)
REFERENCES = (  # and the uploads of unfinished datasets
    (WorkoutRow, WorkoutRow.digest),
    (Job, Job.latest_sha256),
    (Job, Job.previous_sha256),
    (Job, Job.best_sha256),
    (ModelVersion, ModelVersion.sha256),
    (ModelVersion, ModelVersion.pt_sha256),
)


def referenced(session: Session, account_id: UUID | None, digests: Iterable[str]) -> set[str]:
    """The digests that some row of the account refers to."""
    candidates = list(digests)
    in_use: set[str] = set()
    for start in range(0, len(candidates), 500):
        chunk = candidates[start : start + 500]
        in_use.update(session.scalars(union_all(*_references(account_id, chunk))))
    return in_use


def _references(account_id: UUID | None, chunk: list[str]) -> list[Select[tuple[str]]]:
    rows = [select(column).where(table.account_id == account_id, column.in_(chunk)) for table, column in REFERENCES]
    uploads = select(Dataset.upload_sha256).where(Dataset.account_id == account_id, Dataset.state.in_(UNFINISHED))
    return [*rows, uploads.where(Dataset.upload_sha256.in_(chunk))]  # type: ignore[list-item]


def everything(session: Session) -> set[tuple[UUID | None, str]]:
    """Every file that some row refers to: account (None: shipped) and digest."""
    uploads = select(Dataset.account_id, Dataset.upload_sha256).where(Dataset.state.in_(UNFINISHED))
    rows: list[Any] = [select(table.account_id, column).where(column.is_not(None)) for table, column in REFERENCES]
    return {(account_id, digest) for query in [*rows, uploads] for account_id, digest in session.execute(query)}
