"""Blocks of records, each on one clock of its own, put onto the clock of the longest chain of them."""

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from hrmodel.workouts.reasons import Reason, lasting
from hrmodel.workouts.workout import Array

HOUR, DAY, YEAR = 3600.0, 86_400.0, 365.25 * 86_400.0
LONG_PAUSE = HOUR / 2  # s (or ten steps): beyond it a clock may have been set
LONGEST_PAUSE = DAY  # between two parts of one recording ...
LONGEST_REST = 7 * DAY  # ... and between two days of a long track
SHORT = 120.0  # s: a block as short as this, before or after everything else, is left out
LONG = 1800.0  # s: a block as long as this may be one of the days of a long track
FAR = 10 * YEAR  # clocks as far apart: the later one is right, the other was never set or has rolled over
ENOUGH = 0.1  # of all records, for the later clock to be believed
SAME_HEART = 3.0  # bpm: no heart changes less in an hour's rest after running

Columns = dict[str, Array]


@dataclass(frozen=True, kw_only=True)
class Shift:
    """What a clock told from `begin` to `end` (unix s) was `seconds` later, whether its records were kept or not."""

    begin: float
    end: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Placement:
    """(N,) unix s of each record in file order, NaN for one that is left out; `lone` of them were single."""

    times: Array
    lone: int = 0
    reasons: tuple[Reason, ...] = ()
    shifts: tuple[Shift, ...] = ()


@dataclass(kw_only=True)
class Block:
    """Records `first` to `last` (not included) in file order, whose clock runs evenly from `begin` to `end`."""

    first: int
    last: int
    begin: float
    end: float

    @property
    def size(self) -> int:
        """How many records."""
        return self.last - self.first

    @property
    def seconds(self) -> float:
        """How long, by its own clock."""
        return self.end - self.begin


def leaps(steps: Array, usual: float) -> NDArray[np.bool_]:
    """(N - 1,) s -> (N - 1,): forward over a long pause, or by whole hours and a usual step: another time zone."""
    hours = np.round((steps - usual) / HOUR)
    return (steps > max(LONG_PAUSE, 10 * usual)) | ((hours >= 1) & (np.abs(steps - usual - hours * HOUR) <= 1.0))


