"""After rows are deleted: what else goes with them."""

from contextlib import suppress

from service.deps import Services
from service.error_handlers import DATABASE_AWAY
from service.registry import leftovers
from service.registry.removal import Removed


def forget(services: Services, removed: Removed) -> None:
    """Drop deleted versions from memory and their files from disk. What fails here a worker's reconciler does."""
    services.models.forget(removed.versions)
    with suppress(*DATABASE_AWAY, OSError):
        leftovers.work_off(services.database, services.store, removed.account_id, hurried=True)
        leftovers.clear_scratch(services.database, services.store)
        services.database.shed_deleted()
