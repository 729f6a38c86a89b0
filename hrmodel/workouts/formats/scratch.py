"""Temporary files that members of archives are unpacked to.

A confined reader may open no file for writing, so it opens as many as it needs before (`open_ahead`) and uses them
again and again; everybody else makes one when it is needed.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_ready: list[Path] = []  # opened ahead and free
_opened: dict[Path, int] = {}  # opened ahead -> its descriptor


def open_ahead(folder: Path, count: int) -> None:
    """Open so many temporary files in a new `folder`; whoever started the process removes it."""
    folder.mkdir()
    for number in range(count):
        path = folder / str(number)
        _opened[path] = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        _ready.append(path)


@contextmanager
def temporary_file() -> Iterator[Path]:
    """An empty file for as long as the context is open: `writing` fills it, the path reads it."""
    if _opened:
        path = _ready.pop()
        try:
            yield path
        finally:
            os.ftruncate(_opened[path], 0)
            _ready.append(path)
        return
    handle, name = tempfile.mkstemp(prefix="stagewise-")  # no folder, for to remove one takes some disks 5 ms
    os.close(handle)
    path = Path(name)
    try:
        yield path
    finally:
        path.unlink()


@contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """A temporary file, open for writing from its beginning."""
    descriptor = _opened.get(path)
    if descriptor is None:
        with path.open("wb") as file:
            yield file
        return
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    with os.fdopen(os.dup(descriptor), "wb") as file:
        yield file
