"""Broken requests to a real API process: each is answered, none with a 5xx. `make malformed` sends many more."""

import pytest

from tests.end_to_end.api_process import running_api
from tests.end_to_end.malformed import bombard
from tests.end_to_end.memory import measure

MEBIBYTE = 1 << 20


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