@dataclass(kw_only=True)
class Placing:
    """Blocks of several clocks, on their way onto one."""

    times: Array
    columns: Columns
    usual: float
    blocks: list[Block]
    left_out: list[tuple[Block, float]] = field(default_factory=list)  # and by how much its clock was ahead, s
    moved: list[tuple[Block, float]] = field(default_factory=list)

    def placement(self) -> Placement:
        """All blocks around the best chain of them."""
        chain = self._chain()
        placed = self.times.copy()
        for before, strays, after in self._strays(chain):
            self._place_strays(before, strays, after)
        for block, ahead in self.moved:
            placed[block.first : block.last] -= ahead
        for block, _ in self.left_out:
            placed[block.first : block.last] = np.nan
        lone = sum(block.size == 1 for block, _ in self.left_out)
        wrong = (*self.moved, *self.left_out)
        shifts = tuple(Shift(begin=block.begin, end=block.end, seconds=-ahead) for block, ahead in wrong)
        return Placement(times=placed, lone=lone, reasons=self._reasons(), shifts=shifts)

    def _chain(self) -> list[Block]:
        """The blocks, in file order, that follow each other on one clock and hold the most records."""
        blocks = self.blocks
        weight, before = np.array([block.size for block in blocks]), [-1] * len(blocks)
        between = [self._is_between(*blocks[i - 1 : i + 2]) for i in range(1, len(blocks) - 1)]
        astray = [False, *between, False]
        for j, block in enumerate(blocks):
            earlier = [i for i in range(j) if self._follows(blocks[i], block, adjacent=i == j - 1)]
            earlier = [i for i in earlier if not (i == j - 1 and (astray[i] or astray[j]))]
            if earlier:
                before[j] = max(earlier, key=lambda i: weight[i])
                weight[j] += weight[before[j]]
        best = int(np.argmax(weight))
        later = [j for j, block in enumerate(blocks) if block.begin > blocks[best].end + FAR]
        if later and max(weight[later]) >= max(2, ENOUGH * len(self.times)):
            best = max(later, key=lambda j: weight[j])
        chain = []
        while best >= 0:
            chain.append(blocks[best])
            best = before[best]
        return chain[::-1]

    def _is_between(self, a: Block, b: Block, c: Block) -> bool:
        """True when c goes on where a ended, as if b had been recorded in between by another clock."""
        outside = b.begin <= a.end or b.end >= c.begin
        hole = c.begin - a.end - b.seconds - 2 * self.usual
        return outside and abs(hole) <= max(2.0, self.usual)

    def _follows(self, a: Block, b: Block, *, adjacent: bool) -> bool:
        """True when b, later in the file, may have been recorded after a on the same clock."""
        gap, shorter = b.begin - a.end, min(a.seconds, b.seconds)
        if not 0 < gap <= LONGEST_REST or (gap > max(LONG_PAUSE, 10 * self.usual) and shorter < SHORT):
            return False
        if gap > LONGEST_PAUSE and shorter < LONG:
            return False
        return not (adjacent and leaps(np.array([gap]), self.usual)[0] and gap <= DAY and self._no_pause(a, b))

    def _no_pause(self, a: Block, b: Block) -> bool:
        """True when whole hours passed on the clock and nothing else changed: it was set, nobody rested."""
        hours = round((b.begin - a.end - self.usual) / HOUR)
        if abs(b.begin - a.end - self.usual - hours * HOUR) > 1.0:
            return False
        if min(a.seconds, b.seconds) < SHORT:
            return True
        heart = self.columns.get("heart_rate")
        return heart is not None and bool(abs(heart[b.first] - heart[a.last - 1]) <= SAME_HEART)  # NaN compares false

    def _strays(self, chain: list[Block]) -> list[tuple[Block | None, list[Block], Block | None]]:
        """The blocks that are not of the chain, with those of the chain before and after them."""
        ends: list[Block | None] = [None, *chain, None]
        parts = []
        for before, after in pairwise(ends):
            first = before.last if before else 0
            last = after.first if after else len(self.times)
            strays = [block for block in self.blocks if first <= block.first < last]
            if strays:
                parts.append((before, self._joined(strays), after))
        return parts

    def _joined(self, strays: list[Block]) -> list[Block]:
        """Neighbours that share a clock in one."""
        joined = [strays[0]]
        for block in strays[1:]:
            last = joined[-1]
            if 0 < block.begin - last.end <= LONG_PAUSE:
                joined[-1] = Block(first=last.first, last=block.last, begin=last.begin, end=block.end)
            else:
                joined.append(block)
        return joined

    def _place_strays(self, before: Block | None, strays: list[Block], after: Block | None) -> None:
        """Strays go right before what comes after them, or right behind what came before."""
        floor = before.end if before else -np.inf
        ceiling = after.begin if after else np.inf
        for block in strays if before else strays[::-1]:
            if (floor < block.begin and block.end < ceiling and before and after) or self._repeats(block):
                continue
            ahead = block.begin - (floor + self.usual) if before else block.end - (ceiling - self.usual)
            room = ceiling - floor - block.seconds >= self.usual
            if block.size == 1 or not room or (block.seconds < SHORT and not (before and after)):
                self.left_out.append((block, ahead))
            else:
                self.moved.append((block, ahead))
                floor, ceiling = (block.end - ahead, ceiling) if before else (floor, block.begin - ahead)

    def _repeats(self, block: Block) -> bool:
        """True when the block tells of a time that others tell of, the same or what they do not tell."""
        inside = (self.times >= block.begin) & (self.times <= block.end)
        own = np.zeros(len(self.times), dtype=bool)
        own[block.first : block.last] = True
        others = inside & ~own
        if not others.any():
            return False
        told = [name for name, column in self.columns.items() if np.isfinite(column[own]).any()]
        if not any(np.isfinite(self.columns[name][others]).any() for name in told):
            return True
        _, here, there = np.intersect1d(self.times[own], self.times[others], return_indices=True)
        if len(here) < block.size / 2:
            return False
        pairs = [(self.columns[name][own][here], self.columns[name][others][there]) for name in told]
        both = np.concatenate([np.isfinite(a) & np.isfinite(b) for a, b in pairs])
        equal = np.concatenate([a == b for a, b in pairs])
        return bool(equal[both].mean() >= 0.8) if both.any() else True

    def _reasons(self) -> tuple[Reason, ...]:
        reasons = []
        strays = [(block, ahead) for block, ahead in self.left_out if block.size > 1]
        for blocks, done in ((strays, "left out"), (self.moved, "placed by their order in the file")):
            if blocks:
                count = sum(block.size for block, _ in blocks)
                block, ahead = blocks[0]
                words = f"{_lasting(abs(ahead))} {'ahead' if ahead > 0 else 'behind'}"
                where = f"the clock was {words} in {count} samples {self._where(block)}: {done}"
                reasons.append(Reason(code="clock_fault", samples=count, message=where))
        return tuple(reasons)

    def _where(self, block: Block) -> str:
        if block.first == 0:
            return "at the beginning"
        return "at the end" if block.last == len(self.times) else "in the middle"


def _lasting(seconds: float) -> str:
    if seconds >= 2 * YEAR:
        return f"{seconds / YEAR:.0f} years"
    return f"{seconds / DAY:.0f} days" if seconds >= 2 * DAY else lasting(seconds)
