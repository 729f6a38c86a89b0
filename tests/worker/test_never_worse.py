"""Never worse: whatever jobs end in whatever order, a champion is replaced only by a version with a lower error.

Training and scoring are left out: each checkpoint names the errors that its evaluation shall find. All else is real:
files, golden check, comparison, the transaction that ends a job, promotion by hand, roll back and deletion.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import select

from hrmodel.evaluation import population
from hrmodel.evaluation import promotion as comparison
from hrmodel.evaluation.calibration import states_and_report
from hrmodel.evaluation.forecasters import EvaluationData, NetworkForecaster
from hrmodel.prediction.predictor import Predictor
from service.app import make_services
from service.errors import Conflict
from service.models import service as models
from service.registry import jobs, model_versions, promotion, removal
from service.registry.tables import (
    Champion,
    ChampionChange,
    Dataset,
    DatasetKind,
    DatasetState,
    Stage,
)
from service.settings import Settings
from service.subjects import service as subjects
from service.web.deps import Services
from tests import registry_builders as builders
from tests.builders import Sent, on_sqlite
from tests.prediction_builders import LEVEL, make_checkpoint, make_gridded
from worker import completion
from worker.data import PERSONAL, PersonData
from worker.failures import JobFailure
from worker.reporter import Context, Reporter
from worker.scoring import EvaluationResult

DIGESTS = "abcdef"
Errors = Mapping[str, list[float | None]]  # by test workout: the mean absolute errors of P1 and P2-180 in bpm

# Quarters of a beat add up exactly, so that equal scores are equal here and there. None: too short, or the model failed.
errors = st.one_of(st.integers(16, 40).map(lambda n: n / 4), st.none())
tables = st.fixed_dictionaries({digest: st.lists(errors, min_size=2, max_size=2) for digest in DIGESTS})
test_sets = st.sets(st.sampled_from(DIGESTS), min_size=1)
BASE_ERRORS: Errors = {digest: [7.0, 7.0] for digest in DIGESTS}  # of the shipped base
TRAINED = make_gridded([120.0] * 60, digest="trained")
stages = st.sampled_from([Stage.STAGE1, Stage.STAGE2])
picks = st.integers(0, 1000)  # the n-th of what is there, round and round


def errors_of(predictor: Predictor) -> Errors:
    """What the checkpoint says."""
    return predictor.checkpoint.configuration.get("errors", BASE_ERRORS)


def score_of(rows: list[list[float | None]]) -> float | None:
    """The mean over workouts per protocol, then over the protocols; None when one has no value."""
    known = [[value for value in column if value is not None] for column in zip(*rows, strict=True)]
    return fmean(fmean(values) for values in known) if len(known) == 2 and all(known) else None


def better(candidate: Errors, champion: Errors, digests: set[str]) -> bool:
    """Whether the score over the common workouts is lower; a value counts when both have it."""
    ours, theirs = [], []
    for digest in digests:
        pairs = list(zip(candidate[digest], champion[digest], strict=True))
        ours.append([None if None in pair else pair[0] for pair in pairs])
        theirs.append([None if None in pair else pair[1] for pair in pairs])
    scores = score_of(ours), score_of(theirs)
    return len(digests) >= 3 and None not in scores and scores[0] < scores[1]


def named_report(empty: dict[str, Any], predictor: Predictor, digests: list[str]) -> dict[str, Any]:
    """A report over no test workout, filled with the errors that the checkpoint names."""
    table = errors_of(predictor)
    rows = [{"digest": digest, "P1": table[digest][0], "P2-180": table[digest][1]} for digest in digests]
    score = score_of([table[digest] for digest in digests])
    return {**empty, "score": score, "test_workouts": len(digests), "per_workout": rows}


def person_of(digests: Iterable[str]) -> PersonData:
    """The subject as a dataset with these test workouts has them."""
    tests = [make_gridded([120.0], digest=digest) for digest in sorted(digests)]
    return PersonData(splits={"train": [TRAINED], "val": [], "test": tests}, level=LEVEL)


def evaluate_person(predictor: Predictor, data: EvaluationData, on_progress: Any) -> EvaluationResult:
    """Stands in for `worker.scoring.evaluate_person`."""
    network = NetworkForecaster(predictor=predictor, level=data.level)
    states, empty = states_and_report(network, replace(data, test=[]), on_progress)
    made = named_report(empty, predictor, [workout.digest for workout in data.test])
    return EvaluationResult(report=made, state=states[-1])


def evaluate_people(predictor: Predictor, people: list[list[Any]], **_: Any) -> dict[str, Any]:
    """Stands in for `hrmodel.evaluation.population.evaluate_people`."""
    made = named_report(population.evaluate_people(predictor, []), predictor, [w.digest for p in people for w in p])
    return {**made, "per_workout": [{**row, "person": 0} for row in made["per_workout"]]}


@dataclass
class Interrupted(Reporter):
    """Lets something happen between the look at the champion and the transaction that ends the job."""

    meanwhile: Any = None

    def report(self) -> None:
        """The heartbeat, and once what comes in between."""
        super().report()
        if self.meanwhile:
            act, self.meanwhile = self.meanwhile, None
            act()


class History(RuleBasedStateMachine):
    """One account with one subject, from its first dataset on."""

    def __init__(self, context: Context, services: Services) -> None:
        super().__init__()
        self.context, self.services, self.database = context, services, context.database
        self.account = str(uuid4())
        self.subject = builders.add_subject(self.database, self.account)
        self.account_id = self.subject.account_id
        self.datasets: dict[UUID, set[str]] = {}
        self.versions: dict[UUID, tuple[UUID, Errors]] = {}  # the dataset and the errors of each personal version
        self.seen: list[tuple[int, str, UUID | None]] = []
        population = {"kind": DatasetKind.POPULATION, "subject_id": None}
        self.population = builders.add_dataset(self.database, self.account, **population)
        with self.database.unit_of_work() as session:
            shipped = model_versions.shipped(session).id
            promotion.start(session, self.subject.id, shipped)
        self.base_errors: dict[UUID, Errors] = {shipped: BASE_ERRORS}
        self.upload(set(DIGESTS[:4]))

    # -- what may happen ----------------------------------------------------------------------------------------------

    @rule(digests=test_sets)
    def upload(self, digests: set[str]) -> None:
        """A dataset, of which some test workouts are those of another one."""
        made = builders.add_dataset(self.database, self.account, state=DatasetState.READY, name="".join(digests))
        self.datasets[made.id] = digests

    @rule(n=picks, stage=stages, table=st.one_of(tables, tables, st.none()), other=st.integers(0, 3))
    def a_job_ends(self, n: int, stage: Stage, table: Errors | None, other: int) -> None:
        """Perhaps as good as the champion to the bit; perhaps the champion changes after the job looked at it.

        Whichever dataset trained it, the newest one's test workouts decide.
        """
        meanwhile = {0: self.roll_back, 1: lambda: self.somebody_promotes(n, True)}.get(other)
        table = table or self.errors_of(self.champion())
        dataset_id = list(self.datasets)[n % len(self.datasets)]
        person = person_of(self.datasets[dataset_id])
        result = self.complete(dataset_id, stage, person.splits, table, meanwhile)
        version_id = UUID(result["model_version_id"])
        self.versions[version_id] = dataset_id, table
        rival_id = UUID(result["decision"]["champion_id"])
        serving = [version for _, _, version in self.history()]
        assert result["promoted"] == better(table, self.errors_of(rival_id), self.newest())
        assert (serving[-2:] == [rival_id, version_id]) == (version_id in serving) == result["promoted"]

    @rule(table=tables)
    def a_base_job_ends(self, table: Errors) -> None:
        """A lower score makes it the default base; nobody's champion changes."""
        with self.database.reading() as session:
            before = promotion.default_base(session, self.account_id).id
        people = {"train": [], "val": [make_gridded([120.0], digest=digest) for digest in DIGESTS], "test": []}
        result = self.complete(self.population.id, Stage.BASE, people, table)
        version_id = UUID(result["model_version_id"])
        self.base_errors[version_id] = table
        better_one = better(table, self.base_errors[before], set(DIGESTS))
        with self.database.reading() as session:
            default = promotion.default_base(session, self.account_id).id
        assert default == (version_id if better_one else before)

    @rule(stage=stages)
    def a_model_fails_its_golden_check(self, stage: Stage) -> None:
        """The job fails, however good the errors would have been."""
        best: Errors = {digest: [0.0, 0.0] for digest in DIGESTS}
        with pytest.raises(JobFailure, match="not usable"):
            self.complete(next(iter(self.datasets)), stage, {"train": [], "val": [], "test": []}, best, gain=1e9)

    @rule(n=picks, force=st.booleans())
    def somebody_promotes(self, n: int, force: bool) -> None:
        """Any version, also one that lost, or one of an older dataset."""
        if not self.versions:
            return
        version_id = list(self.versions)[n % len(self.versions)]
        before = self.champion()
        try:
            models.promote(self.services, self.account_id, version_id, force=force)
        except Conflict:
            assert self.champion() == before

    @rule()
    def roll_back(self) -> None:
        """One step, if there is one."""
        before = self.champion()
        try:
            subjects.rollback(self.services, self.account_id, self.subject.name)
        except Conflict:
            assert self.champion() == before

    @rule(n=picks)
    def a_dataset_is_deleted(self, n: int) -> None:
        """With every version trained on it."""
        if len(self.datasets) < 2:
            return
        dataset_id = list(self.datasets)[n % len(self.datasets)]
        with self.database.unit_of_work() as session:
            removal.remove_dataset(session, session.get_one(Dataset, dataset_id))
        del self.datasets[dataset_id]
        self.versions = {version: value for version, value in self.versions.items() if value[0] != dataset_id}

    # -- what must hold -----------------------------------------------------------------------------------------------

    @invariant()
    def the_champion_is_never_replaced_by_a_worse_one(self) -> None:
        """Each new change that a job made, or a hand without force, has a lower score on the common workouts."""
        history = self.history()
        kept = [(revision, reason) for revision, reason, _ in history[: len(self.seen)]]
        assert kept == [(revision, reason) for revision, reason, _ in self.seen]  # append-only
        for before, (_, reason, version_id) in zip(
            self.seen[-1:] + history[len(self.seen) :], history[len(self.seen) :], strict=False
        ):
            if reason in ("promoted", "manual"):
                assert better(self.versions[version_id][1], self.errors_of(before[2]), self.newest())
            else:
                assert reason in ("first", "forced", "rollback", "deleted")
        self.seen = history

    @invariant()
    def the_pointer_is_the_last_row_of_the_history(self) -> None:
        """And revisions count up from 0."""
        with self.database.reading() as session:
            pointer = session.get_one(Champion, self.subject.id)
        history = self.history()
        assert (pointer.revision, pointer.model_version_id) == (history[-1][0], history[-1][2])
        assert [revision for revision, _, _ in history] == list(range(len(history)))

    @invariant()
    def the_words_name_who_serves(self) -> None:
        """Whatever happened, `GET /subjects/{s}` can say why."""
        with self.database.reading() as session:
            shown = subjects.show(session, self.account_id, self.subject.name)
        name = {Stage.BASE: "The base model", Stage.STAGE1: "Stage 1", Stage.STAGE2: "Stage 2"}[shown.champion.stage]
        assert shown.why.startswith(f"{name} serves")

    # -- how it is done -----------------------------------------------------------------------------------------------

    def complete(
        self, dataset_id: UUID, stage: Stage, workouts: Any, table: Errors, meanwhile: Any = None, gain: float = 4.0
    ) -> dict[str, Any]:
        """End a job with a checkpoint that names these errors, as a worker does. Raises JobFailure."""
        with self.database.unit_of_work() as session:
            dataset = session.get_one(Dataset, dataset_id)
            job = jobs.add(session, dataset, stage=stage, configuration={})
            claim = jobs.claim_next(session, "test", (stage,), 60.0)
            assert claim == jobs.Claim(job.id, 1)
        level = None if stage == Stage.BASE else LEVEL
        checkpoint = make_checkpoint(stage=stage.value, level=level, gain=gain, configuration={"errors": dict(table)})
        reporter = Interrupted(self.context, claim, meanwhile=meanwhile)
        people = {PERSONAL: PersonData(splits=workouts, level=LEVEL)}
        try:
            completion.complete(reporter, job, dataset, people, None, checkpoint)
        except JobFailure as failure:
            with self.database.unit_of_work() as session:
                jobs.fail(session, claim, failure.code, failure.message)
            raise
        with self.database.reading() as session:
            return session.get_one(jobs.Job, job.id).result

    def errors_of(self, version_id: UUID | None) -> Errors:
        """Of any version that there was."""
        return self.base_errors[version_id] if version_id in self.base_errors else self.versions[version_id][1]

    def newest(self) -> set[str]:
        """The test workouts of the subject's newest dataset."""
        return list(self.datasets.values())[-1]

    def champion(self) -> UUID:
        """The version that serves."""
        with self.database.reading() as session:
            return promotion.require(session, self.subject.id).model_version_id

    def history(self) -> list[tuple[int, str, UUID | None]]:
        """Revision, reason and version of every change."""
        with self.database.reading() as session:
            rows = session.scalars(select(ChampionChange).where(ChampionChange.subject_id == self.subject.id))
            return sorted((row.revision, row.reason, row.model_version_id) for row in rows)


