"""Notes that all processes of the API share: one of them at a time reads and changes them."""

import fcntl
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

POLL_SECONDS = 0.01


class CommonNotes:
    """JSON in a file of the common folder, or in memory when there is only this process. The kernel frees the lock of
    a process that is killed.
    """  # fmt: skip

    def __init__(self, folder: Path | None) -> None:
        self._file = folder / "notes.json" if folder else None
        self._own: dict[str, Any] = {}
        self._lock = threading.Lock()

    @contextmanager
    def held(self, patience: float) -> Iterator[dict[str, Any]]:
        """The notes, to be changed in place; stored at the end of the block unless it raises.

        Raises TimeoutError when others hold them for more than `patience` seconds.
        """
        deadline = time.monotonic() + patience
        if not self._lock.acquire(timeout=patience):
            raise TimeoutError
        try:
            if self._file is None:
                yield self._own
                return
            with self._file.open("a+") as file:
                _lock(file, deadline)
                file.seek(0)
                notes = json.loads(file.read() or "{}")
                yield notes
                file.truncate(0)
                file.write(json.dumps(notes))
        finally:
            self._lock.release()


def _lock(file: IO[str], deadline: float) -> None:
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise TimeoutError from None
        time.sleep(POLL_SECONDS)
