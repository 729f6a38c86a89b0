"""The end of a training job: files on disk, then version, evaluation, promotion and state in one transaction."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from hrmodel.evaluation.population import evaluate_people
from hrmodel.evaluation.promotion import compare
from hrmodel.network.checkpoint import Checkpoint
from hrmodel.network.original_format import seed_pt
from hrmodel.prediction.golden import golden_check
from hrmodel.prediction.predictor import Predictor
from service.errors import Conflict
from service.registry import champions, datasets, imports, jobs, model_versions
from service.registry.tables import Account, Champion, Dataset, Evaluation, Job, ModelVersion, Stage, Subject
from worker.data import PERSONAL, PersonData, held_out, load_person, load_serving
from worker.failures import TRIES, JobFailure
from worker.reporter import LeaseLost, Reporter
from worker.scoring import EvaluationResult, evaluate_person


@dataclass(frozen=True, kw_only=True)
class Standard:
    """The workouts that decide which version serves: of a person their newest dataset's, whichever one trained."""

    dataset_id: UUID
    people: Mapping[str, PersonData]


def complete(
    reporter: Reporter,
    job: Job,
    dataset: Dataset,
    people: Mapping[str, PersonData],
    parent: ModelVersion | None,
    checkpoint: Checkpoint,
) -> None:
    """Register the version, score it beside the model that serves, decide, and end the job. Raises LeaseLost."""
    files = store_files(reporter, job, checkpoint)
    predictor = _loaded(reporter, job, files["sha256"])
    standard = own = Standard(dataset_id=dataset.id, people=people)
    results = {dataset.id: _score(reporter, job, own, predictor)}
    columns = {
        **files,
        "parent_id": parent.id if parent else None,
        "dataset_digest": checkpoint.data_digest,
        "code_version": checkpoint.code_version,
    }
    failed = 0
    while True:
        try:
            standard = _standard(reporter, job, own, standard)
            if standard.dataset_id not in results:
                results[standard.dataset_id] = _score(reporter, job, standard, predictor)
            rival = _rival(reporter, job, standard)
            reporter.report()
            with reporter.context.database.unit_of_work() as session:
                _finish(session, reporter.claim, job, columns, results, standard, rival)
            return
        except Conflict:  # another champion came first: so somebody gets ahead each time, and this ends
            continue
        except IntegrityError:  # the rival was deleted, or another job wrote its evaluation at the same time
            failed += 1
            if failed == TRIES:
                raise


def store_files(reporter: Reporter, job: Job, checkpoint: Checkpoint) -> dict[str, Any]:
    """Write the checkpoint and its seed-format twin; the columns that name them."""
    store = reporter.context.store
    data, twin = checkpoint.to_bytes(), seed_pt(checkpoint)
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


def _standard(reporter: Reporter, job: Job, own: Standard, latest: Standard) -> Standard:
    """The job's own dataset, or the newest where another has come since; `latest` is what was read of it before."""
    with reporter.context.database.reading() as session:
        newest = _deciding(session, job)
        if newest in (own.dataset_id, latest.dataset_id):
            return own if newest == own.dataset_id else latest
        stored = imports.stored_workouts(session, newest)
    person = load_person(reporter.context.store, job.account_id, stored, reporter.beat)
    return Standard(dataset_id=newest, people={PERSONAL: person})


def _deciding(session: Session, job: Job) -> UUID:
    newest = datasets.newest_ready(session, job.subject_id) if job.subject_id else None
    return newest.id if newest else job.own_dataset_id


def _rival(reporter: Reporter, job: Job, standard: Standard) -> tuple[ModelVersion, int, EvaluationResult]:
    """The version to beat, its pointer's revision, and its result on the same workouts (scored now if need be)."""
    with reporter.context.database.reading() as session:
        version, revision = _incumbent(session, job)
        known = model_versions.evaluation(session, version.id, standard.dataset_id)
        stored = EvaluationResult(report=known.report) if known and _is_whole(session, job, known) else None
    checkpoint = load_serving(
        reporter.context.database, reporter.context.store, version
    )  # one that is lost is no rival
    return version, revision, stored or _score(reporter, job, standard, Predictor(checkpoint))


