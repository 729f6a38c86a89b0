"""The Celery functions: a hint in, nothing out, harmless twice."""

import os
import socket
import time
from functools import lru_cache

import structlog

from service.operations import queue
from service.registry import jobs
from service.registry.artifacts import ArtifactStore
from service.registry.session import Database
from service.registry.tables import Stage
from service.settings import get_settings
from worker.app import app, device_count, handing_back, stopping, training_slot
from worker.reporter import Context
from worker.runner import run_job

LAST_READ_SECONDS = 1.0  # for so long this worker may still take a hint, on which it would not act

log = structlog.get_logger(__name__)


@lru_cache(maxsize=1)
def context() -> Context:
    """This process's connections; made after the fork, never before."""
    settings = get_settings()
    return Context(
        database=Database(settings.database_url),
        store=ArtifactStore(settings.artifact_dir),
        lease_seconds=settings.lease_seconds,
        worker=f"{socket.gethostname()}:{os.getpid()}",
        stopping=stopping,
    )


@app.task(name=queue.TRAINING)
def train() -> None:
    """Train claimable jobs until there are none. The rows hold everything; the message holds nothing."""
    with handing_back(), training_slot() as slot:
        if slot is None:
            return  # all slots are busy; each drains the queue before it ends
        run_claimable(jobs.TRAINING_STAGES, f"cuda:{slot}" if device_count() else "cpu")


@app.task(name=queue.IMPORTS)
def import_uploads() -> None:
    """Import claimable uploads until there are none."""
    with handing_back():
        run_claimable(jobs.IMPORT_STAGES, "cpu")


def run_claimable(stages: tuple[Stage, ...], device: str) -> None:
    """Claim and run until nothing is claimable or the worker shuts down; then others go on at once."""
    worker_context = context()
    while not stopping():
        with worker_context.database.unit_of_work() as session:
            claim = jobs.claim_next(session, worker_context.worker, stages, worker_context.lease_seconds)
        if claim is None:
            return
        run_job(worker_context, claim, device)
    time.sleep(LAST_READ_SECONDS)
    sender = queue.BrokerSender(get_settings().broker_url)
    sender.send(queue.queue_of(stages[0]))
    sender.close()
