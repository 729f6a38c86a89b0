"""Files that somebody may upload to hurt the service: XML and zip bombs, lying tables, junk, endless recordings.

All are made here; none is stored. A name is what the uploader calls the file. `python -m tests.hostile_files` reads
each as an import does and prints what became of it and what it cost.
"""

import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from tests import hostile_recordings, hostile_tables, hostile_xml, hostile_zips
from tests.measured_reading import Measured, Measurer, elsewhere, measurer

PARTS = (hostile_xml, hostile_zips, hostile_recordings, hostile_tables)
Writer = Callable[[Path], None]
Hostile = tuple[str, bytes | Writer]


def small() -> Iterator[tuple[str, bytes]]:
    """Those that are soon made, 2 MB at most each."""
    for part in PARTS:
        yield from part.small()


def corpus() -> Iterator[Hostile]:
    """All, one at a time: some have 200 MB."""
    yield from small()
    for part in PARTS:
        yield from part.large()
    yield SPARSE


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2 << 30)


SPARSE: Hostile = ("2 GB of nothing", _sparse)


def measured(measure: Measurer, name: str, content: bytes | Writer) -> Measured:
    """What reading the upload gives and costs. Raises AssertionError when it left a file anywhere."""
    path = measure.root / "upload"
    content(path) if callable(content) else path.write_bytes(content)
    before = elsewhere(measure.root)
    found = measure(path, name.rsplit("/", 1)[-1])
    made = elsewhere(measure.root) - before
    assert not made | set(found.left), (name, made, found.left)
    path.unlink()
    return found


def verdict(found: Measured) -> str:
    """In a few words."""
    if found.refused:
        return f"refused: {found.refused}"
    return f"{found.workouts} workouts" + (f", {len(found.said)} problems" if found.said else "")


def _print_table(part: str) -> None:
    warnings.simplefilter("ignore")  # torch and pyarrow tell of their experiments while the files are made
    print(f"{'file':60} {'verdict':32} {'s':>6} {'CPU s':>6} {'peak MB':>8}")
    with tempfile.TemporaryDirectory() as folder, measurer(Path(folder) / "measured") as measure:
        for name, content in corpus():
            if part in name:
                found = measured(measure, name, content)
                figures = f"{found.seconds:6.1f} {found.cpu_seconds:6.1f} {found.megabytes:8.0f}"
                print(f"{name[:60]:60} {verdict(found)[:32]:32} {figures}", flush=True)


if __name__ == "__main__":
    _print_table(sys.argv[1] if len(sys.argv) > 1 else "")
