"""A worker process with a fake job of 8 epochs: its "model" is a chain of hashes, so a lost or doubled epoch shows.

Usage: python -m tests.worker.fake_job DATABASE_URL ARTIFACT_DIR LEASE_SECONDS EPOCH_SECONDS
"""

import hashlib
import sys
import time
from pathlib import Path

from service.registry import jobs
from service.registry.artifacts import ArtifactStore
from service.registry.session import Database
from service.registry.tables import Job
from worker.reporter import Context, EpochReport, Reporter

EPOCHS = 8


def link(state: bytes, epoch: int) -> bytes:
    return hashlib.sha256(state + bytes([epoch])).digest()


def uninterrupted() -> bytes:
    state = b"start"
    for epoch in range(1, EPOCHS + 1):
        state = link(state, epoch)
    return state


def work(context: Context, claim: jobs.Claim, epoch_seconds: float) -> None:
    reporter = Reporter(context, claim)
    with context.database.reading() as session:
        job = session.get_one(Job, claim.job_id)
    state = context.store.read(job.account_id, job.latest_sha256)[1:] if job.latest_sha256 else b"start"
    for epoch in range(job.epoch + 1, EPOCHS + 1):
        for _ in range(10):
            time.sleep(epoch_seconds / 10)
            reporter.beat()
        state = link(state, epoch)
        sha256 = context.store.put(job.account_id, bytes([epoch]) + state)
        metrics = {
            "epoch": epoch,
            "train_loss": 1 / epoch,
            "val_loss": None,
            "learning_rate": 1e-3,
            "epoch_time": 0.1,
            "trainable_parameters": 1,
        }
        reporter.epoch(EpochReport(metrics=metrics, sha256=sha256, message=f"epoch {epoch}"))
    with context.database.unit_of_work() as session:
        jobs.succeed(session, claim, {"digest": state.hex()})


def main(database_url: str, artifacts: str, lease: str, epoch_seconds: str) -> None:
    context = Context(
        database=Database(database_url),
        store=ArtifactStore(Path(artifacts)),
        lease_seconds=float(lease),
        worker="fake",
        stopping=lambda: False,
    )
    while True:
        with context.database.unit_of_work() as session:
            jobs.reconcile(session)
        with context.database.unit_of_work() as session:
            claim = jobs.claim_next(session, "fake", jobs.TRAINING_STAGES, context.lease_seconds)
        if claim:
            work(context, claim, float(epoch_seconds))
            return
        time.sleep(0.1)


if __name__ == "__main__":
    main(*sys.argv[1:])
