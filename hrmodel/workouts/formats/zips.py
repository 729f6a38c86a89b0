"""Zip files: their table of contents, or what can be found without it where the end of the file is missing."""

import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from hrmodel.workouts.errors import InvalidFile
from hrmodel.workouts.formats import archive
from hrmodel.workouts.formats.archive import Archive, Budget, Member

MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # the only ones that unpack into as little memory as one asks for
MAX_TABLE_BYTES = 16 << 20  # of the table of contents, which zipfile reads whole
LOCAL = struct.Struct("<4s5H3L2H")  # what stands before a member's data, its name apart
DESCRIPTOR = b"PK\x07\x08"
SECOND_BYTE = re.compile(r"(?<=[^\0-\x7f])\\")  # of a Chinese or Japanese character, and no folder's end
UNKNOWN_SIZE, UTF_8, ENCRYPTED = 0x8, 0x800, 0x1  # flags
CUT = "the zip file is cut off or damaged: its table of contents is missing; what is whole before is read"


def is_zip(head: bytes) -> bool:
    """True for a zip file, by its first bytes."""
    return head.startswith(MAGIC)


def open_zip(path: Path, budget: Budget) -> zipfile.ZipFile:
    """A zip file that is whole, with its bounds checked. Raises InvalidFile."""
    budget.spend_entries(1)  # at least, before any work
    try:
        _check_table(path, budget)
        opened = zipfile.ZipFile(path)
    except InvalidFile:
        raise
    except Exception as error:  # zipfile also leaks struct.error, UnicodeDecodeError, KeyError from forged tables
        raise InvalidFile("broken_zip", "", f"the zip file cannot be read: {str(error)[:100]}") from error
    return _bounded(opened, budget)


class ZipArchive(Archive):
    """A zip file with its bounds checked. Raises InvalidFile."""

    def __init__(self, path: Path, budget: Budget) -> None:
        try:
            self._file = open_zip(path, budget)
        except InvalidFile as error:
            if error.code != "broken_zip":
                raise
            self._file = _bounded(_Salvaged(path, error), budget)
            self.damage = InvalidFile("broken_zip", "", CUT)

    @cached_property
    def members(self) -> dict[str, Member]:
        """See Archive."""
        found: dict[str, Member] = {}
        for entry in self._file.infolist():
            name = _readable(entry)
            place = archive.place_of(name)
            link = stat.S_ISLNK(entry.external_attr >> 16)
            if not entry.file_size or link or name.endswith(("/", "\\")) or archive.is_passed_over(place):
                continue
            if place in found and found[place].entry.filename != entry.filename:
                place = archive.label_of(entry.filename)
            found[place] = Member(place, archive.label_of(name), entry.file_size, entry.compress_size, entry)
        return found

    def chunks(self, member: Member, size: int) -> Iterator[bytes]:
        """See Archive."""
        entry: zipfile.ZipInfo = member.entry
        if entry.flag_bits & ENCRYPTED:
            raise InvalidFile("encrypted", "", "it is encrypted; upload it without a password")
        if entry.compress_type not in PACKINGS:
            raise InvalidFile("broken_zip", "", "it is packed in a way that is not read; make a usual zip of it")
        yield from archive.grouped(self._unpacked(entry), size)

    def _unpacked(self, entry: zipfile.ZipInfo) -> Iterator[bytes]:
        """Not by zipfile's own reader, which keeps what comes before the damage to itself."""
        left, crc = entry.file_size, 0
        try:
            self._file.open(entry).close()  # it compares what stands before the data with the table
            with Path(str(self._file.filename)).open("rb") as file:
                file.seek(entry.header_offset)
                *_, name_bytes, extra = LOCAL.unpack(file.read(LOCAL.size))
                file.seek(name_bytes + extra, 1)
                raw = archive.slices(file, entry.compress_size)
                for piece in raw if entry.compress_type == zipfile.ZIP_STORED else _inflated(raw):
                    piece = piece[:left]
                    left, crc = left - len(piece), zlib.crc32(piece, crc)
                    yield piece
                    if not left:
                        break
        except Exception as error:  # zlib.error, struct.error, OSError from forged offsets, ...
            raise _damaged(str(error)) from error
        if left or crc != entry.CRC:
            raise _damaged("it ends too early" if left else "its checksum is wrong")

    def close(self) -> None:
        """See Archive."""
        self._file.close()


def _inflated(raw: Iterator[bytes]) -> Iterator[bytes]:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    for data in raw:
        while data and not inflater.eof:
            yield inflater.decompress(data, archive.COPY_BYTES)
            data = inflater.unconsumed_tail


def _damaged(why: str) -> InvalidFile:
    return InvalidFile("broken_zip", "", f"it is damaged or cut off in the zip file: {why[:100]}")


