"""What all archives have in common: their members are streamed to temporary files one by one, under names of our own.

What an archive declares is checked before anything is unpacked, and never believed while unpacking. A member that
breaks a bound or cannot be unpacked is that member's problem; the rest go on. Of one that is damaged or cut, what comes
before the damage is kept.
"""

import unicodedata
import zlib
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

from hrmodel.workouts.errors import InvalidFile
from hrmodel.workouts.formats.scratch import writing

GZIP_MAGIC = b"\x1f\x8b"
MAX_ENTRIES = 60_000  # of an archive; a Takeout holds everything that somebody has
MAX_UPLOAD_ENTRIES = 60_000  # those of the archives inside it too; as many take 10 s
MAX_ARCHIVES = 300  # that are inside an archive inside another; exports hold a handful
MAX_FILES = 20_000  # that look like workouts
MAX_TOTAL_BYTES = 10_000_000_000  # ten years of an Apple Watch unpack to 2 to 5 GB
MAX_RATIO = 200  # deflate reaches 1,000 on nothing but zeros; real exports stay below 40
MAX_UPLOAD_RATIO = 50  # of a whole upload, nested archives included
SMALL_UPLOAD_BYTES = 200 << 20  # which it may unpack to at least
SMALL_BYTES = 1 << 20  # below it no ratio hurts
COPY_BYTES = 1 << 20
SLICE_BYTES = 512


@dataclass
class Budget:
    """What one upload may still hold at any depth: bytes to unpack, entries of its archives, files that are read."""

    left: int = MAX_TOTAL_BYTES
    entries: int = MAX_UPLOAD_ENTRIES
    files: int = MAX_FILES
    archives: int = MAX_ARCHIVES

    @staticmethod
    def of(size: int) -> "Budget":
        """That of an upload of so many bytes."""
        left = min(MAX_TOTAL_BYTES, max(SMALL_UPLOAD_BYTES, MAX_UPLOAD_RATIO * size))
        return Budget(left=left, entries=MAX_UPLOAD_ENTRIES, files=MAX_FILES)

    def spend(self, size: int) -> None:
        """Raises InvalidFile when it is not enough, and each time from then on."""
        self.left -= size
        if self.left < 0:
            hint = f"the upload unpacks to more than {MAX_TOTAL_BYTES} bytes or {MAX_UPLOAD_RATIO} times its size"
            raise InvalidFile("too_large", "", hint)

    def spend_entries(self, count: int) -> None:
        """Raises InvalidFile when there are too many, and each time from then on."""
        self.entries -= count
        if self.entries < 0:
            hint = f"the archives of this upload hold more than {MAX_UPLOAD_ENTRIES} files"
            raise InvalidFile("too_large", "", hint)

    def spend_archive(self) -> None:
        """One more archive inside an archive inside another. Raises InvalidFile when there are too many."""
        self.archives -= 1
        if self.archives < 0:
            hint = f"more than {MAX_ARCHIVES} archives three deep and deeper; unpack some and upload these"
            raise InvalidFile("too_large", "", hint)

    def spend_file(self) -> None:
        """One more file that looks like a workout. Raises InvalidFile when there are too many."""
        self.files -= 1
        if self.files < 0:
            hint = f"more than {MAX_FILES} files that look like workouts; upload fewer at a time"
            raise InvalidFile("too_large", "", hint)


@dataclass(frozen=True, slots=True)
class Member:
    """One file in an archive. `place`: its folders and name, however they were written; `packed`: bytes it takes."""

    place: str
    label: str  # its name as written, fit to be shown
    size: int
    packed: int
    entry: Any  # what the archive knows it by

    @property
    def name(self) -> str:
        """Without its folders."""
        return self.place.rpartition("/")[2]


class Archive(ABC):
    """An opened archive. `members`: those that may be workout files, by place. `damage`: what is wrong with it."""

    damage: InvalidFile | None = None
    max_ratio = MAX_RATIO

    @property
    @abstractmethod
    def members(self) -> dict[str, Member]:
        """No folders, links, devices, empty, nameless or hidden files, leavings of macOS."""

    @abstractmethod
    def chunks(self, member: Member, size: int) -> Iterator[bytes]:
        """A member's bytes, piece by piece, never more than it declares. Raises InvalidFile."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the file."""

    def head(self, member: Member, size: int) -> bytes:
        """The first bytes of a member. Raises InvalidFile for an encrypted or a damaged one."""
        return next(self.chunks(member, size), b"")

    def unpack(self, member: Member, target: Path, budget: Budget) -> InvalidFile | None:
        """Write a member to `target`; what is wrong behind the part that was written, if anything.

        Raises InvalidFile for a bomb, an encrypted one, and one of which nothing can be unpacked.
        """
        if member.size > max(SMALL_BYTES, self.max_ratio * member.packed):
            raise InvalidFile("too_large", "", f"it unpacks to more than {self.max_ratio} times its size")
        budget.spend(member.size)
        pieces = self.chunks(member, COPY_BYTES)
        with writing(target) as file:
            return _written(pieces, file)

    def sibling(self, member: Member, name: str) -> Member | None:
        """The member at the place `name` relative to the folder of `member`, if any.

        Somebody may have moved it or written its name in other letters: then the only one whose place ends like that.
        """
        place = f"{member.place.rpartition('/')[0]}/{name}".lstrip("/")
        if found := self.members.get(place):
            return found
        alike = [one for one in self._by_name[name.rpartition("/")[2].lower()] if one is not member]
        nearer = [one for one in alike if one.place.lower() == place.lower()]
        nearer = nearer or [one for one in alike if f"/{one.place.lower()}".endswith(f"/{name.lower()}")]
        chosen = nearer or alike
        return chosen[0] if len(chosen) == 1 else None

    @cached_property
    def _by_name(self) -> defaultdict[str, list[Member]]:
        found = defaultdict(list)
        for member in self.members.values():
            found[member.name.lower()].append(member)
        return found


