"""Whether the file of a SQLite database is whole: a look that costs next to nothing, and a thorough one."""

from pathlib import Path

from sqlalchemy import text

from service.errors import Unavailable
from service.registry.faults import SENTENCES, Fault
from service.registry.session import Database, sqlite_file

MAGIC = b"SQLite format 3\0"
HEADER_BYTES = 100


def check_whole(database: Database, *, thorough: bool = False) -> None:
    """Raise Unavailable (`database_damaged`) when the file was cut or holds something else; `thorough`: read all of it.

    Raises what the driver raises. Does nothing for another kind of database.
    """
    file = sqlite_file(database.engine.url.render_as_string(hide_password=False))
    if file is None or not (thorough or _looks_cut(file)):
        return
    with database.reading() as session:
        found = str(session.scalar(text("PRAGMA quick_check(1)")))
    if found != "ok":
        raise Unavailable("database_damaged", SENTENCES[Fault.DAMAGED], retry_after=60)


def _looks_cut(file: Path) -> bool:
    """Whether the file is shorter than its header says. That may pass: its log may still hold what is missing."""
    with file.open("rb") as opened:
        header = opened.read(HEADER_BYTES)
        size = opened.seek(0, 2)
    if len(header) < HEADER_BYTES:
        return False  # new: without tables, which others notice
    page = int.from_bytes(header[16:18])
    page = 65536 if page == 1 else page  # what two bytes cannot hold
    return header[:16] != MAGIC or size < page * int.from_bytes(header[28:32])
