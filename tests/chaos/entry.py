"""The worker as the chaos tests start it: the real one with the timing of a test, and poison jobs that kill it.

`CHAOS_WITHOUT` takes a promise out, to prove that the checker notices: `fencing` lets a worker write whatever its
attempt; `swap` lets a promotion win whoever serves by now.
"""

import os
import signal
import sys
import time
from types import ModuleType
from typing import Any

import torch

from service.registry import champions, jobs
from service.registry.tables import Champion, Job, JobState
from worker import completion, training
from worker.app import app

EPOCH_SECONDS = 0.3
DECISION_SECONDS = 0.15  # between looking at the champion and replacing it
POISON_SEED = 666
WITHOUT = "CHAOS_WITHOUT"
FENCING, SWAP = "fencing", "swap"


def without_compiler() -> None:
    """Adam loads torch's compiler for 2 s and then asks it for nothing: a worker that lives a minute has no time."""
    compiler = ModuleType("torch._dynamo")
    compiler.disable = lambda function, *_, **__: function
    compiler.graph_break = lambda *_, **__: None
    sys.modules["torch._dynamo"] = torch._dynamo = compiler


def slow_down() -> None:
    """Let an epoch and a decision last long enough to be interrupted, and poison jobs kill their process."""
    fit, rival = training.fit, completion._rival

    def slow_fit(model: Any, train: Any, val: Any, stage: Any, *, on_batch: Any, **options: Any) -> Any:
        def slow_batch(state: Any) -> None:
            if stage.seed == POISON_SEED:
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(EPOCH_SECONDS / state.batches)
            on_batch(state)

        return fit(model, train, val, stage, on_batch=slow_batch, **options)

    def slow_rival(*arguments: Any) -> Any:
        found = rival(*arguments)
        time.sleep(DECISION_SECONDS)
        return found

    training.fit, completion._rival = slow_fit, slow_rival


def take_out_fencing() -> None:
    jobs._ours = lambda claim: (Job.id == claim.job_id, Job.state == JobState.RUNNING)


def take_out_swap() -> None:
    promote = champions.promote

    def promote_anyway(session: Any, subject_id: Any, version_id: Any, **options: Any) -> None:
        now = session.get_one(Champion, subject_id, with_for_update=True, populate_existing=True)
        promote(session, subject_id, version_id, **{**options, "expected_revision": now.revision})

    champions.promote = promote_anyway


if __name__ == "__main__":
    without_compiler()
    slow_down()
    {FENCING: take_out_fencing, SWAP: take_out_swap, "": lambda: None}[os.environ.get(WITHOUT, "")]()
    app.worker_main(["worker", "--loglevel", "INFO", "--without-gossip", "--without-mingle"])
