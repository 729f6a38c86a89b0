"""The process beside every worker's pool that ends or requeues stuck jobs, repeats hints and deletes unneeded files.

Safe to run many: what it changes it changes by compare-and-swap. With another database's files it does nothing.
"""

import math
import os
import time

import structlog

from service.logs import log_as_json
from service.operations import queue
from service.registry import fleets, identity, jobs, leftovers, reserve, sweep, turns
from service.registry.artifacts import ArtifactStore
from service.registry.session import Database, spoken_reason
from service.settings import Settings, get_settings

HINT_EVERY_SECONDS = 5.0
SWEEP_EVERY_SECONDS = 3600.0
DROP_EVERY_SECONDS = 60.0
FIRST_SWEEP_SECONDS = 600.0  # after a start: time to see that something is wrong

log = structlog.get_logger(__name__)


class Reconciler:
    """Looks at the rows every few seconds."""

    def __init__(self, settings: Settings, sender: queue.Sender) -> None:
        self.database = Database(settings.database_url)
        self.store = ArtifactStore(settings.artifact_dir)
        self.sender = sender
        self.slots = os.cpu_count() or 1
        self._waiting_since: dict[str, float] = {}
        self._next_sweep = time.monotonic() + FIRST_SWEEP_SECONDS
        self._next_drop = -math.inf

    def look(self) -> None:
        """One round. Raises what the database raises, and OtherStore."""
        identity.check(self.database, self.store)
        with self.database.unit_of_work() as session:
            changed = jobs.reconcile(session)
        with self.database.unit_of_work() as session:
            fleets.end_finished(session)
        if changed:
            log.info("reconciled", jobs=changed)
        with self.database.reading() as session:
            counts = {
                queue.TRAINING: turns.claimable(session, jobs.TRAINING_STAGES),
                queue.IMPORTS: turns.claimable(session, jobs.IMPORT_STAGES),
            }
        for name, count in counts.items():
            self._repeat_hint(name, count, at_once=changed > 0)
        self._delete()

    def _delete(self) -> None:
        """Delete recorded leftovers, files of dead processes and, except soon after a start, unreferenced files."""
        if leftovers.work_off(self.database, self.store):
            self.database.checkpoint_wal()
        leftovers.clear_scratch(self.database, self.store)
        if time.monotonic() > self._next_drop:
            self._next_drop = time.monotonic() + DROP_EVERY_SECONDS
            self.store.drop_abandoned()
            reserve.keep(self.database)
        if time.monotonic() > self._next_sweep:
            self._next_sweep = time.monotonic() + SWEEP_EVERY_SECONDS
            sweep.old_files(self.database, self.store)

    def _repeat_hint(self, name: str, count: int, at_once: bool) -> None:
        """A hint per free slot, when rows have been claimable for a while: the first hint may be lost. At once for jobs
        that were just requeued: no other process sends their hint.
        """  # fmt: skip
        now = time.monotonic()
        if count == 0:
            self._waiting_since.pop(name, None)
        elif at_once or now - self._waiting_since.setdefault(name, now) >= HINT_EVERY_SECONDS:
            self._waiting_since[name] = now
            for _ in range(min(count, self.slots)):
                self.sender.send(name)


def main() -> None:
    """Reconcile until the parent has ended. After an outage of the database the next round tries again."""
    log_as_json()
    settings = get_settings()
    reconciler = Reconciler(settings, queue.BrokerSender(settings.broker_url))
    pause = min(HINT_EVERY_SECONDS, settings.lease_seconds / jobs.BEATS_PER_LEASE)
    while True:
        try:
            reconciler.look()
        except identity.OtherStore as error:
            log.error("nothing is done", reason=str(error))
        except Exception as error:  # must survive every error
            log.warning("reconciler could not look", reason=spoken_reason(error))
        time.sleep(pause)
