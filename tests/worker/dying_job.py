"""A worker process that takes one training job and kills itself with signal 9 in an epoch, after so many batches.

Usage: python -m tests.worker.dying_job DATABASE_URL ARTIFACT_DIR EPOCH BATCHES
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hrmodel.training.fit import fit
from hrmodel.training.state import TrainingState
from service.registry import jobs
from service.registry.artifacts import ArtifactStore
from service.registry.session import Database
from worker import training
from worker.reporter import Context
from worker.runner import run_job

BATCHES = 4  # of an epoch: 7 workouts, two at a time


def dies_at(epoch: int, batch: int, die: Callable[[], Any]) -> Callable[..., Any]:
    """`fit` that dies in that epoch, after so many batches."""

    def dying(*args: Any, on_batch: Callable[[TrainingState], None], **options: Any) -> TrainingState:
        def watched(state: TrainingState) -> None:
            on_batch(state)
            if (state.epoch + 1, state.batch) == (epoch, batch):
                die()

        return fit(*args, on_batch=watched, **options)

    return dying


def main(database_url: str, artifacts: str, epoch: str, batch: str) -> None:
    store = ArtifactStore(Path(artifacts))
    context = Context(
        database=Database(database_url), store=store, lease_seconds=60.0, worker="dying", stopping=lambda: False
    )
    training.fit = dies_at(int(epoch), int(batch), lambda: os.kill(os.getpid(), signal.SIGKILL))
    with context.database.unit_of_work() as session:
        claim = jobs.claim_next(session, "dying", jobs.TRAINING_STAGES, context.lease_seconds)
    run_job(context, claim, "cpu")


if __name__ == "__main__":
    main(*sys.argv[1:])
