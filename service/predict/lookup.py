"""Who answers whom, remembered for a moment: most predictions need no query, and go on while the database is away."""

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypedDict
from uuid import UUID

from anyio import CapacityLimiter, to_thread

from hrmodel.personal.bands import Intervals
from hrmodel.personal.response import Response
from hrmodel.personal.state import PersonState
from hrmodel.signals.scale import SubjectScale
from service.registry import serving
from service.registry.faults import DATABASE_UNAVAILABLE
from service.registry.serving import Serving
from service.registry.session import Database
from service.registry.tables import ModelVersion

FRESH_SECONDS = 0.5
PATIENCE_SECONDS = 0.4  # with the database, before an old answer serves: a new champion is seen within a second
OUTAGE_SECONDS = 600.0  # as long as keys are believed
MAX_ENTRIES = 5000
THREADS = 4


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Whose prediction is asked for, and by which version, if it is named."""

    account_id: UUID
    subject: str | None
    version_id: UUID | None


class Known(TypedDict):
    """What a predictor takes about a person."""

    level: SubjectScale | None
    response: Response | None
    intervals: Intervals | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Answering:
    """The version that answers, what is known of the person, and how the answer names the version."""

    version: ModelVersion
    known: Known
    shown: dict[str, str | None]


@dataclass(frozen=True, eq=False)
class _Entry:
    answering: Answering
    since: float
    changes: int  # of the account, made through this process before it was looked up


class Lookup:
    """Belongs to one event loop."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database, self._clock = database, clock
        self._entries: OrderedDict[Wanted, _Entry] = OrderedDict()
        self._loading: dict[Wanted, asyncio.Task[Answering]] = {}
        self._changes: Counter[UUID] = Counter()
        self._threads = CapacityLimiter(THREADS)
        self._away_until = -1.0

    async def find(self, wanted: Wanted) -> Answering:
        """Who answers. Raises NotFound, Conflict, Unavailable, or what the driver raises."""
        entry, now = self._entries.get(wanted), self._clock()
        if entry is not None:
            self._entries.move_to_end(wanted)
            if self._believed(wanted, entry, FRESH_SECONDS if now >= self._away_until else OUTAGE_SECONDS):
                return entry.answering
        task = self._loading.get(wanted)
        if task is None:
            task = self._loading[wanted] = asyncio.create_task(self._load(wanted))
            task.add_done_callback(lambda done: self._loaded(wanted, done))
        if entry is None or not self._believed(wanted, entry, OUTAGE_SECONDS):
            return await asyncio.shield(task)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await asyncio.shield(task)
        except (TimeoutError, *DATABASE_UNAVAILABLE):
            # no answer, or none soon: for a while nobody else waits for one
            self._away_until = self._clock() + FRESH_SECONDS
            return entry.answering

    def changed(self, account_id: UUID) -> None:
        """Something of the account was changed by this process: forget what was found, also by looks under way."""
        self._changes[account_id] += 1
        for wanted in [each for each in self._entries if each.account_id == account_id]:
            del self._entries[wanted]

    def _believed(self, wanted: Wanted, entry: _Entry, seconds: float) -> bool:
        unchanged = entry.changes == self._changes[wanted.account_id]
        return unchanged and self._clock() - entry.since <= seconds

    async def _load(self, wanted: Wanted) -> Answering:
        since, changes = self._clock(), self._changes[wanted.account_id]
        answering = await to_thread.run_sync(self._read, wanted, limiter=self._threads)
        self._entries[wanted] = _Entry(answering, since, changes)
        while len(self._entries) > MAX_ENTRIES:
            self._entries.popitem(last=False)
        return answering

    def _loaded(self, wanted: Wanted, task: asyncio.Task[Answering]) -> None:
        del self._loading[wanted]
        error = None if task.cancelled() else task.exception()  # nobody may be waiting for it any more
        if error is not None and not isinstance(error, DATABASE_UNAVAILABLE):
            self._entries.pop(wanted, None)

    def _read(self, wanted: Wanted) -> Answering:
        with self._database.reading() as session:
            return _answering(serving.find(session, wanted.account_id, wanted.subject, wanted.version_id))


def _answering(found: Serving) -> Answering:
    version, person = found.version, found.subject
    state = PersonState.from_dict(found.state.state) if found.state else None
    return Answering(
        version=version,
        known={
            "level": _level(found),
            "response": state.response if state else None,
            "intervals": state.intervals if state else None,
        },
        shown={
            "version_id": str(version.id),
            "stage": version.stage.value,
            "subject": person.name if person and version.subject_id else None,
        },
    )


def _level(found: Serving) -> SubjectScale | None:
    """A personal version brings its own level; a base takes the known subject's; else None: the population's."""
    if found.version.subject_id is not None or found.subject is None or found.subject.level is None:
        return None
    return SubjectScale.from_dict(found.subject.level)
