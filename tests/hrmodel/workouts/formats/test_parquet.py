from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hrmodel.workouts.cleaning.clean import clean
from hrmodel.workouts.errors import InvalidFile
from hrmodel.workouts.formats import parquet
from hrmodel.workouts.formats.heads import is_parquet
from hrmodel.workouts.formats.source import Source
from hrmodel.workouts.workout import EPOCH

PERSONAL = Path(__file__).resolve().parents[4].parent / "shared" / "data" / "runs" / "personal.parquet"
TYPES = {"run": pa.int32(), "segment": pa.int16(), "day": pa.int32(), "athlete_id": pa.string(), "sport": pa.string()}
TYPES |= {"split": pa.string(), "t": pa.list_(pa.int32()), "speed": pa.list_(pa.float32())}
TYPES |= {name: pa.list_(pa.int16()) for name in ("heart_rate", "cadence")} | {"altitude": pa.list_(pa.float32())}


def row(**changes):
    content = {"athlete_id": "p1", "run": 0, "segment": 0, "day": 0, "split": "train", "sport": "run", "t": [0, 2, 4]}
    n = len(changes.get("t", content["t"]) or [])
    content |= {"speed": [3.0] * n, "altitude": [0.0] * n, "heart_rate": [140] * n, "cadence": None}
    return content | changes


@pytest.fixture
def read(tmp_path):
    def write_and_read(rows, drop=(), types=None, **options):
        schema = pa.schema([(name, kind) for name, kind in (TYPES | (types or {})).items() if name not in drop])
        path = tmp_path / "table.parquet"
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), path, **options)
        assert is_parquet(path.read_bytes()[:4096])
        return list(parquet.read(Source(path=path)))

    return write_and_read


def test_segments_of_a_run_are_joined_in_order_whatever_the_order_of_rows(read):
    rows = [
        row(segment=2, t=[200, 202], heart_rate=[150, 151]),
        row(run=1, day=3),
        row(athlete_id="p2"),
        row(segment=0, heart_rate=[140, 141, 142]),
    ]
    workouts = {(w.person, w.started_at): w for w in read(rows, row_group_size=2)}
    assert set(workouts) == {("p1", EPOCH), ("p1", EPOCH + timedelta(days=3, seconds=1)), ("p2", EPOCH)}
    joined = workouts["p1", EPOCH]
    assert joined.t.tolist() == [0, 2, 4, 200, 202]
    assert joined.heart_rate.tolist() == [140, 141, 142, 150, 151]
    assert (joined.sport, joined.split, joined.source, joined.cadence) == ("running", "train", "p1 run 0", None)


def test_runs_are_handed_on_as_soon_as_they_are_complete(read):
    workouts = read([row(run=0), row(run=1), row(run=2, t=[0, 1]), row(run=0, segment=1, t=[100, 101])])
    assert [w.source for w in workouts] == ["p1 run 1", "p1 run 2", "p1 run 0"]


def test_null_lists_and_elements_are_missing(read):
    rows = [
        row(altitude=None, cadence=[160, None, 162], heart_rate=[140, None, 142]),
        row(segment=1, t=[100, 102], altitude=[5.0, 6.0], heart_rate=None),
        row(run=1, heart_rate=None, altitude=None, speed=None),
        row(run=2, t=[]),
    ]
    first, second = read(rows)
    np.testing.assert_array_equal(first.heart_rate, [140, np.nan, 142, np.nan, np.nan])
    np.testing.assert_array_equal(first.altitude, [np.nan] * 3 + [5, 6])
    np.testing.assert_array_equal(first.cadence, [160, np.nan, 162, np.nan, np.nan])
    assert second.heart_rate is None
    assert second.altitude is None
    assert np.isnan(second.speed).all()


def test_a_clock_that_stands_still_loses_those_samples(read):
    (workout,) = read([row(t=[0, 2, 2, 1, 5], heart_rate=[1, 2, 3, 4, 5])])
    assert (workout.t.tolist(), workout.heart_rate.tolist(), workout.removed_samples) == ([0, 2, 5], [1, 2, 5], 2)


def test_optional_columns_may_be_absent_and_lists_may_be_large(read):
    drop = ("split", "sport", "altitude", "heart_rate", "cadence")
    (workout,) = read(
        [row()], drop=drop, types={"t": pa.large_list(pa.float64()), "speed": pa.large_list(pa.float64())}
    )
    assert (workout.sport, workout.split, workout.heart_rate) == ("running", None, None)


@pytest.mark.parametrize(
    ("rows", "options", "code", "message"),
    [
        ([row()], {"drop": ("speed", "day")}, "unknown_schema", "day, speed are missing"),
        ([row(t=["a"])], {"types": {"t": pa.list_(pa.string())}}, "unknown_schema", "column t"),
        ([row(run="1")], {"types": {"run": pa.string()}}, "unknown_schema", "column run"),
        ([row(athlete_id=1)], {"types": {"athlete_id": pa.int32()}}, "unknown_schema", "column athlete_id"),
        ([row(), row(run=None)], {}, "missing_value", "row 1: run"),
        ([row(t=None)], {}, "missing_value", "t must not be null"),
        ([row(speed=[1.0])], {}, "unequal_lists", "row 0"),
        ([row(t=[-5, 0, 1])], {}, "invalid_workout", "p1 run 0"),
        ([row(day=2**31 - 1)], {}, "invalid_workout", "p1 run 0"),
    ],
)
def test_other_tables_are_refused_with_the_place(read, rows, options, code, message):
    with pytest.raises(InvalidFile, match=message) as caught:
        read(rows, **options)
    assert caught.value.code == code


def test_damaged_files_are_refused(tmp_path, read):
    read([row(run=run) for run in range(50)])
    whole = (tmp_path / "table.parquet").read_bytes()
    middle = len(whole) // 3
    for damaged in (whole[:middle], b"PAR1" + bytes(200) + b"PAR1", whole[:8] + bytes(middle) + whole[8 + middle :]):
        (tmp_path / "table.parquet").write_bytes(damaged)
        with pytest.raises(InvalidFile):
            list(parquet.read(Source(path=tmp_path / "table.parquet")))


@pytest.mark.parametrize(("text", "other"), [(b"segment", b"\xa0egment"), (b"Ann-of-people", b"\xffnn-of-people")])
def test_names_and_texts_that_are_no_unicode_are_damage(tmp_path, read, text, other):
    path = tmp_path / "table.parquet"
    read([row(athlete_id="Ann-of-people")], compression="none")
    path.write_bytes(path.read_bytes().replace(text, other))
    with pytest.raises(InvalidFile) as caught:
        list(parquet.read(Source(path=path)))
    assert caught.value.code == "broken_parquet"


@pytest.mark.skipif(not PERSONAL.exists(), reason="the shared runs are not beside the project")
def test_the_real_person_p004_is_read_whole():
    runs = [workout for workout in parquet.read(Source(path=PERSONAL)) if workout.person == "p004"]
    assert len(runs) == 57
    assert all(clean(run).verdict != "dropped" for run in runs)
    assert sum(run.split == "peer_test" for run in runs) == 5
    assert runs == sorted(runs, key=lambda run: run.sort_key)
    assert np.mean([np.nanmean(run.heart_rate) for run in runs]) == pytest.approx(143, abs=2)
    assert sum(run.t[-1] for run in runs) / 3600 == pytest.approx(41, rel=0.15)
