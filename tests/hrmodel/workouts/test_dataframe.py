import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from hrmodel.workouts.simulate import simulate_runner
from hrmodel.workouts.workout import Workout

RUN = simulate_runner(workouts=1)[0]
TABLE = pd.DataFrame({"t": [0.0, 1.0, 2.5], "speed": [2.5, 2.6, np.nan]})


@pytest.mark.parametrize("shift", [0.0, 3.3])
@pytest.mark.parametrize("started_at", [None, datetime(2026, 5, 1, 7, 30, 0, 250_000, tzinfo=UTC)])
def test_a_workout_comes_back_from_its_table_bit_for_bit(started_at, shift):
    workout = replace(RUN, t=RUN.t + shift, started_at=started_at)
    assert Workout.from_dataframe(workout.to_dataframe()).digest == workout.digest


def test_a_table_has_a_column_for_each_recorded_channel():
    table = RUN.to_dataframe()
    assert list(table.columns) == ["t", "speed", "altitude", "heart_rate"]
    assert table.index[0] == RUN.started_at


def test_times_of_the_index_make_the_start_and_the_seconds():
    began = datetime(2026, 5, 1, 9, 30, tzinfo=UTC) + timedelta(hours=2)
    times = pd.DatetimeIndex([began + timedelta(seconds=second) for second in (0, 1, 5)]).tz_convert("Europe/Berlin")
    workout = Workout.from_dataframe(pd.DataFrame({"speed": [1, 2, 3], "power": [200, 210, 220]}, index=times))
    assert (workout.t.tolist(), workout.started_at, workout.sport) == ([0.0, 1.0, 5.0], began, "running")


def test_what_is_said_of_the_workout_is_kept():
    began = datetime(2026, 5, 1, tzinfo=UTC)
    workout = Workout.from_dataframe(TABLE, started_at=began, person="me", sport="walking", source="log.csv")
    assert (workout.started_at, workout.person, workout.sport, workout.source) == (began, "me", "walking", "log.csv")


def test_missing_values_may_be_pandas_own():
    table = TABLE.assign(heart_rate=pd.array([120, None, 122], dtype="Int64"))
    np.testing.assert_array_equal(Workout.from_dataframe(table).heart_rate, [120.0, np.nan, 122.0])


def test_a_missing_column_is_named():
    with pytest.raises(ValueError, match=r"needs the column speed .*; it has t, velocity"):
        Workout.from_dataframe(TABLE.rename(columns={"speed": "velocity"}))
    with pytest.raises(ValueError, match=r"needs the column t .* or an index of times with a time zone"):
        Workout.from_dataframe(TABLE.drop(columns="t"))


def test_times_without_a_zone_are_refused():
    times = pd.date_range("2026-05-01", periods=3, freq="s")
    with pytest.raises(ValueError, match="time zone"):
        Workout.from_dataframe(TABLE.drop(columns="t").set_index(times))


def test_without_pandas_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        RUN.to_dataframe()
