"""Metrics for Prometheus: requests, predictions, models in memory, jobs, missing parts, free disk space."""

import shutil
from collections.abc import Callable, Collection, Iterator, Sized
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from service.operations.job_metrics import JobCounters

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
PARTS = ("database", "broker", "worker")

disable_created_metrics()  # when each series began: twice the lines, for no reader


class CacheCounters(Sized, Protocol):
    """A cache of models, and what it has counted."""

    hits: int
    misses: int
    loads: int

    @property
    def bytes(self) -> int:
        """What the models take, about."""


class Metrics:
    """The counters of one API process."""

    def __init__(self, models: CacheCounters, artifacts: Path, streams: Callable[[], int], max_batch: int) -> None:
        self._registry = registry = CollectorRegistry()
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
        self.jobs = JobCounters(registry)
        self._degraded = Gauge(
            "stagewise_degraded", "1: this part is away, as /readyz says.", ("part",), registry=registry
        )
        live = Gauge("stagewise_live_streams", "Clients that follow a job live.", registry=registry)
        live.set_function(streams)
        Info("stagewise_build", "What runs.", registry=registry).info({"version": version("stagewise")})
        registry.register(_Watched(lambda: [*_cache(models), *_disk(artifacts)]))
        ProcessCollector(registry=registry)

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
        for part in PARTS:
            self._degraded.labels(part).set(part in away)
        return generate_latest(self._registry)


class _Watched:
    """Figures of other objects, read on each scrape."""

    def __init__(self, read: Callable[[], list[Metric]]) -> None:
        self._read = read

    def collect(self) -> list[Metric]:
        """Called by the registry."""
        return self._read()


def _cache(models: CacheCounters) -> Iterator[Metric]:
    name = "stagewise_model_cache"
    yield CounterMetricFamily(f"{name}_hits", "Predictions whose model was in memory.", models.hits)
    yield CounterMetricFamily(f"{name}_misses", "Predictions whose model was not.", models.misses)
    yield CounterMetricFamily(f"{name}_loads", "Models read from their files.", models.loads)
    yield GaugeMetricFamily(f"{name}_models", "Models in memory.", len(models))
    yield GaugeMetricFamily(f"{name}_bytes", "What they take, about.", models.bytes)


def _disk(artifacts: Path) -> Iterator[Metric]:
    """Of the file system that the artifact folder is on, or will be."""
    folder = next((place for place in (artifacts, *artifacts.resolve().parents) if place.exists()), None)
    if folder is not None:
        usage = shutil.disk_usage(folder)
        yield GaugeMetricFamily("stagewise_artifact_disk_free_bytes", "Room for models and workouts.", usage.free)
        yield GaugeMetricFamily("stagewise_artifact_disk_size_bytes", "The size of their disk.", usage.total)
