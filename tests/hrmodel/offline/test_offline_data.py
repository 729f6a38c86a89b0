import logging
from dataclasses import replace

import numpy as np
import pytest

from hrmodel.offline.data import load_data, training_digest
from hrmodel.offline.errors import UserError
from hrmodel.signals.contract import FeatureContract
from hrmodel.signals.scale import fit_scale
from hrmodel.workouts.errors import InvalidFile
from hrmodel.workouts.simulate import simulate_runner, simulate_workouts
from hrmodel.workouts.splits import chronological_split
from hrmodel.workouts.units import Units
from service.cli.demo import write_parquet
from tests import gpx_writer
from tests.original_writer import write_original_dataset

RUNS = simulate_runner(workouts=12)
TWO = simulate_workouts(people=2, workouts=8, seed=3)


def sizes(data):
    return len(data.train), len(data.val), len(data.test)


@pytest.fixture
def original_folder(tmp_path):
    write_original_dataset({"train": RUNS[:8], "val": [RUNS[8]], "test": RUNS[9:11]}, tmp_path / "original")
    return tmp_path / "original"


def test_the_originals_files_keep_their_own_split(original_folder):
    assert sizes(load_data(original_folder)) == (8, 1, 2)


def test_other_formats_are_split_in_time_order(tmp_path):
    data = load_data(write_parquet(RUNS[::-1], tmp_path / "runs.parquet"))
    expected = chronological_split(12)
    assert sizes(data) == tuple(expected.count(split) for split in ("train", "val", "test"))
    again = load_data(write_parquet(RUNS, tmp_path / "again.parquet"))
    means = [[w.mean_heart_rate for w in (*one.train, *one.val, *one.test)] for one in (data, again)]
    assert means[0] == means[1]


def test_a_mixed_folder_is_split_in_time_order(original_folder):
    write_parquet(RUNS[11:], original_folder / "more.parquet")
    assert sizes(load_data(original_folder)) == (7, 2, 3)


def test_the_level_is_that_of_train_and_val(original_folder):
    data = load_data(original_folder)
    assert data.level == fit_scale([*data.train, *data.val], FeatureContract())


def test_several_people_need_a_choice(tmp_path):
    path = write_parquet(TWO, tmp_path / "two.parquet")
    with pytest.raises(UserError, match=r"workouts of 2 people; choose one with --person: s000, s001\.$"):
        load_data(path)
    with pytest.raises(UserError, match="no workouts of --person s9: it has s000, s001"):
        load_data(path, person="s9")
    alone = load_data(write_parquet(TWO[8:], tmp_path / "one.parquet"))
    assert training_digest(load_data(path, person="s001")) != training_digest(load_data(path, person="s000"))
    assert load_data(path, person="s001").level == alone.level


def test_units_of_the_originals_speed_can_be_declared(original_folder):
    usual, declared = load_data(original_folder), load_data(original_folder, units=Units(speed="mi/h"))
    assert declared.level.speed == pytest.approx(1.609344 * usual.level.speed)


def test_a_workout_that_is_there_twice_counts_once_and_the_dropped_are_told(tmp_path, caplog):
    (tmp_path / "runs").mkdir()
    short = replace(RUNS[10], t=RUNS[10].t / 100 + np.arange(len(RUNS[10].t)))  # of one sample a second
    write_parquet(RUNS[:10], tmp_path / "runs" / "a.parquet")
    write_parquet([*RUNS[:3], short], tmp_path / "runs" / "b.parquet")
    with caplog.at_level(logging.INFO, "hrmodel"):
        data = load_data(tmp_path / "runs")
    assert sum(sizes(data)) == 10
    assert "dropped: 3 duplicate, 1 too_short" in caplog.text


def test_without_training_workouts_the_missing_file_is_named(original_folder):
    (original_folder / "train.pt").unlink()
    with pytest.raises(UserError, match=r"train\.pt is missing"):
        load_data(original_folder)


def test_files_without_one_usable_workout_say_why(tmp_path):
    still = [replace(run, speed=np.zeros(len(run.t))) for run in RUNS[:2]]
    with pytest.raises(UserError, match=r"no workout to learn from: 2 no_speed \(no moving speed"):
        load_data(write_parquet(still, tmp_path / "still.parquet"))


def test_files_are_read_as_the_service_reads_them_and_what_is_wrong_with_one_is_a_warning(tmp_path, caplog):
    write_parquet(RUNS, tmp_path / "runs.parquet")
    (tmp_path / "cut.gpx").write_bytes(gpx_writer.write(points=1200)[:-4000])
    (tmp_path / "broken.fit").write_bytes(b"no FIT at all")
    (tmp_path / "old.7z").write_bytes(b"7z\xbc\xaf\x27\x1c" + bytes(100))
    (tmp_path / "notes.txt").write_text("hello")
    with caplog.at_level(logging.INFO, "hrmodel.data"):
        data = load_data(tmp_path)
    assert sum(sizes(data)) == len(RUNS) + 1
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [line.partition(":")[0] for line in warned] == ["broken.fit", "cut.gpx", "old.7z"]
    assert "ends too early" in warned[1]
    assert "7z" in warned[2]


def test_when_nothing_is_left_the_first_problem_is_told(tmp_path):
    (tmp_path / "broken.fit").write_bytes(b"no FIT at all")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(InvalidFile, match=r"^broken\.fit: "):
        load_data(tmp_path)
