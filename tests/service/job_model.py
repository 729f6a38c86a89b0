"""What a job should be, in plain Python, and what its log alone must show: the model beside `test_job_machine`."""

from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import bindparam, select

from service.registry import jobs
from service.registry.tables import TERMINAL_STATES, Dataset, Job, JobEvent, JobState, Stage

QUEUED, RUNNING, SUCCEEDED, FAILED, CANCELLED = JobState
COMPARED = (
    *("state", "attempt", "crashes", "cancel_requested", "lease_until", "worker", "progress", "epoch"),
    *("latest_sha256", "previous_sha256", "error_code", "depends_on", "retry_of"),
)
TERMINAL_EVENTS = frozenset(state.value for state in TERMINAL_STATES)
MOVES = {  # what an event means: the states before and after it
    "running": (QUEUED, RUNNING),
    "checkpoint": (RUNNING, RUNNING),
    "handed_back": (RUNNING, QUEUED),
    "lease_expired": (RUNNING, QUEUED),
    "succeeded": (RUNNING, SUCCEEDED),
    "failed": (None, FAILED),
    "cancelled": (None, CANCELLED),
}
JOB, EVENT, DATASET = Job.__table__, JobEvent.__table__, Dataset.__table__
ROWS = select(JOB.c.id, JOB.c.stage, DATASET.c.state, *(JOB.c[name] for name in COMPARED)).join(DATASET)
NEW_EVENTS = (
    select(EVENT.c.id, EVENT.c.job_id, EVENT.c.event, EVENT.c.attempt)
    .where(EVENT.c.id > bindparam("read"))
    .order_by(EVENT.c.id)
)


@dataclass
class Expected:
    """A job as it should be."""

    id: UUID
    account: int
    stage: Stage
    dataset: UUID
    born: tuple
    depends_on: UUID | None = None
    retry_of: UUID | None = None
    state: JobState = QUEUED
    attempt: int = 0
    started: int = 0  # the first claim, counted over all jobs
    crashes: int = 0
    cancel_requested: bool = False
    lease_until: float | None = None
    worker: str | None = None
    progress: float = 0.0
    epoch: int = 0
    latest_sha256: str | None = None
    previous_sha256: str | None = None
    error_code: str | None = None
    events: list[str] = field(default_factory=lambda: ["queued"])

    def end(self, state: JobState, code: str | None = None) -> None:
        self.state, self.lease_until, self.error_code = state, None, code
        self.latest_sha256 = self.previous_sha256 = None  # only an unfinished job resumes
        self.events.append(state.value)

    def requeue(self, what: str) -> None:
        self.state, self.lease_until, self.worker = QUEUED, None, None
        self.events.append(what)

    @property
    def over(self) -> bool:
        return self.state in TERMINAL_STATES


class Log:
    """The events of one job so far."""

    def __init__(self) -> None:
        self.entries: list[str] = []
        self.state: JobState | None = None
        self.attempt = 0

    def append(self, what: str, attempt: int) -> None:
        """Only legal moves, attempts that only rise, nothing after the end."""
        source, after = MOVES.get(what, (None, QUEUED))
        assert self.state not in TERMINAL_STATES, "something happened after the end"
        assert source in (None, self.state)
        assert self.state is None or after == self.state or after in jobs.LEGAL[self.state]
        assert attempt == self.attempt + (what == "running")
        self.entries.append(what)
        self.state, self.attempt = after, attempt
