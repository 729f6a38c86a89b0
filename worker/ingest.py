"""An import job: from an uploaded file to stored workouts with a split, the subject's level and its first champion."""

import hashlib
from dataclasses import asdict, dataclass, field, replace
from uuid import UUID

from sqlalchemy.exc import IntegrityError

from hrmodel.signals.grid import GriddedWorkout, to_grid
from hrmodel.workouts.cleaning.clean import clean, heart_rate_density
from hrmodel.workouts.cleaning.duplicates import Extent, extent_of
from hrmodel.workouts.errors import InvalidFile
from hrmodel.workouts.formats.upload import FileReport, FoundWorkout
from hrmodel.workouts.sandbox.isolated import read_isolated
from hrmodel.workouts.splits import extend_split
from hrmodel.workouts.units import Units
from service.errors import Conflict
from service.registry import imports, jobs, leftovers, promotion
from service.registry.imports import ImportedFile, ImportedWorkout, StoredWorkout
from service.registry.tables import Dataset, DatasetKind, Job, Phase, Subject
from worker.data import StoredPerson, upload_path
from worker.failures import TRIES, JobFailure
from worker.growing import growth
from worker.import_scoring import ImportScoring
from worker.merging import Merged
from worker.reporter import LeaseLost, Reporter

ORIGINAL_FORMAT = "original"  # the only format whose own split is kept
VAL_PEOPLE_SHARE = 0.15


@dataclass
class ImportedSoFar:
    """What an upload held so far."""

    workouts: list[ImportedWorkout] = field(default_factory=list)
    files: list[ImportedFile] = field(default_factory=list)
    extents: dict[str, Extent] = field(default_factory=dict)  # of the workouts that are kept, by digest
    own_splits: dict[str, str] = field(default_factory=dict)  # of original-format workouts, by digest
    gridded: dict[str, GriddedWorkout] = field(default_factory=dict)  # of a person's kept workouts, by digest


def import_upload(reporter: Reporter, job: Job) -> None:
    """Read, clean, store, split, score the base. Raises Stop. Records files that stay unreferenced."""
    with reporter.context.database.unit_of_work() as session:
        if not jobs.heartbeat(session, reporter.claim, reporter.context.lease_seconds).lease_held:
            raise LeaseLost
        dataset = imports.begin(session, job.own_dataset_id)
    imported = ImportedSoFar()
    try:
        _read(reporter, job, dataset, imported)
        _complete(reporter, job, dataset, imported)
    except JobFailure as failure:
        _fail(reporter, dataset, imported, failure)


def _read(reporter: Reporter, job: Job, dataset: Dataset, imported: ImportedSoFar) -> None:
    """Read the upload in a process of its own. Raises Stop, JobFailure when nothing of it can be used."""
    context = reporter.context
    path = upload_path(context.store, job.account_id, dataset.upload_sha256)
    units = Units(**job.configuration["units"]) if job.configuration.get("units") else None
    sport = job.configuration.get("sport")
    name = dataset.name or "upload"
    size = dataset.upload_size or 1
    reporter.enter(Phase.READING, size)
    try:
        with context.store.scratch(f"{reporter.claim.job_id}-{reporter.claim.attempt}") as folder:
            upload = read_isolated(
                path,
                name=name,
                folder=folder,
                units=units,
                sport=sport,
                on_wait=lambda share: reporter.advance(round(share * size)),
            )
            for item in upload:
                if isinstance(item, FileReport):
                    imported.files.append(
                        ImportedFile(name=item.file, format=item.format, workouts=item.workouts, problem=item.problem)
                    )
                else:
                    _take(reporter, job, dataset, imported, item)
    except InvalidFile as error:
        imported.files.append(ImportedFile(name=name, format=None, workouts=0, problem=str(error)))
        raise JobFailure("unreadable_upload", f"{error}") from error
    if not imported.extents:
        raise _nothing_kept(imported)


def _take(reporter: Reporter, job: Job, dataset: Dataset, imported: ImportedSoFar, item: FoundWorkout) -> None:
    """Clean one workout, store its file when it is kept, and note what happened to it."""
    cleaned = clean(item.workout, min_hr_per_minute=dataset.min_hr_per_minute, on_fault=reporter.beat)
    workout = cleaned.workout or item.workout
    data = workout.to_bytes() if cleaned.workout else None
    verdict, reasons = cleaned.verdict, [asdict(reason) for reason in cleaned.reasons]
    digest = reporter.context.store.put(job.account_id, data) if data else None
    if digest in imported.extents:
        digest, verdict = None, "dropped"
        reasons.insert(0, {"code": "duplicate", "samples": len(workout.t), "message": "the same workout twice"})
    if digest:
        imported.extents[digest] = extent_of(workout)
        if dataset.kind == DatasetKind.PERSONAL:
            imported.gridded[digest] = to_grid(workout, digest)
    if digest and item.format == ORIGINAL_FORMAT and workout.split:
        imported.own_splits[digest] = workout.split
    imported.workouts.append(
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
            sport=workout.sport,
            heart_rate_per_minute=heart_rate_density(item.workout),
        )
    )


def _nothing_kept(imported: ImportedSoFar) -> JobFailure:
    problems = [file.problem for file in imported.files if file.problem]
    reasons = [reason["message"] for workout in imported.workouts for reason in workout.reasons]
    first = (problems or reasons or ["it holds no workouts"])[0]
    return JobFailure("no_workouts", f"No workout of this upload can be used; the first reason: {first}")


