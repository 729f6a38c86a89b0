"""The parent of the API's processes: forks them once everything is imported, keeps them alive, ends them together."""

import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import structlog

from service.forking import Forked
from service.local.child import FIRST_DELAY, LONGEST_DELAY, STEADY_SECONDS
from service.local.embedded import StopRequest
from service.web.accepting import Acceptor
from service.web.processes import NOT_SERVING, Processes

POLL_SECONDS = 0.1

log = structlog.get_logger(__name__)


@dataclass
class Fork:
    """A child."""

    number: int
    process: Forked | None = None  # None: it has ended
    delay: float = FIRST_DELAY
    started_at: float = 0.0
    restart_at: float = 0.0


class Children:
    """Processes that do the same, each with the connections that it is passed. `serve` is given the child's end of a
    pair of sockets, see `Acceptor`. `grace`: s between SIGTERM and SIGKILL.
    """  # fmt: skip

    def __init__(
        self, processes: Processes, acceptor: Acceptor, serve: Callable[[socket.socket], None], grace: float
    ) -> None:
        assert threading.active_count() == 1, "a fork would copy the locks of other threads, but not the threads"
        self._processes, self._acceptor, self._serve, self._grace = processes, acceptor, serve, grace
        self._forks = [Fork(number) for number in range(processes.count)]

    def run(self, stop: StopRequest) -> int:
        """Keep them alive until a stop is asked for; 0. When none can serve: their exit status."""
        try:
            while not stop.made():
                for fork in self._forks:
                    status = self._ended(fork)
                    if status and not self._processes.serving:
                        return status
                    if fork.process is None and time.monotonic() >= fork.restart_at:
                        self._start(fork)
                self._acceptor.accept(POLL_SECONDS)
            return 0
        finally:
            self._stop(stop)

    def _ended(self, fork: Fork) -> int | None:
        """The exit status of a child that has ended just now before it could serve; 1 if that was 0."""
        status = None if fork.process is None else fork.process.poll()
        if status is None:
            return None
        now, has_served = time.monotonic(), self._processes.open[fork.number] != NOT_SERVING
        self._processes.clear(fork.number)
        if now - fork.started_at > STEADY_SECONDS:
            fork.delay = FIRST_DELAY
        log.error("a process of the API has ended", status=status, again_in_seconds=fork.delay)
        fork.process, fork.restart_at, fork.delay = None, now + fork.delay, min(2 * fork.delay, LONGEST_DELAY)
        return None if has_served else (status if status > 0 else 1)

    def _start(self, fork: Fork) -> None:
        title = f"python -m service.web.serve (process {fork.number + 1} of {self._processes.count})"
        with self._acceptor.join(fork.number) as end:
            fork.process = Forked(partial(self._be, fork.number, end), title, keep_open=None, own_session=True)
        fork.started_at = time.monotonic()

    def _be(self, number: int, end: socket.socket) -> None:
        """In the child."""
        self._acceptor.close()  # the parent's, in which nothing else may keep a pair open
        self._processes.become(number)
        self._serve(end)

    def _stop(self, stop: StopRequest) -> None:
        """Accept no more; SIGTERM to all; SIGKILL to those still there after the grace, or on a second signal."""
        self._acceptor.close()
        started = [fork.process for fork in self._forks if fork.process is not None]
        for process in started:
            process.terminate()
        deadline = time.monotonic() + self._grace
        while time.monotonic() < deadline and not stop.hurried() and any(process.poll() is None for process in started):
            time.sleep(POLL_SECONDS / 5)
        for process in started:
            process.kill()
            process.wait()
