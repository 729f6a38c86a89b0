"""After rows are deleted: what else goes with them."""

from contextlib import suppress

from service.deps import Services
from service.error_handlers import DATABASE_AWAY
from service.registry import removal
from service.registry.removal import Removed


def forget(services: Services, removed: Removed) -> None:
    """Drop deleted versions from memory and their files from disk. What fails here is left to the daily sweep."""
    services.models.forget(removed.versions)
    with suppress(*DATABASE_AWAY, OSError):
        removal.remove_files(services.database, services.store, removed)
        services.database.shed_deleted()