class _Salvaged(zipfile.ZipFile):
    """A zip file without a table of contents, which is made of what stands before each member.

    Raises InvalidFile, `problem`, when it has no member.
    """

    def __init__(self, path: Path, problem: InvalidFile) -> None:
        self._problem = problem
        super().__init__(path)

    def _RealGetContents(self) -> None:  # noqa: N802
        assert self.fp is not None
        for entry in _entries(self.fp):  # type: ignore[arg-type]
            if len(self.filelist) >= archive.MAX_ENTRIES:
                break
            self.filelist.append(entry)
            self.NameToInfo[entry.filename] = entry
        if not self.filelist:
            raise self._problem
        self.start_dir = 0


def _entries(file: BinaryIO) -> Iterator[zipfile.ZipInfo]:
    """The members one after another, the last one perhaps cut."""
    end = file.seek(0, 2)
    place = 0
    while True:
        file.seek(place)
        head = file.read(LOCAL.size)
        if len(head) < LOCAL.size or not head.startswith(MAGIC[0]):
            return
        _, _, flags, packing, _, _, crc, packed, size, name_bytes, extra = LOCAL.unpack(head)
        name = file.read(name_bytes).decode("utf-8" if flags & UTF_8 else "cp437", "replace")
        data = place + LOCAL.size + name_bytes + extra
        if not name or data >= end:
            return
        entry = zipfile.ZipInfo(name)
        entry.header_offset, entry.flag_bits, entry.compress_type, entry.CRC = place, flags, packing, crc
        place = data + packed
        if flags & UNKNOWN_SIZE or packed == 0xFFFFFFFF:
            if packing != zipfile.ZIP_DEFLATED:
                return  # its end cannot be known
            packed, size, entry.CRC = _measured(file, data)
            place = _next(file, data + packed)
        entry.compress_size, entry.file_size = min(packed, end - data), size
        yield entry


def _measured(file: BinaryIO, place: int) -> tuple[int, int, int]:
    """How many bytes deflated data takes and unpacks to, and their checksum. Raises InvalidFile for a bomb."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    file.seek(place)
    taken = size = crc = 0
    while not inflater.eof and (data := inflater.unconsumed_tail or file.read(archive.COPY_BYTES)):
        try:
            piece = inflater.decompress(data, archive.COPY_BYTES)
        except zlib.error:
            return taken, size, crc
        taken += len(data) - len(inflater.unconsumed_tail) - len(inflater.unused_data)
        size, crc = size + len(piece), zlib.crc32(piece, crc)
        if size > max(archive.SMALL_BYTES, archive.MAX_RATIO * taken):
            raise InvalidFile("too_large", "", f"it unpacks to more than {archive.MAX_RATIO} times its size")
    return taken, size, crc


def _next(file: BinaryIO, place: int) -> int:
    """Where the next member begins behind the checksum and sizes that may follow one's data."""
    file.seek(place)
    behind = file.read(28)
    for length in (16, 24, 12, 20) if behind.startswith(DESCRIPTOR) else (12, 20):
        if behind[length : length + 2] == b"PK":
            return place + length
    return place


def _readable(entry: zipfile.ZipInfo) -> str:
    """Its name; programs that say nothing of its encoding mostly write UTF-8."""
    if entry.flag_bits & UTF_8 or entry.filename.isascii():
        return entry.filename
    try:
        return entry.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return SECOND_BYTE.sub("_", entry.filename)


def _bounded(opened: zipfile.ZipFile, budget: Budget) -> zipfile.ZipFile:
    try:
        _check_bounds(opened.infolist())
        budget.spend_entries(len(opened.infolist()))
    except InvalidFile:
        opened.close()
        raise
    return opened


def _check_bounds(members: list[zipfile.ZipInfo]) -> None:
    total = sum(entry.file_size for entry in members)
    if len(members) > archive.MAX_ENTRIES:
        raise InvalidFile("too_large", "", f"{len(members)} files; at most {archive.MAX_ENTRIES} are read")
    if total > archive.MAX_TOTAL_BYTES:
        raise InvalidFile("too_large", "", f"{total} bytes unpacked; at most {archive.MAX_TOTAL_BYTES} are read")
    end = 0
    for entry in sorted(members, key=lambda entry: entry.header_offset):
        if entry.header_offset < end:  # the same bytes would count for several members
            raise InvalidFile("overlapping", "", "its members overlap each other; no program writes such a zip")
        end = entry.header_offset + LOCAL.size + entry.compress_size


def _check_table(path: Path, budget: Budget) -> None:
    """Refuse a huge table of contents before zipfile makes an object of each of its entries."""
    limit = min(MAX_TABLE_BYTES, max(budget.entries, 0) * 512)
    with path.open("rb") as file:
        end = zipfile._EndRecData(file)  # type: ignore[attr-defined]  # knows zip64; no public call gives the size
    if end and end[5] > limit:
        raise InvalidFile("too_large", "", f"a table of contents of {end[5]} bytes; at most {limit}")
