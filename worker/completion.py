"""The end of a training job: files on disk, then version, evaluation, promotion and state in one transaction."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from hrmodel.evaluation.population import evaluate_people
from hrmodel.evaluation.promotion import compare
from hrmodel.network.checkpoint import Checkpoint
from hrmodel.network.original_format import original_pt
from hrmodel.prediction.golden import golden_check
from hrmodel.prediction.predictor import Predictor
from hrmodel.signals.scale import SubjectScale
from service.errors import Conflict
from service.registry import imports, jobs, model_versions, promotion
from service.registry.tables import ChampionReason, Dataset, Evaluation, Job, ModelVersion, Phase, Subject
from worker.data import PERSONAL, PersonData, load_person, load_serving, unseen_people
from worker.failures import TRIES, JobFailure
from worker.reporter import LeaseLost, Reporter
from worker.scoring import EvaluationResult, evaluate_person


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """The dataset whose held-out workouts decide: a person's newest, even if another was trained on; a base's own."""

    dataset_id: UUID
    people: Mapping[str, PersonData]

    @property
    def tests(self) -> int:
        """How many workouts decide: a person's test workouts, or all of the people whom a base never saw."""
        personal = [workout for person in self.people.values() for workout in person.splits["test"]]
        return len(personal) or sum(len(person.splits["val"]) for person in unseen_people(self.people))


@dataclass(frozen=True, kw_only=True)
class Challenger:
    """The trained model as it will be served, the columns of its row, and its results by dataset."""

    predictor: Predictor
    columns: Mapping[str, Any]
    results: dict[UUID, EvaluationResult]


@dataclass(frozen=True, kw_only=True)
class ScoredChampion:
    """The version to beat, its pointer's revision (0 for a base), and its result on the held-out workouts."""

    version: ModelVersion
    revision: int
    result: EvaluationResult


def complete(
    reporter: Reporter,
    job: Job,
    dataset: Dataset,
    people: Mapping[str, PersonData],
    parent: ModelVersion | None,
    checkpoint: Checkpoint,
) -> None:
    """Register the version, score it beside the champion, decide, and end the job. Raises LeaseLost."""
    columns = {
        **store_files(reporter, job, checkpoint),
        "parent_id": parent.id if parent else None,
        "dataset_digest": checkpoint.data_digest,
        "code_version": checkpoint.code_version,
    }
    challenger = Challenger(predictor=_loaded(reporter, job, columns["sha256"]), columns=columns, results={})
    held_out = own = HeldOut(dataset_id=dataset.id, people=people)
    _score_challenger(reporter, job, challenger, own)
    failed = 0
    while True:
        try:
            held_out = _read_held_out(reporter, job, own, held_out)
            _score_challenger(reporter, job, challenger, held_out)
            reporter.enter(Phase.DECIDING, held_out.tests)
            champion = score_champion(reporter, job, held_out)
            reporter.advance(held_out.tests)
            reporter.report()
            with reporter.context.database.unit_of_work() as session:
                _finish(session, reporter.claim, job, challenger, held_out, champion)
            return
        except Conflict:  # another champion came first: each round ends one competing job, so the loop ends
            continue
        except IntegrityError:  # the champion was deleted, or another job wrote its evaluation at the same time
            failed += 1
            if failed == TRIES:
                raise


def store_files(reporter: Reporter, job: Job, checkpoint: Checkpoint) -> dict[str, Any]:
    """Write the checkpoint and its original-format twin; the columns that name them."""
    store = reporter.context.store
    data, twin = checkpoint.to_bytes(), original_pt(checkpoint)
    return {
        "sha256": store.put(job.account_id, data),
        "size": len(data),
        "pt_sha256": store.put(job.account_id, twin),
        "pt_size": len(twin),
    }


def _loaded(reporter: Reporter, job: Job, sha256: str) -> Predictor:
    """The version as it will be served: read from its file and checked on the golden workout."""
    predictor = Predictor(Checkpoint.from_bytes(reporter.context.store.read(job.account_id, sha256)))
    try:
        golden_check(predictor)
    except ValueError as error:
        raise JobFailure("failed_golden_check", f"The trained model is not usable: {error}.") from error
    return predictor


def _read_held_out(reporter: Reporter, job: Job, *earlier: HeldOut) -> HeldOut:
    """The workouts that decide now; `earlier` are those read before, which need not be read again."""
    with reporter.context.database.reading() as session:
        dataset_id = promotion.deciding_dataset(session, job.subject_id, job.own_dataset_id)
        for held_out in earlier:
            if held_out.dataset_id == dataset_id:
                return held_out
        stored = imports.stored_workouts(session, dataset_id)
        level = session.get_one(Dataset, dataset_id).level
    own_level = SubjectScale.from_dict(level) if level else None
    person = load_person(reporter.context.store, job.account_id, stored, reporter.beat, level=own_level)
    return HeldOut(dataset_id=dataset_id, people={PERSONAL: person})


