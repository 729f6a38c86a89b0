"""Metrics for Prometheus: requests, predictions, models in memory, jobs, missing parts, free disk space."""

import os
import shutil
from collections.abc import Callable, Collection, Iterator
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
    values,
)
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector

from service.operations.job_metrics import JobCounters
from service.operations.process_metrics import ProcessFigures
from service.web.processes import Processes

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
PARTS = ("database", "broker", "worker")
BUILD = InfoMetricFamily("stagewise_build", "What runs.", {"version": version("stagewise")})

disable_created_metrics()  # when each series began: twice the lines, for no reader


class Metrics:
    """The counters of one API. Its processes count into files of their own, and each answers with the sums."""

    def __init__(
        self, artifacts: Path, streams: Callable[[], int], max_batch: int, processes: Processes | None = None
    ) -> None:
        processes = processes or Processes()
        self._folder = processes.folder
        self._counted = registry = CollectorRegistry()
        self._now = CollectorRegistry()  # what the process that answers finds out for all
        labels = ("method", "route")
        self.requests = Counter(
            "stagewise_http_requests", "Requests by route and answer.", (*labels, "status"), registry=registry
        )
        self.request_seconds = Histogram(
            "stagewise_http_request_seconds",
            "Seconds until the answer begins.",
            labels,
            buckets=BUCKETS,
            registry=registry,
        )
        self.predictions = Histogram(
            "stagewise_predict_seconds", "Seconds per prediction.", buckets=BUCKETS, registry=registry
        )
        batches = [2**n for n in range(max_batch.bit_length())]
        self.batches = Histogram(
            "stagewise_predict_batch_size", "Predictions made at once.", buckets=batches, registry=registry
        )
        self.cache = CacheMetrics(registry)
        self.jobs = JobCounters(registry, self._now, processes.folder)
        self._away: Collection[str] = ()
        self._now.register(_Watched(lambda: [self._degraded(), _streams(streams()), BUILD, *_disk(artifacts)]))
        self._now.register(ProcessFigures(processes))

        self._request = cache(self._request_of)  # finding a series by its labels takes longer than counting

    def count_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """One answer that took so long to begin."""
        answers, times = self._request(method, route, status)
        answers.inc()
        times.observe(seconds)

    def _request_of(self, method: str, route: str, status: int) -> tuple[Counter, Histogram]:
        return self.requests.labels(method, route, str(status)), self.request_seconds.labels(method, route)

    def text(self, away: Collection[str]) -> bytes:
        """Everything in Prometheus' text format; `away`: the parts that do not answer."""
        self._away = away
        counted = self._counted
        if self._folder is not None:
            counted = CollectorRegistry()
            MultiProcessCollector(counted, str(self._folder))
        return generate_latest(counted) + generate_latest(self._now)

    def _degraded(self) -> Metric:
        family = GaugeMetricFamily("stagewise_degraded", "1: this part is away, as /readyz says.", labels=["part"])
        for part in PARTS:
            family.add_metric([part], part in self._away)
        return family


class CacheMetrics:
    """What the caches of models count."""

    def __init__(self, registry: CollectorRegistry) -> None:
        name = "stagewise_model_cache"
        self._uses = {
            "hit": Counter(f"{name}_hits", "Predictions whose model was in memory.", registry=registry),
            "miss": Counter(f"{name}_misses", "Predictions whose model was not.", registry=registry),
            "load": Counter(f"{name}_loads", "Models read from their files.", registry=registry),
        }
        gauge = partial(Gauge, registry=registry, multiprocess_mode="sum")
        self._models = gauge(f"{name}_models", "Models in memory.")
        self._bytes = gauge(f"{name}_bytes", "What they take, about.")

    def use(self, what: str) -> None:
        """Count a hit, a miss or a load."""
        self._uses[what].inc()

    def fill(self, models: int, size: int) -> None:
        """So many models, of so many bytes, are in this process's memory."""
        self._models.set(models)
        self._bytes.set(size)


def share_counters(processes: Processes) -> None:
    """Let the counters that are made from now on be those of all processes: each keeps its own in a file of the common
    folder, under its number, so that a successor goes on counting where a dead process stopped.
    """  # fmt: skip
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(processes.folder)
    values.ValueClass = values.MultiProcessValue(lambda: processes.own)


class _Watched:
    """Figures of other objects, read on each scrape."""

    def __init__(self, read: Callable[[], list[Metric]]) -> None:
        self._read = read

    def collect(self) -> list[Metric]:
        """Called by the registry."""
        return self._read()


def _streams(number: int) -> Metric:
    return GaugeMetricFamily("stagewise_live_streams", "Clients that follow a job live.", number)


def _disk(artifacts: Path) -> Iterator[Metric]:
    """Of the file system that the artifact folder is on, or will be."""
    folder = next((place for place in (artifacts, *artifacts.resolve().parents) if place.exists()), None)
    if folder is not None:
        usage = shutil.disk_usage(folder)
        yield GaugeMetricFamily("stagewise_artifact_disk_free_bytes", "Room for models and workouts.", usage.free)
        yield GaugeMetricFamily("stagewise_artifact_disk_size_bytes", "The size of their disk.", usage.total)
