"""Whose turn it is: accounts take turns, and within an account its fleets and its other jobs do."""

from functools import cache
from typing import Any

from sqlalchemy import func, or_, select, true
from sqlalchemy.orm import Session, aliased

from service.registry.tables import Job, JobState, Stage

_DEPENDENCY = aliased(Job)  # made once: it costs more than the query


def claimable(session: Session, stages: tuple[Stage, ...]) -> int:
    """How many jobs a free worker could take now."""
    return session.scalar(select(func.count()).select_from(claimable_jobs(stages).subquery())) or 0


@cache  # putting this statement together takes longer than running it
def fairest(stages: tuple[Stage, ...]) -> Any:
    """The job whose turn it is, locked (SKIP LOCKED: concurrent claims take different jobs).

    Of the account with the fewest running jobs, and of several such that whose last start is longest ago; there, of the
    lane by the same rule; there, the oldest.
    """
    turn = _turns(stages).subquery()
    account = (turn.c.running, turn.c.last_start.asc().nulls_first())
    lane = (turn.c.running_in_lane, turn.c.last_start_in_lane.asc().nulls_first())
    candidate = claimable_jobs(stages).join(turn, turn.c.lane == Job.lane)
    candidate = candidate.order_by(*account, *lane, Job.created_at, Job.id).limit(1)
    return candidate.with_for_update(skip_locked=True, of=Job).scalar_subquery()


def claimable_jobs(stages: tuple[Stage, ...]) -> Any:
    """The ids of the jobs that a free worker could take now, as a query."""
    ready = select(_DEPENDENCY.id).where(_DEPENDENCY.id == Job.depends_on, _DEPENDENCY.state == JobState.SUCCEEDED)
    return select(Job.id).where(
        Job.state == JobState.QUEUED,
        Job.stage.in_(stages),
        Job.cancel_requested.is_not(true()),
        or_(Job.depends_on.is_(None), ready.exists()),
    )


def _turns(stages: tuple[Stage, ...]) -> Any:
    """A row per lane with something claimable: running jobs and last start, of its account and its own.

    Once per lane, not per job: an account with 10,000 waiting jobs must not slow all claims. The last start gives fair
    turns also with a single worker, when no job runs at a claim.
    """
    waiting = claimable_jobs(stages).with_only_columns(Job.account_id, Job.lane).distinct().subquery()
    of_account, of_lane = _busy(Job.account_id), _busy(Job.lane)
    return (
        select(
            waiting.c.account_id,
            waiting.c.lane,
            func.coalesce(of_account.c.running, 0).label("running"),
            _last_start(Job.account_id, waiting.c.account_id).label("last_start"),
            func.coalesce(of_lane.c.running, 0).label("running_in_lane"),
            _last_start(Job.lane, waiting.c.lane).label("last_start_in_lane"),
        )
        .outerjoin(of_account, of_account.c.owner == waiting.c.account_id)
        .outerjoin(of_lane, of_lane.c.owner == waiting.c.lane)
    )


def _busy(owner: Any) -> Any:
    """How many jobs each owner has running; a fleet itself takes no worker."""
    running = (Job.state == JobState.RUNNING) & (Job.stage != Stage.FLEET)
    return select(owner.label("owner"), func.count().label("running")).where(running).group_by(owner).subquery()


def _last_start(column: Any, owner: Any) -> Any:
    job = aliased(Job)
    return select(func.max(job.started_at)).where(getattr(job, column.key) == owner).scalar_subquery()
