"""Runs the network and encodes the answers: small queries on the event loop, large ones in few threads.

An API process has about one core: handing a small query to a thread and back costs time and saves none. The loop takes
what arrived in the same turn in one batch of a few milliseconds, and looks at its sockets between two batches. Larger
queries would hold it up; they wait for a thread, whose passes release the GIL. Queries that wait for the same model
share passes; no query waits for a batch to fill. Accounts take turns, and the number that waits per account is bounded,
so one account's queue delays no other.
"""

import asyncio
import os
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from hrmodel.prediction.predictor import Prediction, Predictor, Query
from hrmodel.prediction.prepared import PreparedQuery
from hrmodel.signals.features import Features
from service.errors import Unavailable
from service.web.turns import too_many_waiting

MAX_BATCH = 8  # larger batches save nothing, and the event loop would idle until all answers are there
MAX_BATCH_SIZE = 30_000  # steps of all passes and samples: another account waits for it about 0.1 s
INLINE_SIZE = 10_000  # of a batch on the event loop, which waits for it about 10 ms
MAX_WAITING = 10_000
MAX_WAITING_OF_ACCOUNT = 500
MAX_WAITING_SIZE = 1_500_000  # of an account, steps and samples: about 100 MB
IDLE_SECONDS = 10.0  # then a thread ends; the next request starts one

Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class _Pending:
    """A prediction that a caller awaits."""

    account: Hashable
    query: Query
    prepared: PreparedQuery
    size: int
    encode: Callable[[Prediction], Any]
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[Any]"


