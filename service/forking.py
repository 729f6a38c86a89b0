"""Processes forked from this one: they start at once, and share its memory as long as nobody writes to it."""

import contextlib
import ctypes
import gc
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Collection
from pathlib import Path

from setproctitle import getproctitle, setproctitle

PR_SET_PDEATHSIG = 1
getproctitle()  # it looks for the command line's place now: after a change of the environment it finds none
_OPEN_FILES = Path("/dev/fd")
_libc = ctypes.CDLL(None)  # loaded here: a fork of a threaded process should not load anything


def die_with_parent() -> None:
    """Let the kernel kill this process when its parent has ended, for whatever reason (Linux)."""
    if sys.platform == "linux":
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def freeze() -> None:
    """Keep the garbage collector of forked processes away from what exists now: it would write to all of it, and
    memory that was written to is shared no longer.
    """  # fmt: skip
    gc.collect()
    gc.freeze()


class Forked:
    """A forked process that runs a function; of `subprocess.Popen` it has what a supervisor needs.

    It dies with its parent, has the usual signal handlers, and of the open files only standard input, output and error
    and `keep_open`; None: all, for a function that uses objects of the parent that close their files at some time.
    `title`: its command line for `ps`. `output`: a file for standard output and error. `own_session`: it has a session
    of its own, may have children, and is for its parent to end; else it is told to end when its parent exits. To be
    made in a process without threads.
    """

    def __init__(
        self,
        run: Callable[[], None],
        title: str,
        *,
        output: int | None = None,
        keep_open: Collection[int] | None = (),
        own_session: bool = False,
    ) -> None:
        freeze()
        process = multiprocessing.get_context("fork").Process(
            target=_begin, args=(run, title, output, keep_open, own_session), daemon=not own_session
        )
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # until it has handlers of its own
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        self._process = process

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        """Its exit status, negative for the signal that ended it; None while it runs."""
        return self._process.exitcode

    def terminate(self) -> None:
        """SIGTERM."""
        self._process.terminate()

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()

    def wait(self) -> int:
        """Return its exit status once it has ended."""
        self._process.join()
        status = self._process.exitcode
        assert status is not None
        return status


def _begin(
    run: Callable[[], None], title: str, output: int | None, keep_open: Collection[int] | None, own_session: bool
) -> None:
    """In the new process."""
    die_with_parent()
    setproctitle(title)
    if own_session:
        os.setsid()
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.set_wakeup_fd(-1)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())
    if output is not None:
        os.dup2(output, 1)
        os.dup2(output, 2)
    if keep_open is not None:
        _close_files(keep_open)
    run()


def _close_files(keep_open: Collection[int]) -> None:
    """Locks, sockets and pipes of the parent: an open copy would hold them beyond its end."""
    for number in [int(entry.name) for entry in _OPEN_FILES.iterdir()]:
        if number > 2 and number not in keep_open:
            with contextlib.suppress(OSError):
                os.close(number)
