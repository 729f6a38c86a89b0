"""Files that somebody may upload to hurt the service: XML and zip bombs, lying tables, junk, endless recordings.

All are made here; none is stored. A name is what the uploader calls the file.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from tests import hostile_recordings, hostile_tables, hostile_xml, hostile_zips

PARTS = (hostile_xml, hostile_zips, hostile_recordings, hostile_tables)
Writer = Callable[[Path], None]


def small() -> Iterator[tuple[str, bytes]]:
    """Those that are soon made, 2 MB at most each."""
    for part in PARTS:
        yield from part.small()


def corpus() -> Iterator[tuple[str, bytes | Writer]]:
    """All, one at a time: some have 200 MB."""
    yield from small()
    for part in PARTS:
        yield from part.large()
    yield "2 GB of nothing", _sparse


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2 << 30)
