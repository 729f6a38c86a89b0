"""Workouts that were recorded in pieces, one lap or file after another: joined again.

The pieces of a workout are only complete when the whole upload has been read. Until then the first
workouts stay in memory and the others lie in a temporary file, so that memory does not grow with them.
"""

import tempfile
from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from hrmodel.workouts.cleaning.duplicates import Extent, extent_of
from hrmodel.workouts.formats.upload import FileReport, FoundWorkout
from hrmodel.workouts.workout import CHANNELS, Array, Workout, advancing

RECORDED = frozenset({"gpx", "tcx", "fit", "apple_health"})  # formats in which a person's device writes pieces
MAX_GAP = 120.0  # s from the end of a piece to the beginning of the next
MAX_OVERLAP = 1.0  # s: a lap may begin with the last point of the lap before
MAX_SECONDS = 86_400.0  # of the joined workout
MAX_LOOKS = 20  # at pieces that end at about the same time
HELD_SAMPLES = 1_000_000  # of workouts that stay in memory: 40 MB
STORED = {"t", "marks", "started_at", "sport", *CHANNELS}  # fields of a workout that are in its bytes


@dataclass(frozen=True, kw_only=True)
class _StoredPiece:
    """A workout in memory or, beyond what may be held there, in the temporary file."""

    held: Workout | None
    place: int
    size: int
    format: str
    sport: str
    person: str | None
    extent: Extent
    facts: dict[str, Any]  # the fields that are not in its bytes


def join_pieces(
    items: Iterable[FoundWorkout | FileReport],
    *,
    folder: Path | None = None,
    on_joined: Callable[[float], None] = lambda _: None,
) -> Iterator[FoundWorkout | FileReport]:
    """The items of an upload: reports at once, workouts at the end, with the pieces of one workout joined.

    A piece begins within 2 minutes of the end of the piece before, in the same format, sport and person. `folder`: of
    the temporary file; `on_joined` gets the fraction of the workouts that has been handed over.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        pieces, room = list[_StoredPiece](), HELD_SAMPLES
        for item in items:
            if isinstance(item, FileReport):
                yield item
            else:
                room -= len(item.workout.t)
                pieces.append(_put(file, item, hold=room >= 0))
        chains = _chains(pieces)
        for number, chain in enumerate(chains, 1):
            yield FoundWorkout(pieces[chain[0]].format, _joined([_get(file, pieces[i]) for i in chain]))
            on_joined(number / len(chains))


def _put(file: IO[bytes], item: FoundWorkout, *, hold: bool) -> _StoredPiece:
    workout = item.workout
    data = b"" if hold else workout.to_bytes()
    place = file.tell()
    file.write(data)
    facts = {field.name: getattr(workout, field.name) for field in fields(Workout) if field.name not in STORED}
    return _StoredPiece(
        held=workout if hold else None,
        place=place,
        size=len(data),
        format=item.format,
        sport=workout.sport,
        person=workout.person,
        extent=extent_of(workout),
        facts=facts,
    )


def _get(file: IO[bytes], piece: _StoredPiece) -> Workout:
    if piece.held is not None:
        return piece.held
    file.seek(piece.place)
    return replace(Workout.from_bytes(file.read(piece.size)), **piece.facts)


def _chains(pieces: list[_StoredPiece]) -> list[list[int]]:
    """The indices of the workouts: a list in time order for each joined workout, by the first piece."""
    following: dict[int, int] = {}  # index of a piece -> of the next piece
    groups: dict[tuple[str, str | None], list[int]] = defaultdict(list)
    for i, piece in enumerate(pieces):
        if piece.format in RECORDED and piece.extent.has_clock:
            groups[piece.format, piece.person].append(i)
    for group in groups.values():
        following |= _following(pieces, sorted(group, key=lambda i: pieces[i].extent.interval))
    later = set(following.values())
    chains = []
    for i in range(len(pieces)):
        if i not in later:
            chain = [i]
            while chain[-1] in following:
                chain.append(following[chain[-1]])
            chains.append(chain)
    return chains


def _following(pieces: list[_StoredPiece], in_order: list[int]) -> dict[int, int]:
    """Index of a piece -> index of the piece that continues it, of workouts in the order of their starts."""
    following: dict[int, int] = {}
    ends: list[tuple[float, int]] = []
    began: dict[int, float] = {}  # of the whole that a piece belongs to
    for i in in_order:
        begin, end = pieces[i].extent.interval
        place = bisect_right(ends, (begin + MAX_OVERLAP, len(pieces)))
        for earlier_end, earlier in reversed(ends[max(place - MAX_LOOKS, 0) : place]):
            if earlier_end < begin - MAX_GAP or pieces[earlier].sport != pieces[i].sport:
                break  # another sport in between divides a run into two
            if earlier not in following and end - began[earlier] <= MAX_SECONDS:
                following[earlier], began[i] = i, began[earlier]
                break
        began.setdefault(i, begin)
        insort(ends, (end, i))
    return following


def _joined(pieces: list[Workout]) -> Workout:
    """One workout of pieces in time order."""
    first = pieces[0]
    if len(pieces) == 1 or first.started_at is None:
        return first
    starts = [(piece.started_at - first.started_at).total_seconds() for piece in pieces if piece.started_at]
    t = np.round(np.concatenate([piece.t + start for piece, start in zip(pieces, starts, strict=True)]), 3)
    advances = advancing(t)
    return replace(
        first,
        t=t[advances],
        **{name: _channel(pieces, name, advances) for name in CHANNELS},  # type: ignore[arg-type]
        source=f"{first.source} and what follows it, up to {pieces[-1].source} ({len(pieces)} pieces of one workout)",
        removed_samples=sum(piece.removed_samples for piece in pieces),
        mended=tuple(reason for piece in pieces for reason in piece.mended),
    )


def _channel(pieces: list[Workout], name: str, advances: NDArray[np.bool_]) -> Array | None:
    parts = [getattr(piece, name) for piece in pieces]
    if all(part is None for part in parts):
        return None
    missing = (np.full(len(piece.t), np.nan) for piece in pieces)
    return np.concatenate([gap if part is None else part for part, gap in zip(parts, missing, strict=True)])[advances]