def _score_challenger(reporter: Reporter, job: Job, challenger: Challenger, held_out: HeldOut) -> None:
    if held_out.dataset_id not in challenger.results:
        reporter.enter(Phase.TESTING, held_out.tests)
        challenger.results[held_out.dataset_id] = _score(reporter, job, held_out, challenger.predictor)


def score_champion(reporter: Reporter, job: Job, held_out: HeldOut) -> ScoredChampion:
    """The version that serves now, scored on the held-out workouts unless its stored report is whole."""
    with reporter.context.database.reading() as session:
        if job.subject_id is None:
            version, revision = promotion.default_base(session, job.account_id), 0
        else:
            version, revision = promotion.champion_version(session, job.subject_id)
        evaluation = model_versions.evaluation(session, version.id, held_out.dataset_id)
        stored = (
            EvaluationResult(report=evaluation.report) if evaluation and _is_whole(session, job, evaluation) else None
        )
    checkpoint = load_serving(reporter.context.database, reporter.context.store, version)  # Conflict if it is lost
    result = stored or _score(reporter, job, held_out, Predictor(checkpoint))
    return ScoredChampion(version=version, revision=revision, result=result)


def _is_whole(session: Session, job: Job, evaluation: Evaluation) -> bool:
    """Whether a stored evaluation has all fields of today; those of earlier releases have fewer."""
    if job.subject_id is None:
        return all("person" in row for row in evaluation.report["per_workout"])
    row = model_versions.person_state(session, job.subject_id, evaluation.model_version_id, evaluation.dataset_id)
    return row is not None and row.state["until"] is not None  # None: an earlier release kept only the response


def _finish(
    session: Session, claim: jobs.Claim, job: Job, challenger: Challenger, held_out: HeldOut, champion: ScoredChampion
) -> None:
    """Write all rows of the end, or none: a lost lease rolls everything back."""
    if job.subject_id is not None:
        session.get(Subject, job.subject_id, with_for_update=True)  # an import that ends now waits, or is seen
        if promotion.deciding_dataset(session, job.subject_id, job.own_dataset_id) != held_out.dataset_id:
            raise Conflict("newer_dataset", "An import of this subject ended in between; compare again.")
    version = model_versions.add(session, job, **challenger.columns)
    for dataset_id in dict.fromkeys((job.own_dataset_id, held_out.dataset_id)):
        challenger.results[dataset_id].store(session, job.subject_id, version.id, dataset_id)
    champion.result.store(session, job.subject_id, champion.version.id, held_out.dataset_id)
    report = challenger.results[held_out.dataset_id].report
    decision = compare(report, champion.result.report)
    ids = {"champion_id": str(champion.version.id), "dataset_id": str(held_out.dataset_id)}
    evidence = {**decision.to_dict(), **ids}
    if decision.promote:
        _promote(session, job, version, champion, evidence)
    result = {
        "model_version_id": str(version.id),
        "score": report["score"],
        "promoted": decision.promote,
        "decision": evidence,
    }
    jobs.add_log(session, claim, f"Score {_bpm(report['score'])} bpm. {decision.reason}")
    if not jobs.succeed(session, claim, result):
        raise LeaseLost
    session.get_one(Job, job.id).best_sha256 = challenger.columns["sha256"]


def _promote(
    session: Session, job: Job, version: ModelVersion, champion: ScoredChampion, evidence: dict[str, Any]
) -> None:
    if job.subject_id is None:
        score = evidence["candidate_score"]
        promotion.promote_base(session, job.account_id, version.id, expected=champion.version.id, score=score)
    else:
        why, expected = ChampionReason.PROMOTED, champion.revision
        promotion.promote(
            session, job.subject_id, version.id, reason=why, expected_revision=expected, decision=evidence
        )


def _score(reporter: Reporter, job: Job, held_out: HeldOut, predictor: Predictor) -> EvaluationResult:
    """The result on the subject's test workouts; a base is scored zero-shot on held-out people."""

    def tell(share: float) -> None:
        reporter.advance(round(share * held_out.tests, 1))

    if not job.stage.personal:
        people = [person.splits["val"] for person in unseen_people(held_out.people)]
        report = evaluate_people(predictor, people, on_progress=tell)
        return EvaluationResult(report=report)
    data = held_out.people[PERSONAL].for_evaluation(predictor.checkpoint)
    return evaluate_person(predictor, data, tell)


def _bpm(score: float | None) -> str:
    return "-" if score is None else f"{score:.2f}"
