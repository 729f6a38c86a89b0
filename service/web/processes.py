"""The processes of one API, and what all of them see: counts in shared memory, without locks between processes.

Each process writes to a region of its own, and readers add all regions up. So a killed process leaves nothing locked,
and the parent can clear its region before a successor starts. Everything here is made before the fork.
"""

import mmap
import os
import threading
from collections.abc import Hashable, Iterable
from pathlib import Path

COLUMNS = 2**14  # of each row of a sketch
CELLS = 3 * COLUMNS  # 384 kB a process, of which only what is used takes memory
WORD = 8
NOT_SERVING = NONE_OF_THEM = -1


class Processes:
    """How many processes serve one API, and which this one is. In the parent, before the fork, it is none of them."""

    def __init__(self, count: int = 1, folder: Path | None = None) -> None:
        """`folder`: a private one for files that the processes share; None: there is only this process."""
        self.count, self.folder, self.parent = count, folder, os.getpid()
        self.own = 0 if folder is None else NONE_OF_THEM
        self._tables: list[SharedCounts] = []
        self._numbers: list[tuple[memoryview, int]] = []
        self.ids = self.numbers()
        self.open = self.numbers(NOT_SERVING)  # connections of each process
        self.entered = self.numbers()  # those that each was passed and has counted, refused or lost

    def share(self, whole: int, at_least: int = 1) -> int:
        """What each process may use of something that the machine has once."""
        return max(at_least, whole // self.count)

    def counts(self, *, lasting: bool = False) -> "SharedCounts":
        """Counts by name. Those of a dead process are cleared, unless they are `lasting`."""
        made = SharedCounts(self)
        if not lasting:
            self._tables.append(made)
        return made

    def numbers(self, initial: int = 0) -> memoryview:
        """A whole number for each process; that of a dead one becomes the initial one again."""
        made = memoryview(mmap.mmap(-1, self.count * WORD)).cast("q")
        for number in range(self.count):
            made[number] = initial
        self._numbers.append((made, initial))
        return made

    def become(self, own: int) -> None:
        """Let this process be the one of that number."""
        self.own, self.ids[own] = own, os.getpid()

    def clear(self, number: int) -> None:
        """Forget what a process had counted: it is dead."""
        for table in self._tables:
            table.clear(number)
        for numbers, initial in self._numbers:
            numbers[number] = initial

    @property
    def serving(self) -> list[int]:
        """The open connections of each process that takes some."""
        return [number for number in self.open if number != NOT_SERVING]

    @property
    def connections(self) -> int:
        """The open connections of all processes."""
        return sum(self.serving)


class SharedCounts:
    """Counts by name over all processes, in bounded memory: a count-min sketch, with three rows of cells per process.

    A name that shares all its cells with others is counted with them: one in 4,000 when there are a thousand names, one
    in four million when there are a hundred. The hash of a name is another one after each start.
    """

    def __init__(self, processes: Processes) -> None:
        self._processes, self._lock = processes, threading.Lock()
        self._memory = mmap.mmap(-1, processes.count * CELLS * WORD)
        self._cells = memoryview(self._memory).cast("q")
        self._regions = [number * CELLS for number in range(processes.count)]

    def add(self, name: Hashable, more: int = 1) -> None:
        """Count so many more, or fewer, in this process."""
        region = self._regions[self._processes.own]
        with self._lock:
            for place in _places(name):
                self._cells[region + place] += more

    def total(self, name: Hashable, among: Iterable[int] | None = None) -> int:
        """The count of all processes, or of those of these numbers."""
        cells, (first, second, third) = self._cells, _places(name)
        in_first = in_second = in_third = 0
        for region in self._regions if among is None else [self._regions[number] for number in among]:
            in_first += cells[region + first]
            in_second += cells[region + second]
            in_third += cells[region + third]
        return min(in_first, in_second, in_third)

    def clear(self, number: int) -> None:
        """Forget all counts of one process."""
        size = CELLS * WORD
        self._memory[number * size : (number + 1) * size] = bytes(size)


def _places(name: Hashable) -> tuple[int, int, int]:
    """The cell of each row."""
    digest = hash(name)
    return digest % COLUMNS, COLUMNS + (digest >> 20) % COLUMNS, 2 * COLUMNS + (digest >> 40) % COLUMNS
