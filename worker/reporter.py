"""What a running job tells the registry: a heartbeat while work advances, its phase, each epoch with its checkpoint."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import structlog
from sqlalchemy.orm import Session

from hrmodel.training.fit import Stop
from service.registry import jobs, leftovers, pins
from service.registry.artifacts import ArtifactStore
from service.registry.faults import DATABASE_UNAVAILABLE
from service.registry.session import Database, spoken_reason
from service.registry.tables import Job, Phase
from worker import phases

TELL_SECONDS = 0.5  # between two reports of how far a phase is

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Context:
    """The connections and settings of a worker process."""

    database: Database
    store: ArtifactStore
    lease_seconds: float
    worker: str
    stopping: Callable[[], bool]


class LeaseLost(Stop):
    """The lease is lost: another attempt may have the job, so write nothing more."""


class Cancelled(Stop):
    """The caller asked for the end of the job."""


class HandBack(Stop):
    """The worker shuts down: the job goes back to the queue."""


@dataclass(frozen=True, kw_only=True)
class EpochReport:
    """A finished epoch on its way into SQL."""

    metrics: dict[str, Any]
    sha256: str | None  # of the checkpoint, when it could be written
    message: str


@dataclass
class Reporter:
    """Reports for one claim. Without an answer of the database for a whole lease, the claim counts as lost."""

    context: Context
    claim: jobs.Claim
    importing: bool = False  # the runner knows it once it has read the job
    progress: float = 0.0
    _clock: phases.PhaseClock | None = None
    _entered: list[tuple[Phase, float]] = field(default_factory=list)
    _renewed: float = field(default_factory=time.monotonic)
    _tried: float = field(default_factory=time.monotonic)
    _waiting: list[EpochReport] = field(default_factory=list)

    def enter(self, phase: Phase, total: float, done: float = 0.0) -> None:
        """Begin a phase of `total` parts, of which some may be done already, and tell of it at once. Raises Stop."""
        self._clock = phases.PhaseClock(phase=phase, total=total, done=done)
        self._entered.append((phase, total))
        self._move()
        self.report()

    def advance(self, done: float | None = None) -> None:
        """So many parts of the phase are done; None: one more. Told twice a second, and a heartbeat. Raises Stop."""
        clock = self._clock
        assert clock is not None, "no phase has begun"
        clock.done = clock.done + 1.0 if done is None else done
        if self._move() and time.monotonic() - self._tried >= TELL_SECONDS:
            self.report()
        self.beat()

    def beat(self) -> None:
        """Renew the lease when a sixth of it has passed. Call it wherever work advances. Raises Stop."""
        if self.context.stopping():
            raise HandBack
        if time.monotonic() - self._tried >= self.context.lease_seconds / jobs.BEATS_PER_LEASE:
            self.report()

    def epoch(self, report: EpochReport) -> None:
        """Record an epoch; kept for the next heartbeat while the database is away. Raises Stop."""
        self._waiting.append(report)
        self.report()
        self.beat()

    def say(self, message: str) -> None:
        """Add a line to the job's log."""
        self._waiting.append(EpochReport(metrics={}, sha256=None, message=message))

    def report(self) -> None:
        """Renew the lease and write what waits, in one transaction. Raises Stop."""
        self._tried = time.monotonic()
        try:
            with self.context.database.unit_of_work() as session:
                place = self._clock.place() if self._clock else None
                answer = jobs.heartbeat(session, self.claim, self.context.lease_seconds, self.progress, place)
                stale = self._write(session) if answer.lease_held else []
        except DATABASE_UNAVAILABLE as error:
            log.warning("heartbeat failed", reason=spoken_reason(error))
            if self._tried - self._renewed > self.context.lease_seconds:
                raise LeaseLost from error
            return
        if not answer.lease_held:
            raise LeaseLost
        self._renewed, self._waiting, self._entered = self._tried, [], []
        for account_id, sha256 in stale:
            self.context.store.delete(account_id, sha256)
        if answer.cancel_requested:
            raise Cancelled

    def _move(self) -> bool:
        """Bring the job's progress up to the phase's; it never falls within an attempt. Whether it rose."""
        before = self.progress
        if self._clock:
            self.progress = max(before, phases.progress(self._clock.place(), importing=self.importing))
        return self.progress > before

    def _write(self, session: Session) -> list[tuple[Any, str]]:
        """Write the waiting epochs; the checkpoints that no row points to any more (they name the job, so they
        are not shared).
        """  # fmt: skip
        job = session.get_one(Job, self.claim.job_id)
        session.refresh(job)
        before = {job.latest_sha256, job.previous_sha256}
        for phase, total in self._entered:
            jobs.record_phase(session, self.claim, phase, total)
        for report in self._waiting:
            if report.metrics:
                jobs.record_epoch(session, self.claim, report.metrics)
            if report.sha256:
                epoch = report.metrics["epoch"]
                jobs.record_checkpoint(session, self.claim, epoch=epoch, sha256=report.sha256)
            jobs.add_log(session, self.claim, report.message)
        session.flush()
        session.refresh(job)
        written = {report.sha256 for report in self._waiting}
        gone = (before | written) - {job.latest_sha256, job.previous_sha256, None}
        if gone and pins.is_pinned(session):
            leftovers.add(session, job.account_id, gone)
            return []
        return [(job.account_id, sha256) for sha256 in gone if sha256]
