"""Notes that all processes of the API share: one of them at a time reads and changes them."""

import fcntl
import json
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

POLL_SECONDS = 0.01


class CommonNotes:
    """JSON in a file without a name, which is made before the fork. The lock of a killed process is free again."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  # open as long as the process
        self._lock = threading.Lock()  # the kernel's lock is a process's, not a thread's

    @contextmanager
    def held(self, patience: float) -> Iterator[dict[str, Any]]:
        """The notes, to be changed in place; stored at the end of the block unless it raises.

        Raises TimeoutError when others hold them for more than `patience` seconds.
        """
        deadline = time.monotonic() + patience
        if not self._lock.acquire(timeout=patience):
            raise TimeoutError
        try:
            while not self._locked():
                if time.monotonic() > deadline:
                    raise TimeoutError
                time.sleep(POLL_SECONDS)
            try:
                notes = json.loads(os.pread(self._file.fileno(), os.fstat(self._file.fileno()).st_size, 0) or "{}")
                yield notes
                os.ftruncate(self._file.fileno(), 0)
                os.pwrite(self._file.fileno(), json.dumps(notes).encode(), 0)
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN)
        finally:
            self._lock.release()

    def _locked(self) -> bool:
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return False
        return True
