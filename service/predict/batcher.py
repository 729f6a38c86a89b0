"""Few threads that run the network and encode what it says; the event loop does what comes before.

A pass leaves Python's lock alone, so a thread and the event loop have a core each. What is left for either takes about
as long as the other's: a thread that also prepared its inputs would fight with the loop over the lock, and a loop that
also encoded the answers would be what everything waits for. What waits for the same model is run together; nothing
waits for company. Accounts take turns, and what one has waiting is bounded, so that nobody waits behind another's pile.
"""

import asyncio
import os
import threading
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch

from hrmodel.prediction.predictor import Prediction, Predictor, Prepared
from hrmodel.workouts.workout import Array
from service.errors import Unavailable
from service.predict.queues import Queues
from service.web.turns import too_many_waiting

MAX_BATCH = 8  # more save nothing, and the event loop would have nothing to do until all are there
MAX_BATCH_SIZE = 30_000  # steps of all passes and samples: another account waits for it about 0.1 s
MAX_WAITING = 10_000
MAX_WAITING_OF_ACCOUNT = 500
MAX_WAITING_SIZE = 1_500_000  # of an account, steps and samples: about 100 MB
IDLE_SECONDS = 10.0  # then a thread ends; the next request starts one

# torch keeps what it prepares for each shape of input, by default 1024 times 0.25 MB
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")

Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class _Item:
    account: Hashable
    prepared: Prepared
    answer: Callable[[Sequence[Array]], Any]  # from the passes' outputs
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[Any]"

    @property
    def size(self) -> int:
        """Steps of its passes and samples of its answer."""
        return self.prepared.size


class Batcher:
    """Predictions in threads of their own; accounts take turns. Safe for several event loops."""

    def __init__(self, threads: int | None = None, on_batch: Callable[[int], None] = lambda _: None) -> None:
        self._on_batch = on_batch  # is told how many are predicted at once
        # the event loop needs a core, too: it decodes while a thread predicts
        self._most = threads or max(1, (os.cpu_count() or 1) // 2)
        self._work = threading.Condition()
        self._fresh: list[tuple[Predictor, _Item]] = []
        self._waiting: Queues[Predictor, _Item] = Queues(MAX_BATCH, MAX_BATCH_SIZE)
        self._counts: Counter[Hashable] = Counter()  # of items that wait, by account
        self._sizes: Counter[Hashable] = Counter()
        self._threads = self._idle = 0

    def check_room(self, account: Hashable, more: int = 1) -> None:
        """Raise Unavailable unless so many more of the account's may wait."""
        if self._counts[account] + more > MAX_WAITING_OF_ACCOUNT or self._sizes[account] > MAX_WAITING_SIZE:
            raise too_many_waiting()
        if self._counts.total() + more > MAX_WAITING:
            raise Unavailable("busy", "Too many predictions at once; try again in a moment.", retry_after=1)

    async def predict(
        self, account: Hashable, predictor: Predictor, prepared: Prepared, encode: Callable[[Prediction], Result]
    ) -> Result:
        """What `encode` makes of the prediction that `predictor.prepare` has prepared, in a thread.

        Raises Unavailable when too many wait, ValueError for a coverage outside 0.5..0.99.
        """
        loop = asyncio.get_running_loop()
        item = _Item(account, prepared, partial(_answer, predictor, prepared, encode), loop, loop.create_future())
        with self._work:
            self.check_room(account)
            self._counts[account] += 1
            self._sizes[account] += item.size
            self._fresh.append((predictor, item))
        # those that came at the same time come first, so that a thread takes them together
        loop.call_soon(self._release)
        result: Result = await item.future
        return result

    def _release(self) -> None:
        """Let threads take what the loop has gone through."""
        with self._work:
            for predictor, item in self._fresh:
                self._waiting.add(item.account, predictor, item)
            self._fresh.clear()
            if self._waiting and self._idle:
                self._work.notify()
            elif self._waiting and self._threads < self._most:
                self._threads += 1
                threading.Thread(target=self._run, name="predict", daemon=True).start()

    def _run(self) -> None:
        torch.set_num_threads(1)  # threads inside a pass would fight over the cores that other requests use
        while (taken := self._take()) is not None:
            predictor, items = taken
            self._on_batch(len(items))
            _settle(items, _outcomes(predictor, items))

    def _take(self) -> tuple[Predictor, list[_Item]] | None:
        """A batch for the account whose turn it is; None: nothing came for a while."""
        with self._work:
            self._idle += 1
            there = self._work.wait_for(lambda: self._waiting, IDLE_SECONDS)
            self._idle -= 1
            if not there:
                self._threads -= 1
                return None
            predictor, batch = self._waiting.take()
            for item in batch:
                self._counts[item.account] -= 1
                self._sizes[item.account] -= item.size
            for account in {item.account for item in batch if not self._counts[item.account]}:
                del self._counts[account], self._sizes[account]
        return predictor, [item for item in batch if not item.future.cancelled()]


def _answer(
    predictor: Predictor, prepared: Prepared, encode: Callable[[Prediction], Result], outputs: Sequence[Array]
) -> Result:
    return encode(predictor.finish(prepared, outputs))


def _outcomes(predictor: Predictor, items: list[_Item]) -> list[Any]:
    """What each item's caller gets: its answer, or the exception that came instead."""
    try:
        outputs = predictor.run([item.prepared for item in items])
    except Exception as error:
        return [error] * len(items)
    return [_outcome(item, each) for item, each in zip(items, outputs, strict=True)]


def _outcome(item: _Item, outputs: Sequence[Array]) -> Any:
    try:
        return item.answer(outputs)
    except Exception as error:
        return error


def _settle(items: list[_Item], outcomes: list[Any]) -> None:
    pairs = list(zip(items, outcomes, strict=True))
    for loop in {item.loop for item in items}:
        own = [(item.future, outcome) for item, outcome in pairs if item.loop is loop]
        if not loop.is_closed():
            loop.call_soon_threadsafe(_resolve, own)


def _resolve(pairs: "list[tuple[asyncio.Future[Any], Any]]") -> None:
    for future, outcome in pairs:
        if future.done():
            continue  # the caller has gone
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
