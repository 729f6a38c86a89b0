"""A run comes out of every damaged file that it can come out of."""

from pathlib import Path

import numpy as np
import pytest

from hrmodel.workouts.cleaning.clean import Cleaned, clean
from hrmodel.workouts.cleaning.pieces import join_pieces
from hrmodel.workouts.formats.upload import FileReport, read_upload
from tests import reading_grid
from tests.reading_grid import Case
from tests.run_writer import START

CASES = list(reading_grid.cases())


def read(path: Path, name: str) -> tuple[list[Cleaned], list[str]]:
    """What becomes of each workout of an upload, and the problems of its files."""
    cleaned, problems = [], []
    for one in join_pieces(read_upload(path, name=name)):
        if isinstance(one, FileReport):
            problems += [one.problem] if one.problem else []
        else:
            cleaned.append(clean(one.workout))
    return cleaned, problems


def test_the_grid_has_at_least_two_hundred_cases():
    assert len(CASES) >= 200
    assert len({case.id for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_run_is_read_right(case: Case, tmp_path: Path):
    path = tmp_path / "upload"
    path.write_bytes(case.data)
    cleaned, problems = read(path, case.file)
    kept = [one.workout for one in cleaned if one.workout is not None]
    said = [[reason.message for reason in one.reasons] for one in cleaned], problems
    assert len(kept) == 1, said
    workout = kept[0]
    samples = round(case.seconds / 2) + 1
    assert samples - case.lost - 1 <= len(workout.t) <= samples + 1, said
    assert case.seconds - 2 * case.lost - 2 <= workout.t[-1] <= case.seconds + 2, said
    assert workout.started_at is not None
    assert abs((workout.started_at - START).total_seconds()) <= 2 * case.lost + 1, workout.started_at
    assert workout.heart_rate is not None
    assert np.nanmean(workout.heart_rate) == pytest.approx(case.heart_rate, abs=0.6 + 0.05 * case.lost)
    if case.speed is not None:
        assert np.nanmean(workout.speed) == pytest.approx(case.speed, rel=0.03)
    if case.told:
        assert problems
