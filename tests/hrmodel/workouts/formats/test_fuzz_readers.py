"""`make fuzz` in small: every reader reads or refuses files that were damaged at random, and a fault would be seen."""

import random

import pytest

from hrmodel.workouts.formats import timeline
from tests import fuzz_readers
from tests.fuzz_readers import READERS, Outcome, execute

# torch and pyarrow tell of their experiments while the files are made
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.mark.parametrize("reader", [reader for reader in READERS if reader != "parquet"])  # pyarrow ends processes
def test_a_damaged_file_is_read_or_refused(reader):
    outcome = Outcome()
    for number in range(60):
        outcome.add(f"0 {execute(reader, number, 0)}")
    assert outcome.faults == []
    assert outcome.read
    assert outcome.refused or reader == "activities"  # an archive of which one file is sound


def test_another_exception_is_a_fault_that_can_be_repeated(monkeypatch):
    monkeypatch.setattr(timeline, "instant", lambda *_: 1 / 0)
    verdicts = [execute("gpx", number, 0) for number in range(20)]
    assert any("ZeroDivisionError" in verdict for verdict in verdicts)
    assert verdicts == [execute("gpx", number, 0) for number in range(20)]


def test_a_child_that_dies_is_followed_by_another_behind_the_file(monkeypatch):
    real = fuzz_readers.subprocess.run

    def died(command, **options):
        ended = real(command, **options)
        if command[-1] == "0":
            ended.stdout, ended.returncode = "".join(ended.stdout.splitlines(True)[:2]), -6
        return ended

    monkeypatch.setattr(fuzz_readers.subprocess, "run", died)
    outcome = fuzz_readers.fuzz("gzip", 6, seed=0)
    assert (outcome.executions, outcome.died, outcome.faults) == (6, 1, [])


def test_files_are_damaged_in_many_ways():
    original = fuzz_readers.seeds("gpx")[0]
    made = {fuzz_readers.damaged(original, random.Random(number))[0] for number in range(100)}
    assert len(made - {original[0]}) > 80
