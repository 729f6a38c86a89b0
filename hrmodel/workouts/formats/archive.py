"""Compressed uploads: members of a zip, and gzip, are streamed to temporary files one by one, under names of our own.

What an archive declares is checked before anything is unpacked, and never believed while unpacking. A member that
breaks a bound or cannot be unpacked is that member's problem; the rest go on.
"""

import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from hrmodel.workouts.errors import InvalidFile
from hrmodel.workouts.formats.scratch import writing

MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
GZIP_MAGIC = b"\x1f\x8b"
PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # the only ones that unpack into as little memory as one asks for
MAX_ENTRIES = 20_000
MAX_UPLOAD_ENTRIES = 60_000  # those of the zips inside it too; as many take 4 s
MAX_TOTAL_BYTES = 10_000_000_000  # ten years of an Apple Watch unpack to 2 to 5 GB
MAX_RATIO = 200  # deflate reaches 1,000 on nothing but zeros; real exports stay below 40
MAX_UPLOAD_RATIO = 100  # of an upload, whatever is inside what
SMALL_UPLOAD_BYTES = 200 << 20  # which it may unpack to at least
SMALL_BYTES = 1 << 20  # below it no ratio hurts
MAX_ENTRY_BYTES = 512  # in the table of contents, which zipfile reads whole
MIN_LOCAL_HEADER = 30  # bytes before a member's data, its name apart
COPY_BYTES = 1 << 20


@dataclass
class Budget:
    """How many bytes one upload may still unpack, and how many entries its zips may still hold, at any depth."""

    left: int = MAX_TOTAL_BYTES
    entries: int = MAX_UPLOAD_ENTRIES

    @staticmethod
    def of(size: int) -> "Budget":
        """That of an upload of so many bytes."""
        return Budget(left=min(MAX_TOTAL_BYTES, max(SMALL_UPLOAD_BYTES, MAX_UPLOAD_RATIO * size)))

    def spend(self, size: int) -> None:
        """Raises InvalidFile when it is not enough."""
        if size > self.left:
            hint = f"the upload unpacks to more than {MAX_TOTAL_BYTES} bytes or {MAX_UPLOAD_RATIO} times its size"
            raise InvalidFile("too_large", "", hint)
        self.left -= size

    def spend_entries(self, count: int) -> None:
        """Raises InvalidFile when there are too many, and each time from then on."""
        self.entries -= count
        if self.entries < 0:
            raise InvalidFile("too_large", "", f"the zips of this upload hold more than {MAX_UPLOAD_ENTRIES} files")


def is_zip(head: bytes) -> bool:
    """True for a zip file, by its first bytes."""
    return head.startswith(MAGIC)


def is_gzip(head: bytes) -> bool:
    """True for a gzip file, by its first bytes."""
    return head.startswith(GZIP_MAGIC)


def open_archive(path: Path, budget: Budget) -> zipfile.ZipFile:
    """The archive, with its bounds checked. Raises InvalidFile."""
    budget.spend_entries(1)  # at least, before any work
    try:
        _check_directory(path, MAX_ENTRY_BYTES * min(MAX_ENTRIES, budget.entries))
        archive = zipfile.ZipFile(path)
    except InvalidFile:
        raise
    except Exception as error:  # zipfile also leaks struct.error, UnicodeDecodeError, KeyError from forged tables
        raise InvalidFile("broken_zip", "", f"the zip file cannot be read: {str(error)[:100]}") from error
    try:
        _check_bounds(archive)
        budget.spend_entries(len(archive.infolist()))
    except InvalidFile:
        archive.close()
        raise
    return archive


