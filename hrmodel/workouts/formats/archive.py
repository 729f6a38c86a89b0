"""Zip files of workout files: members are streamed to a temporary file one by one, under names of our own.

Bounds are checked against what the archive declares before anything is unpacked; zipfile then never writes more than
declared. A member that breaks a bound or cannot be unpacked is that member's problem; the rest go on.
"""

import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

from hrmodel.workouts.errors import InvalidFile

MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
MAX_ENTRIES = 20_000
MAX_TOTAL_BYTES = 2_000_000_000
MAX_RATIO = 200
MAX_DIRECTORY_BYTES = MAX_ENTRIES * 512  # the table of contents, which zipfile reads whole
COPY_BYTES = 1 << 20


def is_zip(head: bytes) -> bool:
    """True for a zip file, by its first bytes."""
    return head.startswith(MAGIC)


def open_archive(path: Path) -> zipfile.ZipFile:
    """The archive, with its bounds checked. Raises InvalidFile."""
    try:
        _check_directory(path)
        archive = zipfile.ZipFile(path)
    except InvalidFile:
        raise
    except Exception as error:  # zipfile also leaks struct.error, UnicodeDecodeError, KeyError from forged tables
        raise InvalidFile("broken_zip", "", f"the zip file cannot be read: {str(error)[:100]}") from error
    entries = archive.infolist()
    total = sum(entry.file_size for entry in entries)
    problem = None
    if len(entries) > MAX_ENTRIES:
        problem = f"{len(entries)} files; at most {MAX_ENTRIES} are read"
    elif total > MAX_TOTAL_BYTES:
        problem = f"{total} bytes unpacked; at most {MAX_TOTAL_BYTES} are read"
    if problem:
        archive.close()
        raise InvalidFile("too_large", "", problem)
    return archive


def entries(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The members that may be workout files: no folders, no empty, nameless or hidden files, no leavings of macOS."""
    named = [entry for entry in archive.infolist() if entry.filename]  # is_dir() fails on a forged empty name
    return [entry for entry in named if not entry.is_dir() and entry.file_size and not _hidden(entry)]


def unpack(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path) -> None:
    """Write one member to `target`. Raises InvalidFile for a bomb, an encrypted or a damaged one."""
    if entry.flag_bits & 1:
        raise InvalidFile("encrypted", "", "it is encrypted; upload it without a password")
    if entry.file_size > MAX_RATIO * max(entry.compress_size, 1):
        raise InvalidFile("too_large", "", f"it unpacks to more than {MAX_RATIO} times its size")
    with target.open("wb") as file:
        for chunk in _chunks(archive, entry):
            file.write(chunk)  # a full disk is ours to report, not the member's fault


def label(entry: zipfile.ZipInfo) -> str:
    """The member's name, fit to be shown: it is never used as a path."""
    return "".join(c if c.isprintable() else "?" for c in entry.filename)[:200]


def sibling(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str) -> zipfile.ZipInfo | None:
    """The member called `name` in the same folder of the archive, if any."""
    with suppress(KeyError):
        return archive.getinfo(str(PurePosixPath(entry.filename).with_name(name)))
    return None


def temporary_folder() -> "tempfile.TemporaryDirectory[str]":
    """Where members are unpacked, one after the other."""
    return tempfile.TemporaryDirectory(prefix="stagewise-")


def _chunks(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Iterator[bytes]:
    try:
        with archive.open(entry) as source:
            while chunk := source.read(COPY_BYTES):
                yield chunk
    except Exception as error:  # zlib.error, struct.error, EOFError, OSError from forged offsets, ...
        raise InvalidFile("broken_zip", "", f"it cannot be unpacked: {str(error)[:100]}") from error


def _check_directory(path: Path) -> None:
    """Refuse a huge table of contents before zipfile makes an object of each of its entries."""
    with path.open("rb") as file:
        end = zipfile._EndRecData(file)  # type: ignore[attr-defined]  # knows zip64; no public call gives the size
    if end and end[5] > MAX_DIRECTORY_BYTES:
        raise InvalidFile("too_large", "", f"a table of contents of {end[5]} bytes; at most {MAX_DIRECTORY_BYTES}")


def _hidden(entry: zipfile.ZipInfo) -> bool:
    parts = entry.filename.split("/")
    return parts[-1].startswith(".") or "__MACOSX" in parts
