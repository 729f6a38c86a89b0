"""Whatever is in a file: it is refused or reported, in bounded time and memory, and nothing is written elsewhere."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import hostile_files
from tests.measured_reading import Measured, Measurer, elsewhere, measurer

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # torch warns of what it is asked to make
MEGABYTES = 300
SECONDS = 3 * 5.0  # the bound is 5 s; machines are noisy
FEW = {  # a quick look at each kind, and what is said of it
    "billion laughs.gpx": "dtd_refused",
    "attribute defaults.tcx": "unknown_format",
    "external entity.xml": "broken_xml",
    "unclosed.gpx": "not_gpx",
    "all names.zip": None,
    "a bomb that says 100 bytes.zip": None,
    "overlapping.zip": "overlapping",
    "gzip bomb in a zip.zip": None,
    "cut at 300 places.zip": None,
    "body of 4 GB.fit": None,
    "code in a line.json": "bad_line",
    "junk.parquet": "unknown_format",
    "system in the place of a tensor/train.pt": "broken_pt",
    "speed, stride 0/train.pt": "unknown_schema",
    "a deflated bomb/train.pt": "too_large",
}


@pytest.fixture(scope="module")
def measure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Measurer]:
    """Reads uploads as an import does."""
    with measurer(tmp_path_factory.mktemp("measured") / "root") as started:
        yield started


def assert_harmless(measure: Measurer, path: Path, name: str) -> Measured:
    before = elsewhere(measure.root)
    found = measure(path, name)
    assert found.refused or found.said or found.workouts, name
    assert found.megabytes < MEGABYTES, name
    assert found.left == [], name
    assert elsewhere(measure.root) == before, name
    return found


def write(path: Path, content: bytes | Callable[[Path], None]) -> None:
    content(path) if callable(content) else path.write_bytes(content)


def test_a_hostile_file_of_each_kind_is_refused_or_reported(measure, tmp_path):
    seen = {}
    for name, content in hostile_files.small():
        if name in FEW:
            write(tmp_path / "upload", content)
            seen[name] = assert_harmless(measure, tmp_path / "upload", name).refused
    assert seen == FEW


@pytest.mark.slow
def test_the_whole_corpus_is_refused_or_reported_within_bounds(measure, tmp_path):
    rows = []
    for name, content in hostile_files.corpus():
        write(tmp_path / "upload", content)
        found = assert_harmless(measure, tmp_path / "upload", name)
        assert found.seconds < SECONDS, name
        rows.append((found.seconds, found.megabytes, name, found.refused or f"{found.workouts} workouts"))
        (tmp_path / "upload").unlink()
    for seconds, megabytes, name, verdict in sorted(rows, reverse=True)[:20]:
        print(f"{seconds:6.2f} s {megabytes:4.0f} MB  {verdict:20} {name}")
    largest, slowest = max(row[1] for row in rows), max(row[0] for row in rows)
    print(f"{len(rows)} hostile files; the slowest {slowest:.2f} s, the largest process {largest:.0f} MB")