def is_gzip(head: bytes) -> bool:
    """True for a gzip file, by its first bytes."""
    return head.startswith(GZIP_MAGIC)


def gunzip(path: Path, target: Path, budget: Budget) -> InvalidFile | None:
    """Write what a gzip file of any number of members holds; what is wrong behind the part that was written.

    Raises InvalidFile for a bomb and when nothing can be unpacked.
    """
    limit = max(SMALL_BYTES, MAX_RATIO * path.stat().st_size)
    with path.open("rb") as source, writing(target) as file:
        return _written(_bounded(_gunzipped(source), limit, budget), file)


def place_of(name: str) -> str:
    """A member's name with `/` between folders, whatever the program that wrote it takes, and without empty ones."""
    parts = unicodedata.normalize("NFC", name).replace("\\", "/").split("/")  # macOS takes characters apart
    return "/".join(part for part in parts if part not in ("", "."))


def label_of(name: str) -> str:
    """A member's name, fit to be shown: it is never used as a path."""
    return "".join(c if c.isprintable() else "?" for c in name)[:200]


def is_passed_over(place: str) -> bool:
    """True for a file that no person has put there."""
    parts = place.split("/")
    return parts[-1].startswith(".") or not parts[-1] or "__MACOSX" in parts


def _written(pieces: Iterator[bytes], file: BinaryIO) -> InvalidFile | None:
    """Write the pieces; what ended them too early. Raises InvalidFile when nothing was written, and for a bound."""
    written = 0
    while True:
        try:
            piece = next(pieces, b"")
        except InvalidFile as error:
            if error.code == "too_large" or not written:
                raise
            return error
        if not piece:
            return None
        file.write(piece)  # a full disk is ours to report, not the member's fault
        written += len(piece)


def _bounded(pieces: Iterator[bytes], limit: int, budget: Budget) -> Iterator[bytes]:
    written = 0
    for piece in pieces:
        written += len(piece)
        if written > limit:
            raise InvalidFile("too_large", "", f"it unpacks to more than {MAX_RATIO} times its size")
        budget.spend(len(piece))
        yield piece


def _gunzipped(source: BinaryIO) -> Iterator[bytes]:
    """What a gzip file holds in pieces of at most COPY_BYTES: the gzip module has no bound on what one read holds."""
    inflater = zlib.decompressobj(zlib.MAX_WBITS | 16)
    begun = False
    try:
        for data in slices(source):
            while data:
                if inflater.eof:
                    if not data.lstrip(b"\0"):
                        break  # padding behind the last member
                    inflater = zlib.decompressobj(zlib.MAX_WBITS | 16)
                begun = True
                if piece := inflater.decompress(data, COPY_BYTES):
                    yield piece
                data = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
    except zlib.error as error:
        raise InvalidFile("broken_gzip", "", f"the gzip file is damaged: it cannot be unpacked: {error}") from error
    if not begun or not inflater.eof:
        raise InvalidFile(
            "broken_gzip", "", "the gzip file ends too early: it is damaged or cut off; download or export it again"
        )


def slices(source: BinaryIO, size: int | None = None) -> Iterator[bytes]:
    """The next `size` bytes of a file, else all, in pieces so small that little is lost where one is damaged."""
    left = size
    while chunk := source.read(COPY_BYTES if left is None else min(COPY_BYTES, left)):
        left = None if left is None else left - len(chunk)
        for place in range(0, len(chunk), SLICE_BYTES):
            yield chunk[place : place + SLICE_BYTES]


def grouped(pieces: Iterator[bytes], size: int) -> Iterator[bytes]:
    """The same bytes in pieces of `size`; all that came before an InvalidFile come before it."""
    rest, problem = bytearray(), None
    try:
        for piece in pieces:
            rest += piece
            while len(rest) >= size:
                yield bytes(rest[:size])
                del rest[:size]
    except InvalidFile as error:
        problem = error
    if rest:
        yield bytes(rest)
    if problem is not None:
        raise problem
