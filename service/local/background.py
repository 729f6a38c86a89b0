"""A whole service as a child process, for the demo and for tests."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from service.forking import die_with_parent
from service.local.embedded import LISTENS, WORKER_GRACE, StartError

SERVERS = ("DATABASE_URL", "BROKER_URL", "ARTIFACT_DIR")


@dataclass(frozen=True)
class Running:
    """A service that answers."""

    url: str
    key: str  # an admin key
    pid: int  # of the supervisor


@contextmanager
def running(state: Path, **variables: str) -> Iterator[Running]:
    """`stagewise up` in this state folder, on a free port unless `variables` name one. Raises StartError.

    The servers that this process's own environment names are left alone; `variables` may name some.
    """
    kept = {name: value for name, value in os.environ.items() if name.removesuffix("_FILE") not in SERVERS}
    process = subprocess.Popen(
        [sys.executable, "-m", "service.cli", "up"],
        env={**kept, "STAGEWISE_STATE_DIR": str(state), "STAGEWISE_PORT": "0", **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=die_with_parent,
    )
    assert process.stdout is not None
    try:
        first = process.stdout.readline()
        if not first.startswith(LISTENS):
            raise StartError("Stagewise did not start; the reason is above.")
        yield Running(first.removeprefix(LISTENS).split()[0], (state / "api-key").read_text().strip(), process.pid)
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=WORKER_GRACE + 30)
        process.kill()
        process.wait()
        process.stdout.close()