class Batcher:
    """Predictions of one event loop; accounts take turns."""

    def __init__(self, threads: int | None = None, on_batch: Callable[[int], None] = lambda _: None) -> None:
        self._on_batch = on_batch  # called with the number of predictions in a batch
        # the event loop needs a core, too: it decodes while a thread predicts
        self._max_threads = threads or max(1, (os.cpu_count() or 1) // 2)
        self._small = _Queues()  # for the event loop
        self._loop: asyncio.AbstractEventLoop | None = None  # that will run them
        self._work = threading.Condition()
        self._large = _Queues()  # for the threads
        self._counts: Counter[Hashable] = Counter()  # of pending predictions, by account
        self._sizes: Counter[Hashable] = Counter()
        self._threads = self._idle = 0

    def check_room(self, account: Hashable, more: int = 1) -> None:
        """Raise Unavailable unless so many more of the account's may wait."""
        if self._counts[account] + more > MAX_WAITING_OF_ACCOUNT or self._sizes[account] > MAX_WAITING_SIZE:
            raise too_many_waiting()
        if self._counts.total() + more > MAX_WAITING:
            raise Unavailable("busy", "Too many predictions at once; try again in a moment.", retry_after=1)

    async def predict(
        self,
        account: Hashable,
        predictor: Predictor,
        query: Query,
        prepared: PreparedQuery,
        encode: Callable[[Prediction], Result],
    ) -> Result:
        """Run and finish a query that `predictor` has prepared, and encode its prediction.

        Raises Unavailable when too many wait, ValueError for a coverage outside 0.5..0.99.
        """
        loop = asyncio.get_running_loop()
        pending = _Pending(account, query, prepared, prepared.size, encode, loop, loop.create_future())
        with self._work:
            self.check_room(account)
            self._counts[account] += 1
            self._sizes[account] += pending.size
            if pending.size <= INLINE_SIZE:
                self._small.add(predictor, pending)
                self._run_soon(loop)
            else:
                self._large.add(predictor, pending)
                loop.call_soon(self._wake)
        result: Result = await pending.future
        return result

    def _run_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        """At the end of this turn of the loop: requests that arrived at the same moment are queued first."""
        if self._loop is not loop:
            self._loop = loop
            loop.call_soon(self._run_here, loop)

    def _run_here(self, loop: asyncio.AbstractEventLoop) -> None:
        """Run one batch of small queries on the event loop, and what remains in the loop's next turn."""
        self._loop = None
        with self._work:
            predictor, batch = self._next(self._small, INLINE_SIZE)
        if self._small:
            self._run_soon(loop)
        if not batch:
            return  # their callers have gone
        self._on_batch(len(batch))
        _resolve(zip((pending.future for pending in batch), _outcomes(predictor, batch), strict=True))

    def _wake(self) -> None:
        """Tell a thread of large queries; start one where none is idle."""
        with self._work:
            if self._large and self._idle:
                self._work.notify()
            elif self._large and self._threads < self._max_threads:
                self._threads += 1
                threading.Thread(target=self._run, name="predict", daemon=True).start()

    def _run(self) -> None:
        torch.set_num_threads(1)  # threads inside a pass would compete for the cores that other requests use
        while (taken := self._take()) is not None:
            predictor, batch = taken
            self._on_batch(len(batch))
            _settle(batch, _outcomes(predictor, batch))

    def _take(self) -> tuple[Predictor, list[_Pending]] | None:
        """The next batch; None when nothing came for `IDLE_SECONDS`."""
        with self._work:
            self._idle += 1
            has_work = self._work.wait_for(lambda: self._large, IDLE_SECONDS)
            self._idle -= 1
            if not has_work:
                self._threads -= 1
                return None
            return self._next(self._large, MAX_BATCH_SIZE)

    def _next(self, queues: "_Queues", max_size: int) -> tuple[Predictor, list[_Pending]]:
        """The next batch, without those whose callers have gone."""
        predictor, batch = queues.take(max_size)
        for pending in batch:
            self._counts[pending.account] -= 1
            self._sizes[pending.account] -= pending.size
        for account in {pending.account for pending in batch if not self._counts[pending.account]}:
            del self._counts[account], self._sizes[account]
        return predictor, [pending for pending in batch if not pending.future.cancelled()]


class _Queues:
    """A queue for each account and model. Not safe for threads."""

    def __init__(self) -> None:
        self._accounts: OrderedDict[Hashable, OrderedDict[Predictor, deque[_Pending]]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._accounts)

    def add(self, model: Predictor, pending: _Pending) -> None:
        """Append to the queue of its account and model."""
        self._accounts.setdefault(pending.account, OrderedDict()).setdefault(model, deque()).append(pending)

    def take(self, max_size: int) -> tuple[Predictor, list[_Pending]]:
        """The next batch, bounded in number and size: the oldest of the account whose turn it is, then queries for
        the same model, one per account in turns. Afterwards that account, and its model, are last in line.
        """  # fmt: skip
        first = next(iter(self._accounts))
        model = next(iter(self._accounts[first]))
        sharing = deque(account for account, models in self._accounts.items() if model in models)
        batch: list[_Pending] = []
        size = 0
        while sharing and len(batch) < MAX_BATCH:
            account = sharing.popleft()
            queue = self._accounts[account][model]
            if batch and size + queue[0].size > max_size:
                continue  # another account's may be small enough
            size += queue[0].size
            batch.append(queue.popleft())
            if queue:
                sharing.append(account)
            else:
                self._remove(account, model)
        if first in self._accounts:
            self._accounts.move_to_end(first)
            if model in self._accounts[first]:
                self._accounts[first].move_to_end(model)
        return model, batch

    def _remove(self, account: Hashable, model: Predictor) -> None:
        models = self._accounts[account]
        del models[model]
        if not models:
            del self._accounts[account]


def _outcomes(predictor: Predictor, batch: list[_Pending]) -> list[Any]:
    """For each caller the encoded prediction, or the exception that was raised instead."""
    try:
        outputs = predictor.run([pending.prepared for pending in batch])
    except Exception as error:
        return [error] * len(batch)
    return [_finish(predictor, pending, own) for pending, own in zip(batch, outputs, strict=True)]


def _finish(predictor: Predictor, pending: _Pending, outputs: Sequence[Features]) -> Any:
    try:
        return pending.encode(predictor.finish(pending.query, pending.prepared, outputs))
    except Exception as error:
        return error


def _settle(batch: list[_Pending], outcomes: list[Any]) -> None:
    pairs = list(zip(batch, outcomes, strict=True))
    for loop in {pending.loop for pending in batch}:
        own = [(pending.future, outcome) for pending, outcome in pairs if pending.loop is loop]
        if not loop.is_closed():
            loop.call_soon_threadsafe(_resolve, own)


def _resolve(pairs: "Iterable[tuple[asyncio.Future[Any], Any]]") -> None:
    for future, outcome in pairs:
        if future.done():
            continue  # the caller has gone
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
