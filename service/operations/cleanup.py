"""Deleting: rows first, also on a full disk, then what else goes with them."""

from collections.abc import Callable
from contextlib import suppress

from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session

from service.registry import leftovers, reserve
from service.registry.faults import DATABASE_UNAVAILABLE, Fault, fault_of
from service.registry.removal import Removed
from service.web.deps import Services


def remove(services: Services, delete: Callable[[Session], Removed]) -> None:
    """Delete rows in one transaction, in the room that is kept for it where the disk is full; then their files.

    Raises what `delete` raises.
    """
    try:
        removed = _remove(services, delete)
    except DatabaseError as error:
        if fault_of(error) != Fault.FULL or not reserve.give_up(services.database):
            raise
        removed = _remove(services, delete)
    _forget(services, removed)


def _remove(services: Services, delete: Callable[[Session], Removed]) -> Removed:
    with services.database.unit_of_work() as session:
        return delete(session)


def _forget(services: Services, removed: Removed) -> None:
    """Drop deleted versions from memory and their files from disk. What fails here a worker's reconciler does."""
    services.models.forget(removed.versions)
    with suppress(*DATABASE_UNAVAILABLE, OSError):
        leftovers.work_off(services.database, services.store, removed.account_id, hurried=True)
        leftovers.clear_scratch(services.database, services.store)
        services.database.shed_deleted()