def _split(dataset: Dataset, imported: ImportedSoFar, known: list[ImportedWorkout]) -> list[ImportedWorkout]:
    """All workouts of the new dataset in time order, the kept ones with their split."""
    if dataset.kind == DatasetKind.POPULATION:
        merged = Merged.of(imported.workouts, imported.extents, [])
        splits = _population_splits(merged.kept)
    elif imported.own_splits and len(imported.own_splits) == len(imported.extents):
        merged = Merged.of(imported.workouts, imported.extents, [])  # the original's data is a whole with its own split
        splits = imported.own_splits
    else:
        merged = Merged.of(imported.workouts, imported.extents, known)
        splits = _personal_splits(merged)
    return [replace(workout, split=splits.get(workout.digest or "")) for workout in merged.workouts]


def _personal_splits(merged: Merged) -> dict[str, str]:
    people = {workout.person for workout in merged.kept if workout.person}
    if len(people) > 1:
        message = f"This upload holds workouts of {len(people)} people; upload one person's, or use kind=population."
        raise JobFailure("several_people", message)
    digests = [workout.digest or "" for workout in merged.kept]
    return dict(zip(digests, extend_split([merged.inherited.get(digest) for digest in digests]), strict=True))


def _population_splits(kept: list[ImportedWorkout]) -> dict[str, str]:
    """Whole people are held out, chosen by the hash of their names: the choice needs no order and no luck."""
    people = sorted({workout.person or "" for workout in kept}, key=lambda p: hashlib.sha256(p.encode()).hexdigest())
    if len(people) < 2:
        raise JobFailure(
            "too_few_people", "A population needs workouts of at least two people, told apart by the file."
        )
    held_out = set(people[: max(1, round(VAL_PEOPLE_SHARE * len(people)))])
    return {w.digest or "": "val" if (w.person or "") in held_out else "train" for w in kept}


def _complete(reporter: Reporter, job: Job, dataset: Dataset, imported: ImportedSoFar) -> None:
    """Split, score and end; again when another import or a deletion came in between. Raises Stop and JobFailure."""
    for left in reversed(range(TRIES)):
        with reporter.context.database.reading() as session:
            ready = imports.ready_datasets(session, dataset)
            known = imports.known_workouts(session, ready)
        try:
            return _finish(reporter, job, dataset, imported, known, ready)
        except (Conflict, IntegrityError):
            if not left:
                raise


def _finish(
    reporter: Reporter,
    job: Job,
    dataset: Dataset,
    imported: ImportedSoFar,
    known: list[ImportedWorkout],
    ready: list[UUID],
) -> None:
    """Score the models that may serve, then write everything in one transaction. Raises LeaseLost, and Conflict when
    the subject's other workouts are split otherwise by now.
    """  # fmt: skip
    workouts = _split(dataset, imported, known)
    scoring = _scoring(reporter, dataset, imported, workouts, ready)
    scored = list(scoring.results(job.account_id)) if scoring else []
    reporter.report()
    with reporter.context.database.unit_of_work() as session:
        if scoring:
            session.get(Subject, dataset.subject_id, with_for_update=True)  # one import of a subject ends at a time
        if imports.ready_datasets(session, dataset) != ready:
            raise Conflict("splits_changed", "Another import of this subject ended in between.")
        finished = imports.finish(
            session,
            dataset.id,
            workouts,
            imported.files,
            digest=_digest(workouts),
            level=scoring.level.to_dict() if scoring else None,
        )
        for version, result in scored:
            result.store(session, job.subject_id, version.id, dataset.id)
        if scored:
            promotion.start(session, job.subject_id, scored[0][0].id)  # type: ignore[arg-type]
        counts = {name: getattr(finished, f"{name}_workouts") for name in ("train", "val", "test", "dropped")}
        jobs.add_log(session, reporter.claim, ", ".join(f"{count} {name}" for name, count in counts.items()))
        leftovers.add(session, job.account_id, imported.extents.keys() - {workout.digest for workout in workouts})
        if not jobs.succeed(session, reporter.claim, {f"{name}_workouts": count for name, count in counts.items()}):
            raise LeaseLost


def _scoring(
    reporter: Reporter,
    dataset: Dataset,
    imported: ImportedSoFar,
    workouts: list[ImportedWorkout],
    ready: list[UUID],
) -> ImportScoring | None:
    """What evaluates the versions of the dataset's subject; None for a population."""
    if dataset.subject_id is None:
        return None
    kept = [workout for workout in workouts if workout.digest]
    with reporter.context.database.reading() as session:
        since = growth(session, ready, kept)
    stored = [StoredWorkout(w.digest or "", w.split or "train", w.person, w.source) for w in kept]
    person = StoredPerson(reporter.context.store, dataset.account_id, stored, reporter.beat, imported.gridded)
    return ImportScoring(reporter=reporter, subject_id=dataset.subject_id, person=person, growth=since)


def _digest(workouts: list[ImportedWorkout]) -> str:
    """What the dataset holds: every kept workout with its split and person."""
    lines = [f"{w.digest} {w.split} {w.person or ''}" for w in workouts if w.digest]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _fail(reporter: Reporter, dataset: Dataset, imported: ImportedSoFar, failure: JobFailure) -> None:
    """End the job and its dataset with the reason."""
    with reporter.context.database.unit_of_work() as session:
        imports.report_failed(session, dataset.id, imported.workouts, imported.files)
        leftovers.add(session, dataset.account_id, imported.extents)
        if not jobs.fail(session, reporter.claim, failure.code, failure.message):
            raise LeaseLost
