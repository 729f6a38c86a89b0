"""The benchmark of predictions runs, so that it is there when somebody needs it; what it measures here is not looked at."""

import shutil

import bench_predict
import pytest

from serving.servers import LEAN, LEAN_ALL, OURS, PLAIN, lits


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed (apt install wrk)")
def test_every_server_answers_its_load_and_each_goal_is_shown_with_what_was_measured(capsys):
    bench_predict.main(["--quick", "--clients", "1,16"])
    table = capsys.readouterr().out
    for name in (OURS, PLAIN, LEAN, LEAN_ALL, *(["LitServe, "] if lits() else [])):
        assert table.count(f"  {name}") >= 4, table  # both requests, both numbers of clients
    goals = [line for line in table.splitlines() if line.endswith(("  met", "  missed"))]
    assert len(goals) >= 9, table
    (faults,) = (line for line in goals if line.startswith("faults"))
    assert faults.endswith("  met"), table
