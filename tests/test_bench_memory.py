"""The table of memory runs on a small import, so that it is there when somebody needs it."""

import bench_memory
import pytest


@pytest.mark.slow
def test_every_part_of_the_service_has_its_row_and_the_last_row_is_the_sum(capsys):
    bench_memory.main(["--predictions", "20", "--workouts", "12"])
    rows = [line.rsplit(maxsplit=3) for line in capsys.readouterr().out.splitlines()[3:]]
    names = [name for name, *_ in rows]
    for part in ("supervisor 1", "broker 1", "API 1", "worker 1", "reconciler 1"):
        assert part in names
    *parts, (last, *sums) = rows
    assert last == "all"
    for column, value in enumerate(sums):
        shown = [float(row[1 + column]) for row in parts if row[1 + column] != "-"]
        assert sum(shown) == pytest.approx(float(value), abs=len(shown))  # each is rounded
