"""Celery's settings, and what happens when the worker and its processes start and stop."""

import fcntl
import json
import multiprocessing
import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import structlog
from celery import Celery, bootsteps, signals
from celery.apps import worker as words
from kombu.entity import Queue

from service.forking import Forked, die_with_parent, freeze
from service.logs import log_as_json
from service.operations import queue
from service.registry.artifacts import ArtifactStore
from service.registry.starting import NotPrepared, check_start
from service.settings import get_settings
from worker import reconciler, transport

LOOK_SECONDS = 1.0
NICE = 5  # a training may take a little longer; a prediction has a waiting user

# Shared by fork: the parent sets it at shutdown, every process looks at it before the next batch. A plain byte, because
# a killed process could leave a lock held.
_stopping = multiprocessing.RawValue("b", 0)
log = structlog.get_logger(__name__)
_told = False  # this process alone was told to end: its siblings go on
# POSIX record locks belong to a process and vanish with it, so a killed one never keeps a training slot.
_slots = tempfile.TemporaryFile()  # noqa: SIM115 (open for as long as the process lives)


def device_count() -> int:
    """GPUs that may be used; 0 for the CPU. Asks without touching CUDA: only pool processes may do that."""
    if get_settings().device == "cpu":
        return 0
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    import torch

    return torch.cuda.device_count()


def training_slots() -> int:
    """How many jobs train at once: one per GPU, else one per core."""
    return device_count() or os.cpu_count() or 1


def _say(message: str, *_: Any) -> None:
    """What Celery says when it is told to stop, as a line like all others; a signal handler may use no lock."""
    line = {"event": message, "level": "info", "timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z")}
    os.write(1, f"{json.dumps(line)}\n".encode())


def make_app() -> Celery:
    """The worker's Celery app: one process more than training slots, so that an import always finds one."""
    log_as_json()  # by now: Celery warns of a root user before it sets logging up
    words.safe_say = _say
    transport.install()
    made = Celery("stagewise", broker=get_settings().broker_url, include=["worker.tasks"])
    made.conf.update(
        queue.broker_options(),
        task_queues=[Queue(queue.TRAINING), Queue(queue.IMPORTS)],
        worker_concurrency=training_slots() + 1,
        worker_pool="prefork",
        worker_max_tasks_per_child=1,  # a job runs in a fresh fork: its memory is given back, and all is loaded
        worker_send_task_events=False,
        worker_enable_remote_control=True,
        worker_proc_alive_timeout=60.0,
    )
    return made


app = make_app()


def stopping() -> bool:
    """Whether this worker is shutting down: stop at the next batch and hand the job back."""
    return _told or bool(_stopping.value)


@contextmanager
def training_slot() -> Iterator[int | None]:
    """One of the slots, by number (the number of its GPU), or None when all are taken."""
    for slot in range(training_slots()):
        try:
            fcntl.lockf(_slots, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, slot)
        except OSError:
            continue
        try:
            yield slot
        finally:
            fcntl.lockf(_slots, fcntl.LOCK_UN, 1, slot)
        return
    yield None


class KeepReconciler(bootsteps.StartStopStep):
    """Runs the reconciler beside the pool (a forked process, because threads and forks do not mix) and starts it again
    when it has ended: without one no lease would ever be over.
    """  # fmt: skip

    requires = ("celery.worker.components:Timer", "celery.worker.components:Hub")

    def __init__(self, worker: Any, **options: Any) -> None:
        super().__init__(worker, **options)
        self.process: Forked | None = None

    def start(self, worker: Any) -> None:
        """Look every second, from the worker's own event loop."""
        self.look()
        worker.timer.call_repeatedly(LOOK_SECONDS, self.look)

    def look(self) -> None:
        """Start the reconciler if none runs."""
        if not stopping() and (self.process is None or self.process.poll() is not None):
            self.process = Forked(reconciler.main, "python -m worker.reconciler")


app.steps["worker"].add(KeepReconciler)


@signals.setup_logging.connect
def set_up_logging(**_: Any) -> None:
    """JSON lines in place of Celery's own format, in the worker and in each of its processes."""
    log_as_json()


@signals.worker_init.connect
def check(**_: Any) -> None:
    """Refuse to run jobs with a damaged database or with the artifact folder of another database."""
    settings = get_settings()
    try:
        check_start(settings.database_url, ArtifactStore(settings.artifact_dir))
    except NotPrepared as error:
        log.error("does not start", reason=str(error))
        raise SystemExit(1) from error
    freeze()  # the pool is forked next


@signals.worker_shutting_down.connect
def stop_jobs(**_: Any) -> None:
    """Every running job stops at its next batch and goes back to queued."""
    _stopping.value = 1


@signals.worker_process_init.connect
def prepare_process(**_: Any) -> None:
    """One torch thread, gone with the parent, and behind the API where both want the same core."""
    import torch

    os.nice(NICE)
    torch.set_num_threads(1)
    die_with_parent()


@contextmanager
def handing_back() -> Iterator[None]:
    """A SIGTERM to this process stops its job at the next batch, which hands it back, and only then ends the process.

    Put around the work: a handler set when the process starts is replaced by the pool's own.
    """
    usual = signal.signal(signal.SIGTERM, _stop_this_process)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, usual)
        if _told:
            os.kill(os.getpid(), signal.SIGTERM)


def _stop_this_process(_signal: int, _frame: Any) -> None:
    global _told
    _told = True
