"""Reads append-only tables as they grow: the rows since the last look, each once."""

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

SETTLED_SECONDS = 60.0  # longer than any transaction: no lower number comes after that
MOST = 10_000  # rows of one look


class Tail:
    """Follows one table by its growing number.

    PostgreSQL gives a number when a row is written, not when it is committed, so a lower one may come later. So each
    look goes back to where the table ended a minute ago, and leaves out what it has seen since.
    """

    def __init__(self, number: InstrumentedAttribute[int], clock: Callable[[], float] = time.monotonic) -> None:
        self._number, self._clock = number, clock
        self._ends: deque[tuple[float, int]] = deque()  # when, and the highest number then
        self._seen: set[int] = set()

    @property
    def position(self) -> tuple[list[tuple[float, int]], list[int]]:
        """Where it is; another process that sets it goes on from there (the clock is the machine's)."""
        return list(self._ends), sorted(self._seen)

    @position.setter
    def position(self, position: tuple[list[tuple[float, int]], list[int]]) -> None:
        ends, seen = position
        self._ends, self._seen = deque((when, number) for when, number in ends), set(seen)

    def news(self, session: Session, rows: Any) -> list[Any]:
        """The new rows among `rows`, whose first column is the number; none at the first look. Raises what the
        driver raises, and then a later look finds the same.
        """  # fmt: skip
        end = session.scalar(select(func.max(self._number))) or 0
        if not self._ends or end < self._ends[0][1]:  # SQLite gives the numbers of deleted last rows again
            self._start_at(end)
            return []
        while len(self._ends) > 1 and self._clock() - self._ends[1][0] >= SETTLED_SECONDS:
            self._ends.popleft()
        behind = rows.where(self._number > self._ends[0][1]).order_by(self._number).limit(MOST)
        numbers = session.scalars(behind.with_only_columns(self._number)).all()  # most were seen: numbers will do
        new = [number for number in numbers if number not in self._seen]
        whole = session.execute(behind.where(self._number >= new[0])).all() if new else []
        if len(numbers) == MOST:
            self._start_at(numbers[-1])
        else:
            self._ends.append((self._clock(), end))
            self._seen = set(numbers)
        unseen = set(new)
        return [row for row in whole if row[0] in unseen]

    def _start_at(self, end: int) -> None:
        self._ends, self._seen = deque([(self._clock(), end)]), set()