def _is_whole(session: Session, job: Job, known: Evaluation) -> bool:
    """Whether a stored evaluation has what is compared and kept today; earlier releases' have less."""
    if job.subject_id is None:
        return all("person" in row for row in known.report["per_workout"])
    row = model_versions.person_state(session, job.subject_id, known.model_version_id, known.dataset_id)
    return row is not None and row.state["until"] is not None  # None: an earlier release kept only the response


def _incumbent(session: Session, job: Job) -> tuple[ModelVersion, int]:
    if job.stage == Stage.BASE:
        return model_versions.default_base(session, job.account_id), 0
    serving = select(ModelVersion, Champion.revision).join(Champion, Champion.model_version_id == ModelVersion.id)
    version, revision = session.execute(serving.where(Champion.subject_id == job.subject_id)).one()
    return version, revision


def _finish(
    session: Session,
    claim: jobs.Claim,
    job: Job,
    columns: dict[str, Any],
    results: Mapping[UUID, EvaluationResult],
    standard: Standard,
    rival: tuple[ModelVersion, int, EvaluationResult],
) -> None:
    """All rows of the end, or none: a claim that is no longer ours rolls everything back."""
    incumbent, revision, rival_result = rival
    if job.subject_id is not None:
        session.get(Subject, job.subject_id, with_for_update=True)  # an import that ends now waits, or is seen
        if _deciding(session, job) != standard.dataset_id:
            raise Conflict("newer_dataset", "An import of this subject ended in between; compare again.")
    version = model_versions.add(session, job, **columns)
    for dataset_id in dict.fromkeys((job.own_dataset_id, standard.dataset_id)):
        results[dataset_id].store(session, job.subject_id, version.id, dataset_id)
    rival_result.store(session, job.subject_id, incumbent.id, standard.dataset_id)
    report = results[standard.dataset_id].report
    decision = {
        **compare(report, rival_result.report),
        "champion_id": str(incumbent.id),
        "dataset_id": str(standard.dataset_id),
    }
    if decision["promote"]:
        _promote(session, job, version, revision, decision)
    result = {
        "model_version_id": str(version.id),
        "score": report["score"],
        "promoted": decision["promote"],
        "decision": decision,
    }
    jobs.add_log(session, claim, f"Score {_bpm(report['score'])} bpm. {decision['reason']}")
    if not jobs.succeed(session, claim, result):
        raise LeaseLost
    session.get_one(Job, job.id).best_sha256 = columns["sha256"]


def _promote(session: Session, job: Job, version: ModelVersion, revision: int, decision: dict[str, Any]) -> None:
    if job.subject_id is None:
        session.get_one(Account, job.account_id, with_for_update=True)  # one base at a time decides
        if model_versions.default_base(session, job.account_id).id != UUID(decision["champion_id"]):
            raise Conflict("default_base_changed", "Another base became the default; compare again.")
        model_versions.set_default_base(session, version, decision["candidate_score"])
        return
    champions.promote(
        session, job.subject_id, version.id, reason="promoted", expected_revision=revision, decision=decision
    )


def _score(reporter: Reporter, job: Job, standard: Standard, predictor: Predictor) -> EvaluationResult:
    """On the subject's test workouts; a base zero-shot on the people whom it never saw."""
    if job.stage == Stage.BASE:
        people = [person.splits["val"] for person in held_out(standard.people)]
        report = evaluate_people(predictor, people, on_progress=lambda _share: reporter.beat())
        return EvaluationResult(report=report)
    data = standard.people[PERSONAL].for_evaluation(predictor.checkpoint)
    return evaluate_person(predictor, data, reporter.beat)


def _bpm(score: float | None) -> str:
    return "-" if score is None else f"{score:.2f}"
