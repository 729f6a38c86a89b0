"""Jobs of one subject that end at the same moment: the best of all versions serves, and every job succeeds."""

import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
from sqlalchemy import select

from hrmodel.evaluation import promotion as comparison
from service.registry import jobs, model_versions, promotion
from service.registry.tables import ChampionChange, Evaluation, Job, JobState, Stage
from tests import registry_builders as builders
from tests.prediction_builders import LEVEL, make_checkpoint, make_gridded
from tests.worker.test_never_worse import DIGESTS, TRAINED, evaluate_person
from worker import completion
from worker.data import PERSONAL, PersonData
from worker.reporter import Reporter

AT_ONCE = 20
BETTER = [6.75 - n / 8 for n in range(AT_ONCE)]  # bpm; the base has 7


@pytest.fixture
def named_errors(monkeypatch):
    monkeypatch.setattr(completion, "evaluate_person", evaluate_person)
    monkeypatch.setattr(comparison, "RESAMPLES", 10)


def queued(database, dataset):
    """So many claimed jobs on one dataset."""
    with database.unit_of_work() as session:
        made = [jobs.add(session, dataset, stage=Stage.STAGE1, configuration={}) for _ in range(AT_ONCE)]
    claims = []
    for _ in made:
        with database.unit_of_work() as session:
            claims.append(jobs.claim_next(session, "w", (Stage.STAGE1,), 60.0))
    rows = {job.id: job for job in made}
    return [(rows[claim.job_id], claim) for claim in claims]


@pytest.fixture
def race(context, named_errors):
    """Twenty claimed jobs of one subject, and how one of them ends with an error in bpm."""
    dataset = builders.add_dataset(context.database)
    with context.database.unit_of_work() as session:
        promotion.start(session, dataset.subject_id, model_versions.shipped(session).id)
    test = [make_gridded([120.0], digest=digest) for digest in DIGESTS]
    person = PersonData(splits={"train": [TRAINED], "val": [], "test": test}, level=LEVEL)

    def end(job, claim, error):
        errors = {digest: [error, error] for digest in DIGESTS}
        checkpoint = make_checkpoint(stage="stage1", level=LEVEL, configuration={"errors": errors})
        completion.complete(Reporter(context, claim), job, dataset, {PERSONAL: person}, None, checkpoint)

    return queued(context.database, dataset), end


def check(database, count):
    """All succeeded, the best serves, and on the way there each was better than the one before; the errors of these."""
    with database.reading() as session:
        ended = session.scalars(select(Job)).all()
        changes = session.scalars(select(ChampionChange).order_by(ChampionChange.revision)).all()
        served = [
            session.scalar(select(Evaluation.score).filter_by(model_version_id=c.model_version_id)) for c in changes
        ]
        champion = promotion.require(session, changes[0].subject_id)
    assert [job.state for job in ended] == [JobState.SUCCEEDED] * count
    assert served[-1] == min(job.result["score"] for job in ended)
    assert all(later < earlier for earlier, later in pairwise(served))
    assert (champion.revision, champion.model_version_id) == (len(changes) - 1, changes[-1].model_version_id)
    return served


@pytest.mark.parametrize("order", [1, -1], ids=["better and better", "worse and worse"])
def test_of_twenty_jobs_that_end_at_once_the_best_stays(context, monkeypatch, race, order):
    works, end = race
    barrier, look, looked = threading.Barrier(AT_ONCE), completion.score_champion, threading.local()

    def look_with_all_others(*arguments):
        """Everybody has seen the same champion before anybody replaces it."""
        found = look(*arguments)
        if not hasattr(looked, "once"):
            looked.once = barrier.wait(30)
        return found

    monkeypatch.setattr(completion, "score_champion", look_with_all_others)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda work, error: end(*work, error), works, BETTER[::order]))
    check(context.database, AT_ONCE)


@pytest.mark.slow
def test_a_job_that_is_always_second_to_look_still_ends_and_serves(context, monkeypatch, race):
    (*others, best), end = race
    look, first = completion.score_champion, list(zip(others, BETTER, strict=False))

    def others_come_first(*arguments):
        found = look(*arguments)
        if first:
            work, error = first.pop(0)
            with monkeypatch.context() as patched:
                patched.setattr(completion, "score_champion", look)
                end(*work, error)
        return found

    monkeypatch.setattr(completion, "score_champion", others_come_first)
    end(*best, BETTER[-1])
    assert check(context.database, AT_ONCE) == [7.0, *BETTER]
