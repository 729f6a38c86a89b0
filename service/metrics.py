"""What Prometheus reads: requests, how long predictions take, and jobs that wait or run."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from service.registry import job_history
from service.registry.session import Database
from service.registry.tables import JobState, Stage

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Metrics:
    """The counters of one API process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "stagewise_http_requests",
            "Requests by route and answer.",
            ("method", "route", "status"),
            registry=self._registry,
        )
        self.predictions = Histogram(
            "stagewise_predict_seconds", "Seconds per prediction.", buckets=BUCKETS, registry=self._registry
        )
        self._jobs = Gauge("stagewise_jobs", "Jobs by stage and state.", ("stage", "state"), registry=self._registry)

    def text(self, database: Database) -> bytes:
        """Everything in Prometheus' text format; jobs are counted in SQL now. Raises what the driver raises."""
        with database.reading() as session:
            counts = job_history.counts(session)
        for stage in Stage:
            for state in (JobState.QUEUED, JobState.RUNNING):
                self._jobs.labels(stage.value, state.value).set(counts.get((stage, state), 0))
        return generate_latest(self._registry)