def entries(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The members that may be workout files: no folders, links, empty, nameless or hidden files, leavings of macOS."""
    named = [entry for entry in archive.infolist() if entry.filename]  # is_dir() fails on a forged empty name
    return [entry for entry in named if not entry.is_dir() and entry.file_size and not _passed_over(entry)]


def head(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, size: int) -> bytes:
    """The first bytes of a member. Raises InvalidFile for an encrypted or a damaged one."""
    return next(_chunks(archive, entry, size), b"")


def unpack(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, budget: Budget) -> None:
    """Write one member to `target`, a temporary file. Raises InvalidFile for a bomb, an encrypted or a damaged one."""
    if entry.file_size > max(SMALL_BYTES, MAX_RATIO * entry.compress_size):
        raise InvalidFile("too_large", "", f"it unpacks to more than {MAX_RATIO} times its size")
    budget.spend(entry.file_size)
    with writing(target) as file:
        for chunk in _chunks(archive, entry, COPY_BYTES):  # never more than the declared size
            file.write(chunk)  # a full disk is ours to report, not the member's fault


def gunzip(path: Path, target: Path, budget: Budget) -> None:
    """Write what a gzip file of any number of members holds to `target`. Raises InvalidFile for a bomb or damage."""
    limit = max(SMALL_BYTES, MAX_RATIO * path.stat().st_size)
    written = 0
    with path.open("rb") as source, writing(target) as file:
        for piece in _inflated(source):
            written += len(piece)
            if written > limit:
                raise InvalidFile("too_large", "", f"it unpacks to more than {MAX_RATIO} times its size")
            budget.spend(len(piece))
            file.write(piece)


def label(entry: zipfile.ZipInfo) -> str:
    """The member's name, fit to be shown: it is never used as a path."""
    return "".join(c if c.isprintable() else "?" for c in entry.filename)[:200]


def sibling(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str) -> zipfile.ZipInfo | None:
    """The member at the place `name` relative to the folder of `entry`, if any."""
    with suppress(KeyError):
        return archive.getinfo(str(PurePosixPath(entry.filename).parent / name))
    return None


def _chunks(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, size: int) -> Iterator[bytes]:
    if entry.flag_bits & 1:
        raise InvalidFile("encrypted", "", "it is encrypted; upload it without a password")
    if entry.compress_type not in PACKINGS:
        raise InvalidFile("broken_zip", "", "it is packed in a way that is not read; make a usual zip of it")
    try:
        with archive.open(entry) as source:
            while chunk := source.read(size):
                yield chunk
    except Exception as error:  # zlib.error, struct.error, EOFError, OSError from forged offsets, ...
        raise InvalidFile("broken_zip", "", f"it cannot be unpacked: {str(error)[:100]}") from error


def _inflated(source: BinaryIO) -> Iterator[bytes]:
    """The unpacked bytes in pieces of at most COPY_BYTES: the gzip module has no bound on what one read may hold."""
    inflater = zlib.decompressobj(zlib.MAX_WBITS | 16)
    begun = False
    try:
        while data := source.read(COPY_BYTES):
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
        raise InvalidFile("broken_gzip", "", f"it cannot be unpacked: {error}") from error
    if not begun or not inflater.eof:
        raise InvalidFile("broken_gzip", "", "it ends too early; download or export it again")


def _check_bounds(archive: zipfile.ZipFile) -> None:
    members = archive.infolist()
    total = sum(entry.file_size for entry in members)
    if len(members) > MAX_ENTRIES:
        raise InvalidFile("too_large", "", f"{len(members)} files; at most {MAX_ENTRIES} are read")
    if total > MAX_TOTAL_BYTES:
        raise InvalidFile("too_large", "", f"{total} bytes unpacked; at most {MAX_TOTAL_BYTES} are read")
    end = 0
    for entry in sorted(members, key=lambda entry: entry.header_offset):
        if entry.header_offset < end:  # the same bytes would count for several members
            raise InvalidFile("overlapping", "", "its members overlap each other; no program writes such a zip")
        end = entry.header_offset + MIN_LOCAL_HEADER + entry.compress_size


def _check_directory(path: Path, limit: int) -> None:
    """Refuse a huge table of contents before zipfile makes an object of each of its entries."""
    with path.open("rb") as file:
        end = zipfile._EndRecData(file)  # type: ignore[attr-defined]  # knows zip64; no public call gives the size
    if end and end[5] > limit:
        raise InvalidFile("too_large", "", f"a table of contents of {end[5]} bytes; at most {limit}")


def _passed_over(entry: zipfile.ZipInfo) -> bool:
    parts = entry.filename.split("/")
    link = stat.S_ISLNK(entry.external_attr >> 16)
    return link or parts[-1].startswith(".") or "__MACOSX" in parts
