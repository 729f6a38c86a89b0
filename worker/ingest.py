"""An import job: from an uploaded file to stored workouts with a split, the subject's level and its first champion."""

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from hrmodel.evaluation.report import evaluate
from hrmodel.prediction.predictor import Predictor
from hrmodel.workouts.cleaning import clean
from hrmodel.workouts.errors import InvalidFile
from hrmodel.workouts.formats.catalog import read_upload
from hrmodel.workouts.splits import extend_split
from hrmodel.workouts.units import Units
from hrmodel.workouts.workout import Workout
from service.errors import Conflict
from service.registry import champions, imports, jobs, model_versions, sweep
from service.registry.imports import ImportedFile, ImportedWorkout, StoredWorkout
from service.registry.tables import Champion, Dataset, DatasetKind, Job, ModelVersion, Subject
from worker.data import PersonData, load_person, load_serving, upload_path
from worker.failures import TRIES, JobFailure
from worker.reporter import LeaseLost, Reporter

SEED_FORMAT = "seed"  # the only format whose own split is kept
VAL_PEOPLE_SHARE = 0.15


@dataclass
class Found:
    """What an upload held so far."""

    workouts: list[ImportedWorkout] = field(default_factory=list)
    files: list[ImportedFile] = field(default_factory=list)
    digests: set[str] = field(default_factory=set)  # of the workouts that are kept
    own_splits: dict[str, str] = field(default_factory=dict)  # of seed-format workouts, by digest


def import_upload(reporter: Reporter, job: Job) -> None:
    """Read, clean, store, split, score the base. Raises Stop; the upload goes when the job has ended."""
    with reporter.context.database.unit_of_work() as session:
        if not jobs.heartbeat(session, reporter.claim, reporter.context.lease_seconds).ours:
            raise LeaseLost
        dataset = imports.begin(session, job.dataset_id)
    try:
        _complete(reporter, job, dataset, _read(reporter, job, dataset))
    except JobFailure as failure:
        _fail(reporter, dataset, found_files(failure), failure)
    with reporter.context.database.unit_of_work() as session:  # after the commit: a crash before it needs the file
        sweep.delete_unreferenced(session, reporter.context.store, job.account_id, [dataset.upload_sha256])


class UnusableUpload(JobFailure):
    """A failure with the report of the files that led to it."""

    files: list[ImportedFile]


def found_files(failure: JobFailure) -> list[ImportedFile]:
    """The files that a failed import reports."""
    return failure.files if isinstance(failure, UnusableUpload) else []


def _read(reporter: Reporter, job: Job, dataset: Dataset) -> Found:
    path = upload_path(reporter.context.store, job.account_id, dataset.upload_sha256)
    units = Units(**job.configuration["units"]) if job.configuration.get("units") else None
    found = Found()
    try:
        for file, workouts in read_upload(path, name=dataset.name or "upload", units=units):
            found.files.append(
                ImportedFile(name=file.file, format=file.format, workouts=file.workouts, problem=file.problem)
            )
            for workout in workouts:
                _take(reporter, job, dataset, found, workout, file.format)
                reporter.beat()
    except InvalidFile as error:
        raise JobFailure("unreadable_upload", f"{error}") from error
    if not found.digests:
        raise _nothing_kept(found)
    return found


def _take(
    reporter: Reporter, job: Job, dataset: Dataset, found: Found, workout: Workout, file_format: str | None
) -> None:
    """Clean one workout, store its file when it is kept, and note what happened to it."""
    cleaned = clean(workout, min_hr_per_minute=dataset.min_hr_per_minute)
    data = cleaned.workout.to_bytes() if cleaned.workout else None
    verdict, reasons = cleaned.verdict, [asdict(reason) for reason in cleaned.reasons]
    digest = reporter.context.store.put(job.account_id, data) if data else None
    if digest in found.digests:
        digest, verdict = None, "dropped"
        reasons.append({"code": "duplicate", "samples": len(workout.t), "message": "The same workout twice."})
    if digest:
        found.digests.add(digest)
    if digest and file_format == SEED_FORMAT and workout.split:
        found.own_splits[digest] = workout.split
    found.workouts.append(
        ImportedWorkout(
            digest=digest,
            size=len(data) if data else 0,
            started_at=workout.started_at,
            duration_s=float(workout.t[-1] - workout.t[0]),
            samples=len(workout.t),
            person=workout.person,
            source=workout.source,
            split=None,
            verdict=verdict,
            reasons=reasons,
        )
    )


def _nothing_kept(found: Found) -> UnusableUpload:
    problems = [file.problem for file in found.files if file.problem]
    reasons = [reason["message"] for workout in found.workouts for reason in workout.reasons]
    first = (problems or reasons or ["it holds no workouts"])[0]
    failure = UnusableUpload("no_workouts", f"No workout of this upload can be used; the first reason: {first}")
    failure.files = found.files
    return failure


def _split(dataset: Dataset, found: Found, earlier: dict[str, str]) -> list[ImportedWorkout]:
    """All workouts in time order, the kept ones with their split."""
    ordered = sorted(found.workouts, key=lambda w: (w.started_at.timestamp() if w.started_at else 0.0, w.digest or ""))
    kept = [workout for workout in ordered if workout.digest]
    splits = (
        _population_splits(kept) if dataset.kind == DatasetKind.POPULATION else _personal_splits(kept, found, earlier)
    )
    return [ImportedWorkout(**{**workout.__dict__, "split": splits.get(workout.digest or "")}) for workout in ordered]


