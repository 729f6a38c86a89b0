"""Counts of workers' jobs, read from SQL on each scrape: workers are many processes on any machine, without a port."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from sqlalchemy.orm import Session

from service.operations.common_notes import CommonNotes
from service.registry import job_counts
from service.registry.jobs import TRAINING_STAGES
from service.registry.session import Database
from service.registry.tables import TERMINAL_STATES, ChampionReason, Job, JobEvent, JobState, Stage, utc_now
from service.registry.tables import ChampionChange as Change
from service.registry.tail import Tail

BUCKETS = (1, 5, 15, 60, 300, 900, 3600, 3 * 3600, 12 * 3600)
CLAIMED = (Stage.IMPORT, *TRAINING_STAGES)  # a fleet is never claimed: its jobs are
VERDICTS = ("kept", "repaired", "dropped")


class JobCounters:
    """Gauges of queued and running jobs, and counters of the events since the first look.

    One process at a time looks, and goes on where the last one stopped: of all processes together, each event is
    counted once.
    """

    def __init__(self, registry: CollectorRegistry, now: CollectorRegistry, folder: Path | None = None) -> None:
        """Counters go to `registry`, gauges to `now`; `folder` is that of all processes."""
        stage, state = ("stage",), ("stage", "state")
        self._gauges = _families()
        now.register(self)
        self._attempts = Counter("stagewise_job_attempts", "Times that a worker took a job.", stage, registry=registry)
        self._ended = Counter("stagewise_jobs_ended", "Jobs that ended.", state, registry=registry)
        self._seconds = Histogram(
            "stagewise_job_seconds", "From a job's first start to its end.", state, buckets=BUCKETS, registry=registry
        )
        self._failures = Counter(
            "stagewise_job_failures", "Failed jobs by error code.", ("stage", "code"), registry=registry
        )
        self._lost = Counter(
            "stagewise_job_leases_lost", "Times that a job's worker gave no sign of life.", stage, registry=registry
        )
        self._decisions = Counter(
            "stagewise_promotion_decisions",
            "Finished versions that were or were not better than the one that served.",
            ("stage", "decision"),
            registry=registry,
        )
        self._changes = Counter(
            "stagewise_champion_changes", "Changes of the model that serves.", ("reason",), registry=registry
        )
        self._verdicts = Counter(
            "stagewise_imported_workouts", "Workouts of uploads by verdict.", ("verdict",), registry=registry
        )
        self._start_at_zero()
        self._events, self._history = Tail(JobEvent.id), Tail(Change.id)
        self._notes = CommonNotes(folder)

    def collect(self) -> Iterable[Metric]:
        """The gauges; called by the registry."""
        return self._gauges

    def update(self, database: Database, patience: float) -> None:
        """Look at the tables. Raises TimeoutError when another look takes longer than `patience` seconds, and what
        the driver raises; then nothing is shown as waiting or running.
        """  # fmt: skip
        with self._notes.held(patience) as notes:
            self._gauges = _families()
            if notes:
                self._events.position, self._history.position = notes["events"], notes["history"]
            with database.reading() as session:
                self._look(session)
            notes.update(events=self._events.position, history=self._history.position)

    def _look(self, session: Session) -> None:
        self._gauges = _gauges(job_counts.counts(session), job_counts.waiting_since(session))
        changes = self._events.news(session, job_counts.job_changes())
        self._count_verdicts(session, [job for _, event, _, job in changes if event == "succeeded"])
        for _, event, detail, job in changes:
            self._count(event, detail, job)
        for _, reason in self._history.news(session, job_counts.champion_changes()):
            self._changes.labels(reason).inc()

    def _count(self, event: str, detail: dict[str, object], job: Job) -> None:
        stage = job.stage.value
        if event == "running" and job.stage in CLAIMED:
            self._attempts.labels(stage).inc()
        if "crashes" in detail:  # the reconciler's word for an expired lease, whatever the job's new state
            self._lost.labels(stage).inc()
        if event not in TERMINAL_STATES:
            return
        self._ended.labels(stage, event).inc()
        if job.started_at and job.finished_at:
            self._seconds.labels(stage, event).observe((job.finished_at - job.started_at).total_seconds())
        if event == JobState.FAILED:
            self._failures.labels(stage, job.error_code or "unknown").inc()
        if event == JobState.SUCCEEDED and job.stage in TRAINING_STAGES:
            promoted = bool((job.result or {}).get("promoted"))
            self._decisions.labels(stage, "promoted" if promoted else "kept").inc()

    def _count_verdicts(self, session: Session, succeeded: Sequence[Job]) -> None:
        datasets = {job.own_dataset_id for job in succeeded if job.stage == Stage.IMPORT}
        for verdict, count in job_counts.verdicts(session, datasets).items() if datasets else ():
            self._verdicts.labels(verdict).inc(count)

    def _start_at_zero(self) -> None:
        """Show every series from the start: Prometheus sees no increase in a new series."""
        for stage in CLAIMED:
            self._attempts.labels(stage.value)
            self._lost.labels(stage.value)
            for state in TERMINAL_STATES:
                self._ended.labels(stage.value, state.value)
        for trained in TRAINING_STAGES:
            for decision in ("promoted", "kept"):
                self._decisions.labels(trained.value, decision)
        for verdict in VERDICTS:
            self._verdicts.labels(verdict)
        for reason in ChampionReason:
            self._changes.labels(reason.value)


def _families() -> tuple[GaugeMetricFamily, GaugeMetricFamily]:
    """The gauges without values."""
    text = "Since when the oldest job waits that could start now, fleets' left out; 0: none waits."
    return (
        GaugeMetricFamily("stagewise_jobs", "Jobs by stage and state.", labels=["stage", "state"]),
        GaugeMetricFamily("stagewise_oldest_waiting_job_seconds", text, labels=["stage"]),
    )


def _gauges(
    counts: Mapping[tuple[Stage, JobState], int], since: Mapping[Stage, datetime]
) -> tuple[GaugeMetricFamily, GaugeMetricFamily]:
    (jobs, oldest), now = _families(), utc_now()
    for stage in Stage:
        for state in (JobState.QUEUED, JobState.RUNNING):
            jobs.add_metric([stage.value, state.value], counts.get((stage, state), 0))
    for stage in CLAIMED:
        oldest.add_metric([stage.value], max(0.0, (now - since.get(stage, now)).total_seconds()))
    return jobs, oldest
