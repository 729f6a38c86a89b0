"""Tar files. The tarfile module finds the members; their bytes are read here, so that a cut one keeps its part."""

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from hrmodel.workouts.errors import InvalidFile
from hrmodel.workouts.formats import archive
from hrmodel.workouts.formats.archive import Archive, Budget, Member

BLOCK = 512


class _Data(NamedTuple):
    place: int
    sparse: bool


def is_tar(head: bytes) -> bool:
    """True for a tar file, by its first bytes: their checksum is in them."""
    try:
        return bool(tarfile.TarInfo.frombuf(head[:BLOCK], "utf-8", "surrogateescape").name)
    except tarfile.HeaderError:
        return False


class TarArchive(Archive):
    """A tar file with its bounds checked. Raises InvalidFile."""

    max_ratio = 1  # nothing is packed

    def __init__(self, path: Path, budget: Budget) -> None:
        self._path = path
        self._members: dict[str, Member] = {}
        count = 0
        try:
            with tarfile.open(path, "r:") as file:
                while entry := file.next():
                    budget.spend_entries(1)
                    count += 1
                    if count > archive.MAX_ENTRIES:
                        raise InvalidFile("too_large", "", f"more than {archive.MAX_ENTRIES} files")
                    self._add(entry)
                    file.members = []  # type: ignore[attr-defined]  # or it keeps each of them
        except InvalidFile:
            raise
        except Exception as error:  # tarfile also leaks ValueError, OverflowError ... from forged headers
            self.damage = InvalidFile("broken_tar", "", f"the tar file is damaged or cut off: {str(error)[:100]}")
            if not count:
                raise self.damage from error

    def _add(self, entry: tarfile.TarInfo) -> None:
        place = archive.place_of(entry.name)
        if entry.isreg() and entry.size > 0 and place and not archive.is_passed_over(place):
            data = _Data(entry.offset_data, entry.issparse())
            label = archive.label_of(entry.name)
            self._members[place] = Member(place, label, entry.size, entry.size, data)

    @property
    def members(self) -> dict[str, Member]:
        """See Archive."""
        return self._members

    def chunks(self, member: Member, size: int) -> Iterator[bytes]:
        """See Archive."""
        data: _Data = member.entry
        if data.sparse:
            raise InvalidFile("broken_tar", "", "it is stored with holes, which are not read; make a usual tar of it")
        left = member.size
        with self._path.open("rb") as file:
            file.seek(data.place)
            while left and (chunk := file.read(min(size, left))):
                left -= len(chunk)
                yield chunk
        if left:
            raise InvalidFile("broken_tar", "", "it is cut off: the tar file ends in it")

    def close(self) -> None:
        """See Archive."""
