"""The promises of jobs while everything is killed at random (3 minutes), and that a broken promise would be noticed."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos import entry
from tests.chaos.scenario import Outcome, Scenario, run, show

pytestmark = pytest.mark.chaos
SEED = int(os.environ.get("CHAOS_SEED", "1"))


@pytest.fixture
def outcome_of(capsys: pytest.CaptureFixture[str]) -> Callable[[Scenario], Outcome]:
    """Run a scenario and show its table, whether the test passes or not."""

    def play(scenario: Scenario) -> Outcome:
        # not pytest's folder: PostgreSQL's user may not enter it
        with tempfile.TemporaryDirectory(prefix="stagewise-chaos-") as folder:
            outcome = run(scenario, Path(folder))
        with capsys.disabled():
            print(f"\nseed {scenario.seed}, without: {scenario.without or 'nothing'}")
            show(outcome)
        return outcome

    return play


def test_every_promise_is_kept_for_three_minutes(outcome_of):
    assert outcome_of(Scenario.of(3.0, SEED)).broken == []


STOPS = {"worker stopped for longer than its lease": 5}


def test_without_the_attempt_condition_the_checker_sees_stale_writes(outcome_of):
    """Long jobs, so that a stopped worker awakes while another one has its job."""
    broken = outcome_of(
        Scenario(seed=SEED, blocks=1, seconds=40.0, quota=STOPS, epochs=45, without=entry.FENCING)
    ).broken
    assert any(sentence.startswith("illegal transitions") for sentence in broken)


def test_without_the_compare_and_swap_the_checker_sees_champions_get_worse(outcome_of):
    broken = outcome_of(Scenario(seed=SEED, blocks=2, seconds=5.0, quota={}, without=entry.SWAP)).broken
    assert any(sentence.startswith("champions that got worse") for sentence in broken)
