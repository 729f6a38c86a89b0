"""Disk space reserved for deletions: SQLite has to write to delete rows, so a file beside the database reserves it."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

from service.registry.session import Database, sqlite_file

FILE, RESERVED_BYTES = "reserve", 16 * 1024**2
FREE_TIMES = 8  # so many times the reserve must be free before it is taken (again)


def keep(database: Database) -> None:
    """Take the room, if it is not taken and the disk has plenty. Another kind of database has a disk of its own."""
    if (file := _beside(database)) is None or file.exists():
        return
    with suppress(OSError):  # the reserve is optional
        if shutil.disk_usage(file.parent).free > FREE_TIMES * RESERVED_BYTES:
            with file.open("wb") as made:
                os.posix_fallocate(made.fileno(), 0, RESERVED_BYTES)


def give_up(database: Database) -> bool:
    """Whether it freed space."""
    file = _beside(database)
    if file is None or not file.exists():
        return False
    file.unlink(missing_ok=True)
    return True


def _beside(database: Database) -> Path | None:
    file = sqlite_file(database.engine.url.render_as_string(hide_password=False))
    return file and file.with_name(f"{file.name}.{FILE}")
