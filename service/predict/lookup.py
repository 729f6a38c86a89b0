"""Caches which model answers: most predictions need no query, and a short outage of the database fails none."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from anyio import CapacityLimiter, to_thread

from hrmodel.personal.bands import Intervals
from hrmodel.personal.response import Response
from hrmodel.personal.state import PersonState
from hrmodel.prediction.predictor import Query
from hrmodel.signals.scale import SubjectScale
from hrmodel.workouts.workout import Workout
from service.registry import serving
from service.registry.faults import DATABASE_UNAVAILABLE
from service.registry.session import Database
from service.registry.tables import ModelVersion
from service.web.processes import Processes

FRESH_SECONDS = 0.5
PATIENCE_SECONDS = 0.4  # waiting for the database before a cached model answers: a new champion is seen within a second
OUTAGE_SECONDS = 600.0  # as long as keys are believed
MAX_ENTRIES = 5000
THREADS = 4

Asked = tuple[UUID, str | None, UUID | None]  # account, subject, version: what `serving.find` takes


@dataclass(frozen=True, kw_only=True, eq=False)
class ServingModel:
    """The version that answers, the person's own terms of the formula, and how the answer names the version."""

    version: ModelVersion
    level: SubjectScale | None
    response: Response | None  # as of the day of the last look
    intervals: Intervals | None
    shown: dict[str, str | None]

    def query(self, workout: Workout, *, correct: bool = True, coverage: float = 0.9) -> Query:
        """The query for a workout of this person."""
        return Query(
            workout=workout,
            level=self.level,
            response=self.response,
            intervals=self.intervals,
            correct=correct,
            coverage=coverage,
        )


@dataclass(frozen=True, eq=False)
class _Entry:
    model: ServingModel
    since: float
    changes: int  # of the account, made through the API before the look


class Lookup:
    """Belongs to one event loop."""

    def __init__(
        self, database: Database, clock: Callable[[], float] = time.monotonic, processes: Processes | None = None
    ) -> None:
        processes = processes or Processes()
        self._database, self._clock = database, clock
        self._entries: OrderedDict[Asked, _Entry] = OrderedDict()
        self._loading: dict[Asked, asyncio.Task[ServingModel]] = {}
        self._changes = processes.counts(lasting=True)  # by account: a number that only grows
        self._threads = CapacityLimiter(processes.share(THREADS))
        self._away_until = -1.0

    async def find(self, account_id: UUID, subject: str | None, version_id: UUID | None) -> ServingModel:
        """The model that answers: see `serving.find`.

        Raises NotFound, Conflict, Unavailable, or what the driver raises.
        """
        asked, now = (account_id, subject, version_id), self._clock()
        if (entry := self._entries.get(asked)) is not None:
            self._entries.move_to_end(asked)
            if self._is_valid(account_id, entry, FRESH_SECONDS if now >= self._away_until else OUTAGE_SECONDS):
                return entry.model
        task = self._loading.get(asked)
        if task is None:
            task = self._loading[asked] = asyncio.create_task(self._load(asked))
            task.add_done_callback(lambda done: self._loaded(asked, done))
        if entry is None or not self._is_valid(account_id, entry, OUTAGE_SECONDS):
            return await asyncio.shield(task)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await asyncio.shield(task)
        except (TimeoutError, *DATABASE_UNAVAILABLE):
            # the database is slow or away: for a while no other request waits for it
            self._away_until = self._clock() + FRESH_SECONDS
            return entry.model

    def changed(self, account_id: UUID) -> None:
        """Let every process forget the models of an account that this one has changed, also those being loaded."""
        self._changes.add(account_id)
        for asked in [asked for asked in self._entries if asked[0] == account_id]:
            del self._entries[asked]

    def _is_valid(self, account_id: UUID, entry: _Entry, seconds: float) -> bool:
        return entry.changes == self._changes.total(account_id) and self._clock() - entry.since <= seconds

    async def _load(self, asked: Asked) -> ServingModel:
        since, changes = self._clock(), self._changes.total(asked[0])
        model = await to_thread.run_sync(self._read, asked, limiter=self._threads)
        self._entries[asked] = _Entry(model, since, changes)
        while len(self._entries) > MAX_ENTRIES:
            self._entries.popitem(last=False)
        return model

    def _loaded(self, asked: Asked, task: asyncio.Task[ServingModel]) -> None:
        del self._loading[asked]
        error = None if task.cancelled() else task.exception()  # its callers may have gone
        if error is not None and not isinstance(error, DATABASE_UNAVAILABLE):
            self._entries.pop(asked, None)

    def _read(self, asked: Asked) -> ServingModel:
        with self._database.reading() as session:
            return _serving_model(serving.find(session, *asked))


def _serving_model(row: serving.Serving) -> ServingModel:
    version, person = row.version, row.subject
    state = PersonState.from_dict(row.state.state) if row.state else None
    # a personal version brings its own level; a base takes the subject's, if known; else the population's serves
    level = person.level if person is not None and version.subject_id is None else None
    return ServingModel(
        version=version,
        level=None if level is None else SubjectScale.from_dict(level),
        response=state.response_at(_today()) if state else None,
        intervals=state.intervals if state else None,
        shown={
            "version_id": str(version.id),
            "stage": version.stage.value,
            "subject": person.name if person and version.subject_id else None,
        },
    )


def _today() -> datetime:
    """Midnight: through a day a person's uncertainty, and with it what is cached for it, stays the same."""
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
