"""Few threads that predict. What waits for the same model is predicted together; nothing waits for company."""

import asyncio
import os
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from hrmodel.prediction.predictor import Prediction, Predictor, Query
from service.errors import Unavailable

MAX_BATCH = 64
MAX_WAITING = 2000
IDLE_SECONDS = 10.0  # then a thread ends; the next request starts one

# torch keeps what it prepares for each shape of input, by default 1024 times 0.25 MB
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")

Finish = Callable[[Prediction], Any]


@dataclass(frozen=True, eq=False)
class _Item:
    query: Query
    finish: Finish
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[Any]"


class Batcher:
    """Predictions in threads of their own, the longest waiting first. Safe for several event loops."""

    def __init__(self, threads: int | None = None, on_batch: Callable[[int], None] = lambda _: None) -> None:
        self._on_batch = on_batch  # is told how many are predicted at once
        # the event loop needs a core, too: it decodes while a thread predicts
        self._most = threads or max(1, (os.cpu_count() or 1) // 2)
        self._work = threading.Condition()
        self._waiting: OrderedDict[Predictor, deque[_Item]] = OrderedDict()
        self._threads = self._idle = self._size = 0

    async def predict(self, predictor: Predictor, query: Query, finish: Finish) -> Any:
        """`finish(prediction)`, made in the thread. Raises Unavailable when too many wait, and what the two raise."""
        loop = asyncio.get_running_loop()
        item = _Item(query, finish, loop, loop.create_future())
        with self._work:
            if self._size >= MAX_WAITING:
                raise Unavailable("busy", "Too many predictions at once; try again in a moment.", retry_after=1)
            self._waiting.setdefault(predictor, deque()).append(item)
            self._size += 1
            if self._idle:
                self._work.notify()
            elif self._threads < self._most:
                self._threads += 1
                threading.Thread(target=self._run, name="predict", daemon=True).start()
        return await item.future

    def _run(self) -> None:
        torch.set_num_threads(1)  # threads inside a pass would fight over the cores that other requests use
        while (taken := self._take()) is not None:
            predictor, items = taken
            self._on_batch(len(items))
            _settle(items, _outcomes(predictor, items))

    def _take(self) -> tuple[Predictor, list[_Item]] | None:
        """All that waits for the model whose turn it is, up to a batch; None: nothing came for a while."""
        with self._work:
            self._idle += 1
            there = self._work.wait_for(lambda: self._waiting, IDLE_SECONDS)
            self._idle -= 1
            if not there:
                self._threads -= 1
                return None
            predictor, items = self._waiting.popitem(last=False)
            batch = [items.popleft() for _ in range(min(len(items), MAX_BATCH))]
            if items:
                self._waiting[predictor] = items  # behind the other models
            self._size -= len(batch)
        return predictor, [item for item in batch if not item.future.cancelled()]


def _outcomes(predictor: Predictor, items: list[_Item]) -> list[Any]:
    """What each item's caller gets: a result or an exception."""
    try:
        predictions = predictor.predict_many([item.query for item in items])
        return [item.finish(prediction) for item, prediction in zip(items, predictions, strict=True)]
    except Exception as error:
        if len(items) == 1:
            return [error]
    return [_outcomes(predictor, [item])[0] for item in items]  # one of them is wrong, and the others are not


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
