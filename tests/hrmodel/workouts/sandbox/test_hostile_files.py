"""Each hostile file goes through the real confined reader: refused, or reported, with bounded memory and time."""

import io
import zipfile
from collections.abc import Iterable

import pytest

from tests import hostile_files, hostile_recordings, hostile_tables, hostile_xml, hostile_zips
from tests.hostile_files import measured, verdict
from tests.measured_reading import measurer

MEGABYTES = 400  # resident, 220 to 265 of them libraries: the kernel maps more of files that were just installed
CPU_SECONDS = 30  # 5 s on a quiet desktop; CI machines take up to three times as long
# as large as anybody's: 1 ms a file, 7 s for a million points
GOOD = {"5000 tracks.zip", "19000 folders of routes.zip", "10000 workouts/train.pt", "ten tracks of 100000 points.gpx"}
OUR_FAULT = ("reader_failed", "too_slow")
FEW = (
    *("billion laughs.gpx", "external entity.tcx", "attribute defaults.xml", "all names.zip", "links.zip"),
    *("overlapping.zip", "a bomb that says 100 bytes.zip", "junk.fit", "300 flipped bits.zip", "code in a line.json"),
    *("1000000 rows, they say.parquet",),
)
PARTS = {
    "small XML": hostile_xml.small,
    "large XML": hostile_xml.large,
    "small zips": hostile_zips.small,
    "large zips": hostile_zips.large,
    "small recordings": hostile_recordings.small,
    "large recordings": hostile_recordings.large,
    "large tables": hostile_tables.large,
    "nothing": lambda: [hostile_files.SPARSE],
}
# torch and pyarrow tell of their experiments while the files are made
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(scope="module")
def small():
    """The soon made ones, by name."""
    return dict(hostile_files.small())


@pytest.fixture
def faults(tmp_path):
    """What is wrong with how uploads are read, by the name of each."""

    def found(uploads: Iterable[hostile_files.Hostile]):
        wrong, count = {}, 0
        with measurer(tmp_path / "measured") as measure:
            for name, content in uploads:
                count += 1
                one = measured(measure, name, content)
                broke = one.refused in OUR_FAULT or any("reader broke off" in line for line in one.said)
                silent = not (one.refused or one.said or one.workouts)
                costly = one.cpu_seconds > CPU_SECONDS or one.megabytes > MEGABYTES
                if broke or silent or (costly and name not in GOOD):
                    wrong[name] = f"{verdict(one)}, {one.cpu_seconds:.1f} s, {one.megabytes:.0f} MB, {one.said[:1]}"
        assert count
        return wrong

    return found


def test_hostile_files_of_each_kind_are_refused_or_reported_in_a_small_process_that_writes_nothing(small, faults):
    assert faults((name, small[name]) for name in FEW) == {}


def test_what_a_pickle_tells_to_run_is_not_run(small, faults):
    pickles = [(name, content) for name, content in small.items() if name.endswith("/train.pt")]
    together = io.BytesIO()
    with zipfile.ZipFile(together, "w") as made:
        for name, content in pickles:
            made.writestr(name, content)
    assert len(pickles) >= 80
    assert faults([("pickles.zip", together.getvalue())]) == {}


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
def test_every_hostile_file_is_refused_or_reported_soon_in_a_small_process_that_writes_nothing(faults, part):
    assert faults(PARTS[part]()) == {}


@pytest.mark.slow
def test_hostile_parquet_files_are_refused_or_reported_too(small, faults):
    assert faults(one for one in small.items() if one[0].endswith(".parquet")) == {}


def test_the_corpus_has_what_was_promised(small):
    assert len(hostile_xml.DECLARATIONS) >= 10
    assert sum(name.endswith((".zip", ".gz")) for name, _ in hostile_zips.small()) >= 8
    junk = {name for name in small if name.startswith("junk.")}
    assert junk == {f"junk.{extension}" for extension in hostile_recordings.EXTENSIONS}
