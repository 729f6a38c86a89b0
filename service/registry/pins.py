"""Backup pins: while a backup reads, no file is deleted that a row referred to when it began."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from uuid import UUID, uuid4

from sqlalchemy import delete, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from service.registry.faults import Fault, fault_of
from service.registry.session import Database, clock, db_now
from service.registry.tables import BackupPin, Installation

PIN_SECONDS = 120.0  # the lease of a pin: a killed backup delays deletions for so long
RENEW_SECONDS = 20.0


@contextmanager
def pinned(database: Database) -> Iterator[None]:
    """Delay deletions of files while the context is open.

    A database that is full or read-only is read without a pin: it allows hardly any deletion either.
    """
    pin = uuid4()
    try:
        with database.unit_of_work() as session:
            # A deletion under way has checked for pins already, and ends first.
            session.execute(select(Installation.id).with_for_update())
            session.execute(delete(BackupPin).where(BackupPin.until < db_now()))
            session.add(BackupPin(id=pin, until=_end(session)))
    except SQLAlchemyError as error:
        if fault_of(error) not in (Fault.FULL, Fault.READ_ONLY):
            raise
        yield
        return
    over = threading.Event()
    renewal = threading.Thread(target=_renew, args=(database, pin, over), daemon=True)
    renewal.start()
    try:
        yield
    finally:
        over.set()
        renewal.join()
        with suppress(SQLAlchemyError), database.unit_of_work() as session:
            session.execute(delete(BackupPin).where(BackupPin.id == pin))


def is_pinned(session: Session) -> bool:
    """Whether a backup reads now. One that begins waits for the end of this transaction."""
    session.execute(select(Installation.id).with_for_update(read=True))
    return session.scalar(select(BackupPin.id).where(BackupPin.until > db_now()).limit(1)) is not None


def _end(session: Session) -> float:
    return clock(session) + PIN_SECONDS


def _renew(database: Database, pin: UUID, over: threading.Event) -> None:
    while not over.wait(RENEW_SECONDS):
        with suppress(SQLAlchemyError), database.unit_of_work() as session:
            session.execute(update(BackupPin).where(BackupPin.id == pin).values(until=db_now() + PIN_SECONDS))
