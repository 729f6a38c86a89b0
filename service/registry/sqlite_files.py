"""Whether the file of a SQLite database is whole.

Every transaction notices a file that was cut, moved or deleted. No other code may open the file: closing
it would drop SQLite's locks of the whole process (POSIX).
"""

from sqlalchemy import text

from service.errors import Unavailable
from service.registry.faults import SENTENCES, Fault
from service.registry.session import Database


def check_pages(database: Database) -> None:
    """Read all of a SQLite file. Raises Unavailable (`database_damaged`), and what the driver raises."""
    if database.engine.dialect.name != "sqlite":
        return
    with database.reading() as session:
        result = str(session.scalar(text("PRAGMA quick_check(1)")))
    if result != "ok":
        raise Unavailable("database_damaged", SENTENCES[Fault.DAMAGED], retry_after=60)
