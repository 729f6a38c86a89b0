"""The worker as the chaos tests start it: the real one with the timing of a test, and poison jobs that kill it.

A process of this module loads everything once and then forks a worker for each line of its standard input, which names
the worker's log; it answers with the process id. (Loading takes 4 s of a core, and there are a hundred starts.)

`CHAOS_WITHOUT` takes a promise out, to prove that the checker notices: `fencing` lets a worker write whatever its
attempt; `swap` lets a promotion win whoever serves by now.
"""

import os
import signal
import sys
import time
from importlib import import_module
from typing import Any

from service.forking import die_with_parent
from service.registry import jobs, promotion
from service.registry.tables import Champion, Job, JobState
from worker import completion, training

# Loaded before the fork, like all that is imported above. Not worker.app: what it shares belongs to one worker.
LOADED = ("celery.apps.worker", "celery.concurrency.prefork", "worker.runner", "worker.transport", "celery.bin.celery")
EPOCH_SECONDS = 0.3
DECISION_SECONDS = 0.15  # between looking at the champion and replacing it
POISON_SEED = 666
WITHOUT = "CHAOS_WITHOUT"
FENCING, SWAP = "fencing", "swap"
ARGUMENTS = ["worker", "--loglevel", "INFO", "--without-gossip", "--without-mingle"]


def slow_down() -> None:
    """Let an epoch and a decision last long enough to be interrupted, and poison jobs kill their process."""
    fit, score_champion = training.fit, completion.score_champion

    def slow_fit(model: Any, train: Any, val: Any, stage: Any, *, on_batch: Any, **options: Any) -> Any:
        def slow_batch(state: Any) -> None:
            if stage.seed == POISON_SEED:
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(EPOCH_SECONDS / state.batches)
            on_batch(state)

        return fit(model, train, val, stage, on_batch=slow_batch, **options)

    def slow_champion(*arguments: Any) -> Any:
        champion = score_champion(*arguments)
        time.sleep(DECISION_SECONDS)
        return champion

    training.fit, completion.score_champion = slow_fit, slow_champion


def take_out_fencing() -> None:
    jobs.fencing = lambda claim: (Job.id == claim.job_id, Job.state == JobState.RUNNING)


def take_out_swap() -> None:
    promote = promotion.promote

    def promote_anyway(session: Any, subject_id: Any, version_id: Any, **options: Any) -> None:
        now = session.get_one(Champion, subject_id, with_for_update=True, populate_existing=True)
        promote(session, subject_id, version_id, **{**options, "expected_revision": now.revision})

    promotion.promote = promote_anyway


def become_worker(log: str) -> None:
    """Never returns: this process is a worker from now on, with a group of its own that can be killed at once."""
    os.setsid()
    die_with_parent()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    output, nothing = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    import_module("worker.app").app.worker_main(ARGUMENTS)
    sys.exit()


def main() -> None:
    slow_down()
    {FENCING: take_out_fencing, SWAP: take_out_swap, "": lambda: None}[os.environ.get(WITHOUT, "")]()
    for name in LOADED:
        import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    while log := sys.stdin.readline().strip():
        if (pid := os.fork()) == 0:
            become_worker(log)
        print(pid, flush=True)


if __name__ == "__main__":
    main()
