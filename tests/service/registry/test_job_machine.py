"""Random sequences of events: the rows of jobs equal those of a plain model of the state machine."""

from functools import cache

import pytest
from hypothesis import Phase
from sqlalchemy import literal, null, select

from service.registry import jobs, turns
from service.registry.tables import Job
from tests.builders import on_sqlite
from tests.service.job_machine import run
from tests.service.job_model import QUEUED, RUNNING

STEPS = {"sqlite": (9_000, 95), "postgresql": (1_000, 12)}  # and histories; `make machine` takes any number


def test_ten_thousand_random_steps_of_jobs_are_what_the_model_says(database):
    steps, histories = STEPS[database.engine.dialect.name]
    assert run(database, steps, histories, derandomize=True) >= steps


BROKEN = {
    "the attempt is not looked at": (jobs, "fencing", lambda claim: (Job.id == claim.job_id, Job.state == RUNNING)),
    "crashes are not counted": (jobs, "MAX_CRASHES", 1000),
    "accounts take no turns": (
        turns,
        "_turns",
        lambda stages: select(
            Job.lane,
            *(literal(0).label(name) for name in ("running", "running_in_lane")),
            *(null().label(name) for name in ("last_start", "last_start_in_lane")),
        ).distinct(),
    ),
    "a dependency is not waited for": (
        turns,
        "claimable_jobs",
        lambda stages: select(Job.id).where(Job.state == QUEUED, Job.cancel_requested.is_(False)),
    ),
    "events are not written": (jobs, "_event", lambda *_, **__: None),
}


@on_sqlite
@pytest.mark.parametrize("what", BROKEN)
def test_the_model_notices_when(database, monkeypatch, what):
    monkeypatch.setattr(turns, "fairest", cache(turns.fairest.__wrapped__))  # not the statement made before
    monkeypatch.setattr(*BROKEN[what])
    with pytest.raises((AssertionError, BaseExceptionGroup)):
        run(database, 9_000, 95, derandomize=True, phases=[Phase.generate], report_multiple_bugs=False)