def _personal_splits(kept: list[ImportedWorkout], found: Found, earlier: dict[str, str]) -> dict[str, str]:
    people = {workout.person for workout in kept if workout.person}
    if len(people) > 1:
        message = f"This upload holds workouts of {len(people)} people; upload one person's, or use kind=population."
        raise JobFailure("several_people", message)
    digests = [workout.digest or "" for workout in kept]
    if found.own_splits and len(found.own_splits) == len(digests):
        return found.own_splits
    return dict(zip(digests, extend_split(earlier, digests), strict=True))


def _population_splits(kept: list[ImportedWorkout]) -> dict[str, str]:
    """Whole people are held out, chosen by the hash of their names: the choice needs no order and no luck."""
    people = sorted({workout.person or "" for workout in kept}, key=lambda p: hashlib.sha256(p.encode()).hexdigest())
    if len(people) < 2:
        raise JobFailure(
            "too_few_people", "A population needs workouts of at least two people, told apart by the file."
        )
    held_out = set(people[: max(1, round(VAL_PEOPLE_SHARE * len(people)))])
    return {w.digest or "": "val" if (w.person or "") in held_out else "train" for w in kept}


def _complete(reporter: Reporter, job: Job, dataset: Dataset, found: Found) -> None:
    """Split, score and end; again when another import or a deletion came in between. Raises Stop and JobFailure."""
    for left in reversed(range(TRIES)):
        with reporter.context.database.reading() as session:
            earlier = imports.earlier_splits(session, dataset)
        try:
            return _finish(reporter, job, dataset, found, earlier)
        except (Conflict, IntegrityError):
            if not left:
                raise


def _finish(reporter: Reporter, job: Job, dataset: Dataset, found: Found, earlier: dict[str, str]) -> None:
    """Score the models that may serve, then write everything in one transaction. Raises LeaseLost, and Conflict when
    the subject's other workouts are split otherwise by now.
    """  # fmt: skip
    workouts = _split(dataset, found, earlier)
    person = _person(reporter, job, dataset, workouts) if dataset.kind == DatasetKind.PERSONAL else None
    scored = list(_score(reporter, job, person)) if person else []
    reporter.report()
    with reporter.context.database.unit_of_work() as session:
        if person:
            session.get(Subject, dataset.subject_id, with_for_update=True)  # one import of a subject ends at a time
        if imports.earlier_splits(session, dataset) != earlier:
            raise Conflict("splits_changed", "Another import of this subject ended in between.")
        ready = imports.finish(
            session,
            dataset.id,
            workouts,
            found.files,
            digest=_digest(workouts),
            level=person.level.to_dict() if person else None,
        )
        for version, report in scored:
            model_versions.record_evaluation(session, version.id, dataset.id, report)
            model_versions.set_tracked(session, job.subject_id, version.id, report["tracking"])  # type: ignore[arg-type]
        if scored:
            champions.start(session, job.subject_id, scored[0][0].id)  # type: ignore[arg-type]
        counts = {name: getattr(ready, f"{name}_workouts") for name in ("train", "val", "test", "dropped")}
        jobs.add_log(session, reporter.claim, ", ".join(f"{count} {name}" for name, count in counts.items()))
        if not jobs.succeed(session, reporter.claim, {f"{name}_workouts": count for name, count in counts.items()}):
            raise LeaseLost


def _person(reporter: Reporter, job: Job, dataset: Dataset, workouts: list[ImportedWorkout]) -> PersonData:
    stored = [StoredWorkout(w.digest, w.split or "train", w.person, w.source) for w in workouts if w.digest]
    return load_person(reporter.context.store, job.account_id, stored, reporter.beat)


def _score(reporter: Reporter, job: Job, person: PersonData) -> Iterator[tuple[ModelVersion, dict[str, Any]]]:
    """The base and, for a subject that has one, its champion: each replayed over all workouts for its tracking."""
    with reporter.context.database.reading() as session:
        versions = [model_versions.default_base(session, job.account_id)]
        serving = select(ModelVersion).join(Champion, Champion.model_version_id == ModelVersion.id)
        champion = session.scalar(serving.where(Champion.subject_id == job.subject_id))
        if champion is not None and champion.id != versions[0].id:
            versions.append(champion)
    for version in versions:
        predictor = Predictor(load_serving(reporter.context.database, reporter.context.store, version))
        data = person.for_evaluation(predictor.checkpoint)
        yield version, evaluate(predictor, data, on_progress=lambda _: reporter.beat())


def _digest(workouts: list[ImportedWorkout]) -> str:
    """What the dataset holds: every kept workout with its split and person."""
    lines = [f"{w.digest} {w.split} {w.person or ''}" for w in workouts if w.digest]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _fail(reporter: Reporter, dataset: Dataset, files: list[ImportedFile], failure: JobFailure) -> None:
    """End the job and its dataset with the reason."""
    with reporter.context.database.unit_of_work() as session:
        imports.add_files(session, dataset.id, files)
        if not jobs.fail(session, reporter.claim, failure.code, failure.message):
            raise LeaseLost
