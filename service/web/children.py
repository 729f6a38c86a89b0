"""The parent of the API's processes: forks them once everything is imported, keeps them alive, ends them together."""

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

import structlog

from service.forking import die_with_parent
from service.local.child import FIRST_DELAY, LONGEST_DELAY, STEADY_SECONDS
from service.local.embedded import StopRequest
from service.web.processes import NOT_SERVING, Processes

POLL_SECONDS = 0.1
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

log = structlog.get_logger(__name__)


@dataclass
class Fork:
    """A child."""

    number: int
    pid: int = 0  # 0: it has ended
    delay: float = FIRST_DELAY
    started_at: float = 0.0
    restart_at: float = 0.0


class Children:
    """Processes that do the same. `grace`: s between SIGTERM and SIGKILL."""

    def __init__(self, processes: Processes, serve: Callable[[], None], grace: float) -> None:
        assert threading.active_count() == 1, "a fork would copy the locks of other threads, but not the threads"
        self._processes, self._serve, self._grace = processes, serve, grace
        self._forks = [Fork(number) for number in range(processes.count)]

    def run(self, stop: StopRequest) -> int:
        """Keep them alive until a stop is asked for; 0. When none can serve: their exit status."""
        try:
            while not stop.made():
                for fork in self._forks:
                    status = self._ended(fork)
                    if status and not self._processes.serving:
                        return status
                    if not fork.pid and time.monotonic() >= fork.restart_at:
                        self._start(fork)
                time.sleep(POLL_SECONDS)
            return 0
        finally:
            self._stop(stop)

    def _ended(self, fork: Fork) -> int | None:
        """The exit status of a child that has ended just now before it could serve; 1 if that was 0."""
        if not fork.pid:
            return None
        pid, waited = os.waitpid(fork.pid, os.WNOHANG)
        if not pid:
            return None
        status, now = os.waitstatus_to_exitcode(waited), time.monotonic()
        has_served = self._processes.open[fork.number] != NOT_SERVING
        self._processes.clear(fork.number)
        if now - fork.started_at > STEADY_SECONDS:
            fork.delay = FIRST_DELAY
        log.error("a process of the API has ended", status=status, again_in_seconds=fork.delay)
        fork.pid, fork.restart_at, fork.delay = 0, now + fork.delay, min(2 * fork.delay, LONGEST_DELAY)
        return None if has_served else (status if status > 0 else 1)

    def _start(self, fork: Fork) -> None:
        parent = os.getpid()
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # our handlers are not the child's
        fork.pid, fork.started_at = os.fork(), time.monotonic()
        if fork.pid:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            return
        die_with_parent()
        if os.getppid() != parent:  # it died before the kernel was asked
            os._exit(1)
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        self._processes.become(fork.number)
        self._be_child()

    def _be_child(self) -> NoReturn:
        status = 1
        try:
            self._serve()
            status = 0
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else 1
        except BaseException:  # the parent's stack must not run on here, whatever happens
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def _stop(self, stop: StopRequest) -> None:
        """SIGTERM to all; SIGKILL to those that have not ended within the grace, or on a second signal."""
        for fork in self._forks:
            if fork.pid:
                os.kill(fork.pid, signal.SIGTERM)
        deadline, killed = time.monotonic() + self._grace, False
        while running := [fork for fork in self._forks if fork.pid]:
            if not killed and (time.monotonic() > deadline or stop.hurried()):
                killed = True
                for fork in running:
                    os.kill(fork.pid, signal.SIGKILL)
            for fork in running:
                if os.waitpid(fork.pid, os.WNOHANG)[0]:
                    fork.pid = 0
            time.sleep(POLL_SECONDS / 5)
