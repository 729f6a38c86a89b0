"""One supervised process: its log, its restarts, its end."""

import contextlib
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from service.forking import Forked, die_with_parent

FIRST_DELAY, LONGEST_DELAY = 0.5, 30.0  # s before a restart; doubled each time
STEADY_SECONDS = 60.0  # after so long alive, the next restart has the first delay again
LOG_BYTES = 10_000_000  # a longer log is renamed
TAIL_BYTES, TAIL_LINES = 20_000, 15


@dataclass(eq=False)
class Child:
    """A process to keep alive. `grace`: s between SIGTERM and SIGKILL."""

    name: str
    command: list[str]
    environment: dict[str, str]
    log: Path
    grace: float
    keep_open: tuple[int, ...] = ()
    delay: float = FIRST_DELAY
    started_at: float = 0.0
    restart_at: float | None = None
    process: subprocess.Popen[bytes] | Forked | None = None

    def start(self) -> None:
        """Start it in a session of its own: Ctrl-C then reaches only the supervisor, which ends all in order."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.put_log_aside()
        with self.log.open("ab") as output:
            self.process = self.launch(output.fileno())
        self.started_at, self.restart_at = time.monotonic(), None

    def launch(self, output: int) -> subprocess.Popen[bytes] | Forked:
        """The new process, which writes into the file `output`."""
        return subprocess.Popen(
            self.command,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=self.keep_open,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )

    @property
    def exit_status(self) -> int | None:
        """None while it runs, and before its start; negative: the signal that ended it."""
        return None if self.process is None else self.process.poll()

    def keep_alive(self) -> None:
        """Start it again if it ended: say so with the end of its log, and wait longer each time."""
        self.put_log_aside()
        now = time.monotonic()
        if self.restart_at is None and self.exit_status is not None:
            if now - self.started_at > STEADY_SECONDS:
                self.delay = FIRST_DELAY
            print(
                f"{self.name} ended with {self.exit_status}; again in {self.delay:g} s. Its last words:",
                file=sys.stderr,
            )
            print(self.log_tail(), file=sys.stderr, flush=True)
            self.restart_at, self.delay = now + self.delay, min(2 * self.delay, LONGEST_DELAY)
        if self.restart_at is not None and now >= self.restart_at:
            self.start()

    def put_log_aside(self) -> None:
        """Copy a long log to `.log.1` and empty it: the child keeps it open and appends. A line that it writes between
        the two is lost.
        """  # fmt: skip
        if not self.log.exists() or self.log.stat().st_size <= LOG_BYTES:
            return
        try:
            shutil.copyfile(self.log, self.log.with_suffix(".log.1"))
        except OSError:  # a full disk: the new log matters more than the old one
            self.log.with_suffix(".log.1").unlink(missing_ok=True)
        os.truncate(self.log, 0)

    def log_tail(self) -> str:
        """The last lines of its log, indented."""
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
        return "\n".join(f"  {line}" for line in lines[-TAIL_LINES:])

    def stop(self, hurry: Callable[[], bool]) -> None:
        """SIGTERM; SIGKILL to all of its session when it has not ended within its grace, or once `hurry()` is true."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        deadline = time.monotonic() + self.grace
        while self.process.poll() is None and time.monotonic() < deadline and not hurry():
            time.sleep(0.05)
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


class ForkedChild(Child):
    """A fork of this process, which has loaded what the child needs, with this process's environment. `command`:
    python -m, a module, and its arguments.
    """  # fmt: skip

    def launch(self, output: int) -> Forked:
        """The new process, which writes into the file `output`."""
        run = partial(_run_module, self.command[2:])
        title = " ".join(["python", *self.command[1:]])
        return Forked(run, title, output=output, keep_open=self.keep_open, own_session=True)


def _run_module(arguments: list[str]) -> None:
    sys.argv = list(arguments)
    runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
