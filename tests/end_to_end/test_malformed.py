"""Broken requests to a real API process: each is answered, none with a 5xx. `make malformed` sends many more."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.api_process import running_api
from tests.end_to_end.malformed import bombard
from tests.end_to_end.memory import measure

MEBIBYTE = 1 << 20
SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
SECONDS = 60  # for all of its phases: examples, coverage, fuzzing, stateful


@pytest.mark.parametrize("count", [100, pytest.param(3000, marks=pytest.mark.slow)])
def test_broken_requests_are_answered_and_never_with_a_5xx(tmp_path, count):
    with running_api(tmp_path) as api:
        outcome = bombard(api, count, seed=count)
    assert outcome.requests == count
    assert outcome.faults == []
    assert outcome.answers["4xx"] > outcome.answers["2xx"] > 0


@pytest.mark.slow
def test_predictions_leave_no_memory_behind(tmp_path):
    with running_api(tmp_path) as api:
        looks = measure(api, 3000)
    assert looks[-1] - looks[4] < 5 * MEBIBYTE


@pytest.mark.slow
def test_schemathesis_finds_no_server_error_in_any_phase(tmp_path):
    options = ["--checks", "not_a_server_error", "--max-time", str(SECONDS), "--max-examples", "10", "--seed", "1"]
    quiet = ["--no-color", "--warnings", "off", "--generation-database", "none"]
    with running_api(tmp_path) as api:
        place = [f"{api.url}/openapi.json", "--url", api.url, "--header", f"Authorization: Bearer {api.key}"]
        command = [str(SCHEMATHESIS), "run", *place, *options, *quiet]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=10 * SECONDS)
    assert done.returncode == 0, done.stdout
    assert "No issues found" in done.stdout
