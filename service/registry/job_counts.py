"""What the metrics count in SQL: jobs that wait, and what has happened to jobs and champions since the last look."""

from collections.abc import Collection
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Text, cast, func, select
from sqlalchemy.orm import Session

from service.registry import turns
from service.registry.tables import ChampionChange, DatasetWorkout, Job, JobEvent, JobState, Stage

COUNTED = ("running", "succeeded", "failed", "cancelled", "lease_expired")  # checkpoints are ten times as many


def counts(session: Session) -> dict[tuple[Stage, JobState], int]:
    """How many jobs of all accounts wait and run, by stage and state."""
    alive = Job.state.in_((JobState.QUEUED, JobState.RUNNING))
    rows = select(Job.stage, Job.state, func.count()).where(alive).group_by(Job.stage, Job.state)
    return {(stage, state): count for stage, state, count in session.execute(rows)}


def waiting_since(session: Session) -> dict[Stage, datetime]:
    """When the oldest job of each stage was queued that could start now. Jobs of fleets are left out: they wait for
    one another as they should.
    """  # fmt: skip
    oldest = turns.claimable_jobs(tuple(Stage)).with_only_columns(Job.stage, func.min(Job.created_at))
    return dict(session.execute(oldest.where(Job.parent_id.is_(None)).group_by(Job.stage)).tuples().all())


def job_changes() -> Any:
    """Starts and ends of jobs, by the number of their event: the number, the event, its detail, the job as it is."""
    changes = select(JobEvent.id, JobEvent.event, JobEvent.detail, Job).join(Job, Job.id == JobEvent.job_id)
    return changes.where(JobEvent.event.in_(COUNTED))


def champion_changes() -> Any:
    """Changes of champions by their number: the number and the reason."""
    return select(ChampionChange.id, ChampionChange.reason)


def verdicts(session: Session, dataset_ids: Collection[UUID]) -> dict[str, int]:
    """How many workouts of these datasets' own uploads were kept, repaired and dropped; not those known before."""
    known = cast(DatasetWorkout.reasons, Text).contains('"code": "known"')
    counts = select(DatasetWorkout.verdict, func.count()).where(DatasetWorkout.dataset_id.in_(dataset_ids), ~known)
    return dict(session.execute(counts.group_by(DatasetWorkout.verdict)).tuples().all())