@pytest.fixture
def services(context: Context, tmp_path: Any) -> Services:
    """What the API works with, on the worker's database and files."""
    return make_services(Settings(state_dir=tmp_path), context.database, context.store, Sent())


@pytest.fixture
def named_errors(monkeypatch):
    """Evaluations find what checkpoints name."""
    monkeypatch.setattr(completion, "evaluate_person", evaluate_person)
    monkeypatch.setattr(completion, "evaluate_people", evaluate_people)
    monkeypatch.setattr(completion.imports, "stored_workouts", lambda session, at: session.get_one(Dataset, at).name)
    monkeypatch.setattr(completion, "load_person", lambda store, account, digests, beat, level: person_of(digests))
    monkeypatch.setattr(comparison, "RESAMPLES", 10)  # the interval informs, it does not decide


@pytest.mark.usefixtures("named_errors")
def test_a_champion_is_never_replaced_by_a_worse_one(context, services):
    examples = 10 if context.database.engine.dialect.name == "sqlite" else 4
    run_state_machine_as_test(
        lambda: History(context, services),
        settings=settings(
            max_examples=examples, stateful_step_count=10, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


@on_sqlite
@pytest.mark.usefixtures("named_errors")
def test_a_model_that_fails_on_the_hardest_workout_is_not_better_for_it(context, services):
    history = History(context, services)  # its rules check what they do
    easy = dict.fromkeys("abc", (4.0, 4.0))
    history.a_job_ends(0, Stage.STAGE1, {**easy, "d": [15.0, 15.0]}, 3)
    serving = history.champion()
    history.a_job_ends(0, Stage.STAGE2, {**dict.fromkeys("abc", (4.25, 4.25)), "d": [None, None]}, 3)
    assert (history.champion(), serving in history.versions) == (serving, True)


@on_sqlite
@pytest.mark.usefixtures("named_errors")
def test_a_job_on_an_older_dataset_is_held_to_the_newest_test_workouts(context, services):
    history = History(context, services)  # a dataset with the test workouts a to d
    history.upload(set(DIGESTS))
    history.a_job_ends(1, Stage.STAGE1, dict.fromkeys(DIGESTS, (5.0, 5.0)), 3)
    serving = history.champion()
    better_on_the_older = {**dict.fromkeys("abcd", (4.75, 4.75)), **dict.fromkeys("ef", (20.0, 20.0))}
    history.a_job_ends(0, Stage.STAGE1, better_on_the_older, 3)
    assert (history.champion(), serving in history.versions) == (serving, True)
    with pytest.raises(Conflict, match="not better"):
        models.promote(services, history.account_id, list(history.versions)[-1], force=False)


@on_sqlite
@pytest.mark.usefixtures("named_errors")
def test_an_import_that_ends_while_a_job_decides_makes_it_decide_again(context, services):
    history = History(context, services)
    worse = {**dict.fromkeys("abcd", (4.0, 4.0)), **dict.fromkeys("ef", (20.0, 20.0))}
    (older,) = history.datasets
    person = person_of(history.datasets[older])
    result = history.complete(older, Stage.STAGE1, person.splits, worse, lambda: history.upload(set(DIGESTS)))
    assert (result["promoted"], result["decision"]["test_workouts"]) == (False, 6)
