"""Quotas of an account: jobs that wait or run, and bytes of its uploads.

Lock, then check, in the transaction that adds to it: so concurrent requests count each other.
"""

import operator
from functools import reduce
from uuid import UUID

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from service.errors import TooManyRequests
from service.registry.imports import MAX_FILES
from service.registry.tables import Account, Dataset, DatasetState, Job, JobState, Stage, WorkoutRow

JOB_RETRY_SECONDS = 60
BYTES_RETRY_SECONDS = 3600
ROW_BYTES = 400  # of a report's row for a workout or a file, about
_WAITING = (DatasetState.QUEUED, DatasetState.IMPORTING)


def lock(session: Session, account_id: UUID) -> None:
    """Let other requests that look at this account's quotas wait for this transaction (on SQLite all writers do)."""
    # key_share: rows that refer to the account may be written meanwhile
    session.execute(select(Account.id).where(Account.id == account_id).with_for_update(key_share=True))


def check_jobs(session: Session, account_id: UUID, limit: int, more: int = 1) -> None:
    """Raise TooManyRequests unless it may have so many more queued or running jobs; a fleet counts as its jobs."""
    alive = Job.state.in_((JobState.QUEUED, JobState.RUNNING)) & (Job.stage != Stage.FLEET)
    count = session.scalar(select(func.count()).where(Job.account_id == account_id, alive)) or 0
    if count + more > limit:
        asked = f" and asks for {more} more" if more > 1 else ""
        detail = f"This account has {count} queued and running jobs{asked}; {limit} is the most. " + (
            "Wait until some have ended, or ask for fewer people." if more > 1 else "Wait until some have ended."
        )
        raise TooManyRequests("too_many_jobs", detail, retry_after=JOB_RETRY_SECONDS)


def check_bytes(session: Session, account_id: UUID, more: int, limit: int) -> None:
    """Raise TooManyRequests unless it may store `more` bytes beside what it has."""
    if (stored := stored_bytes(session, account_id)) + more > limit:
        detail = f"This account stores {stored} bytes and sends {more}; {limit} is the most. Delete datasets."
        raise TooManyRequests("too_many_bytes", detail, retry_after=BYTES_RETRY_SECONDS)


def stored_bytes(session: Session, account_id: UUID) -> int:
    """Bytes of an account's imported workouts, of what reports say of them (about: rows of one size), and of uploads
    that wait for their import (deleted after it).
    """  # fmt: skip
    workouts = select(func.sum(WorkoutRow.size)).where(WorkoutRow.account_id == account_id)
    uploads = select(func.sum(Dataset.upload_size)).where(Dataset.account_id == account_id, Dataset.state.in_(_WAITING))
    counts = Dataset.train_workouts, Dataset.val_workouts, Dataset.test_workouts, Dataset.dropped_workouts
    listed = case((Dataset.file_count > MAX_FILES, MAX_FILES), else_=Dataset.file_count)
    listed_rows = reduce(operator.add, counts) - Dataset.unlisted_workouts + listed
    rows = select(func.sum(case((listed_rows > 0, listed_rows), else_=0))).where(Dataset.account_id == account_id)
    return sum(int(session.scalar(query) or 0) for query in (workouts, uploads)) + ROW_BYTES * int(
        session.scalar(rows) or 0
    )
