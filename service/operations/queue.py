"""Hints over the broker: "there is work". The rows hold everything, so a hint may be lost, doubled or late.

A request never waits for the broker: hints go out after the commit, from one daemon thread with a bounded queue.
"""

import contextlib
import queue
import threading
from typing import Any, Protocol

import structlog
from celery import Celery
from sqlalchemy import event
from sqlalchemy.orm import Session

from service.logs import current_request
from service.registry.tables import Stage

TRAINING = "stagewise.training"  # the name of the task and of its queue
IMPORTS = "stagewise.imports"
BACKLOG = 1000
CONNECT_SECONDS = 5.0
_PENDING = "stagewise_hints"

log = structlog.get_logger(__name__)


class Sender(Protocol):
    """Takes hints: the broker's thread, or a list in tests."""

    def send(self, name: str) -> None:
        """Say that there is work for `name`; never blocks, never raises."""


def queue_of(stage: Stage) -> str:
    """Imports have a queue of their own, so that a long training never holds up an upload."""
    return IMPORTS if stage == Stage.IMPORT else TRAINING


def broker_options() -> dict[str, Any]:
    """Settings that the sender and the worker share."""
    return {
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_ignore_result": True,
        "result_backend": None,
        "task_acks_late": False,
        "worker_disable_prefetch": True,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_transport_options": {"socket_connect_timeout": CONNECT_SECONDS, "socket_timeout": 30.0},
        "task_create_missing_queues": True,
    }


class BrokerSender:
    """Sends hints from one daemon thread, which the first hint starts. A full queue drops the hint: the reconciler
    repeats it.
    """  # fmt: skip

    def __init__(self, broker_url: str) -> None:
        self._app = Celery("stagewise-hints", broker=broker_url)
        self._app.conf.update(broker_options())
        self._hints: queue.Queue[tuple[str, str | None] | None] = queue.Queue(maxsize=BACKLOG)
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def send(self, name: str) -> None:
        """Say that there is work for `name`."""
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="hints", daemon=True)
                self._thread.start()
        with contextlib.suppress(queue.Full):
            self._hints.put_nowait((name, current_request()))

    def close(self) -> None:
        """Let the thread end after the queued hints; does not wait for a dead broker."""
        with contextlib.suppress(queue.Full):
            self._hints.put_nowait(None)
        if self._thread is not None:
            self._thread.join(timeout=1.0)

    def _run(self) -> None:
        while (hint := self._hints.get()) is not None:
            name, request_id = hint
            try:
                self._app.send_task(name, queue=name, retry=False, ignore_result=True)
            except Exception as error:  # a thread that dies would silence every later hint
                log.warning("hint not sent", queue=name, error=type(error).__name__, request_id=request_id)


def hint(session: Session, stage: Stage) -> None:
    """Send a hint after this session's commit; a rollback drops it."""
    session.info.setdefault(_PENDING, set()).add(queue_of(stage))


def send_after_commit(session: Session, sender: Sender) -> None:
    """Let `hint`s of this session reach `sender` once its transaction is committed."""

    @event.listens_for(session, "after_commit")
    def _send(committed: Session) -> None:
        for name in sorted(committed.info.pop(_PENDING, set())):
            sender.send(name)

    @event.listens_for(session, "after_rollback")
    def _drop(rolled_back: Session) -> None:
        rolled_back.info.pop(_PENDING, None)
