"""Rows of a large installation, for `bench_lists.py`: most of one account, shaped like what imports and jobs leave."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import insert, select, text

from service.registry import accounts
from service.registry.session import Database
from service.registry.tables import (
    Base,
    Champion,
    ChampionChange,
    Dataset,
    DatasetFile,
    DatasetWorkout,
    Evaluation,
    Job,
    JobEvent,
    JobState,
    ModelVersion,
    Stage,
    Subject,
    WorkoutRow,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
DIGEST = "0" * 64
BUSY_SHARE = 0.2  # of all jobs are the busy subject's; the others are those of FLEETS
RUNNING = 20  # jobs more
FLEETS = 4
WORKOUTS_EACH = 50  # of a dataset; the busy subject's newest has WORKOUTS_BUSY, each in a file of its own
WORKOUTS_BUSY = 1000
PROTOCOLS = ("P1", "P2-60", "P2-180", "P2-600", "P3-30")

EPOCHS = """
INSERT INTO epoch_metrics
  (job_id, epoch, attempt, train_loss, val_loss, learning_rate, epoch_time, trainable_parameters)
WITH RECURSIVE numbers(epoch) AS (SELECT 1 UNION ALL SELECT epoch + 1 FROM numbers WHERE epoch < :epochs)
SELECT jobs.id, numbers.epoch, 1, 0.4, 0.5, 0.001, 2.0, 33345 FROM jobs, numbers WHERE jobs.stage LIKE 'stage%'
"""
LINES = """
INSERT INTO job_log_lines (job_id, attempt, message, created_at)
WITH RECURSIVE numbers(line) AS (SELECT 1 UNION ALL SELECT line + 1 FROM numbers WHERE line < 20)
SELECT jobs.id, 1, 'epoch: train 0.41, val 0.38, learning rate 0.001', jobs.created_at FROM jobs, numbers
"""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How many rows. Versions are as many as jobs."""

    jobs: int  # stage 1 and stage 2 in turn
    epochs: int  # of each
    subjects: int


@dataclass(frozen=True, kw_only=True)
class Filled:
    """What to ask for."""

    key: str
    job: UUID  # of the busy subject
    running: UUID
    fleet: UUID
    version: UUID
    shipped: UUID
    dataset: UUID


def fill(database: Database, sizes: Sizes) -> Filled:
    """Fill a database that has its tables, the shipped base and nothing else."""
    with database.unit_of_work() as session:
        account = accounts.ensure_account(session)
        key = accounts.create_key(session, account, "bench", ["read"])
        shipped = session.scalars(select(ModelVersion.id)).one()
    subjects = [
        {"id": uuid4(), "account_id": account.id, "name": f"s{n}", "created_at": _at(n)} for n in range(sizes.subjects)
    ]
    fleets = [_fleet(account.id, n, sizes) for n in range(FLEETS)]
    busy, total = int(sizes.jobs * BUSY_SHARE), sizes.jobs + RUNNING
    # a dataset has two jobs: an upload, then stage 1 and stage 2 on it
    whose = [0 if n < busy else n // 2 % sizes.subjects for n in range(0, total, 2)]
    places = [(subjects[turn], _at(2 * n)) for n, turn in enumerate(whose)]
    datasets = [_dataset(subject, at) for subject, at in places]
    training = [
        _job(datasets[n // 2], n, sizes, None if n < busy else fleets[n * FLEETS // total]) for n in range(total)
    ]
    imports = [_import(dataset) for dataset in datasets]
    versions = [_version(job) for job in training if job["state"] == JobState.SUCCEEDED]
    newest = busy // 2 - 1  # dataset of the busy subject
    workouts = {dataset["id"]: WORKOUTS_EACH for dataset in datasets} | {datasets[newest]["id"]: WORKOUTS_BUSY}
    stored = [_stored(account.id, n) for n in range(WORKOUTS_BUSY)]
    rows: list[tuple[type[Base], Iterable[dict[str, Any]]]] = [
        (Subject, subjects),
        (Dataset, datasets),
        (
            DatasetFile,
            (
                {"dataset_id": d["id"], "name": f"export.zip/{n}.fit", "format": "fit", "workouts": 1}
                for d in datasets
                for n in range(workouts[d["id"]])
            ),
        ),
        (WorkoutRow, stored),
        (DatasetWorkout, (_workout(one, n, stored[n]) for one, count in workouts.items() for n in range(count))),
        (Job, [*fleets, *imports, *training]),
        (JobEvent, (_event(job, n) for job in (*imports, *training) for n in range(5))),
        (ModelVersion, versions),
        (Evaluation, _evaluations(versions, datasets, shipped)),
        (Champion, _champions(subjects, versions)),
        (ChampionChange, _changes(versions)),
    ]
    for table, values in rows:
        _insert(database, table, values)
    with database.unit_of_work() as session:
        session.execute(text(EPOCHS), {"epochs": sizes.epochs})
        session.execute(text(LINES))
    if database.engine.dialect.name == "postgresql":  # what its autovacuum does on its own after a while
        with database.engine.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql("VACUUM ANALYZE")
    theirs = [version for version in versions if version["dataset_id"] == datasets[newest]["id"]]
    return Filled(
        key=key,
        job=theirs[-1]["job_id"],
        running=training[-1]["id"],
        fleet=fleets[-1]["id"],
        version=theirs[-1]["id"],
        shipped=shipped,
        dataset=datasets[newest]["id"],
    )


def _insert(database: Database, table: type[Base], rows: Iterable[dict[str, Any]]) -> None:
    with database.unit_of_work() as session:
        chunk: list[dict[str, Any]] = []
        for row in rows:
            chunk.append(row)
            if len(chunk) == 1000:
                session.execute(insert(table), chunk)
                chunk = []
        if chunk:
            session.execute(insert(table), chunk)


def _at(minutes: int) -> datetime:
    return START + timedelta(minutes=minutes)


def _dataset(subject: dict[str, Any], at: datetime) -> dict[str, Any]:
    same = {"account_id": subject["account_id"], "subject_id": subject["id"], "kind": "personal", "state": "ready"}
    sizes = {"train_workouts": 35, "val_workouts": 7, "test_workouts": 8, "min_hr_per_minute": 6.0, "upload_size": 1}
    sizes |= {"file_count": WORKOUTS_EACH}
    return {"id": uuid4(), **same, **sizes, "upload_sha256": DIGEST, "digest": DIGEST, "created_at": at, "ready_at": at}


def _job(dataset: dict[str, Any], number: int, sizes: Sizes, fleet: dict[str, Any] | None) -> dict[str, Any]:
    running = number >= sizes.jobs
    settings = {"recipe": "auto", "epochs": 100, "learning_rate": 0.001, "batch_size": 8, "freeze_layers": [0]}
    decision = {"promote": number % 3 == 0, "reason": "Its error is lower." * 5}
    return {
        **_ended(dataset, _at(number)),
        "subject_id": dataset["subject_id"],
        "dataset_id": dataset["id"],
        "parent_id": fleet and fleet["id"],
        "lane": fleet["id"] if fleet else dataset["account_id"],
        "stage": (Stage.STAGE1, Stage.STAGE2)[number % 2],
        "state": JobState.RUNNING if running else JobState.SUCCEEDED,
        "configuration": settings,
        "result": None if running else {"decision": decision},
        "epoch": 50,
        "progress": 0.5 if running else 1.0,
        "finished_at": None if running else _at(number),
        "lease_until": 4e9 if running else None,
    }


def _import(dataset: dict[str, Any]) -> dict[str, Any]:
    whose = {"subject_id": dataset["subject_id"], "dataset_id": dataset["id"], "lane": dataset["account_id"]}
    return {**_ended(dataset, dataset["created_at"]), **whose, "stage": Stage.IMPORT}


def _fleet(account_id: UUID, number: int, sizes: Sizes) -> dict[str, Any]:
    people = sizes.jobs // 2 // FLEETS
    row = _ended({"account_id": account_id}, _at(sizes.jobs * (number + 1) // FLEETS))
    running = {"state": JobState.RUNNING, "progress": 0.0, "finished_at": None} if number == FLEETS - 1 else {}
    same = {"lane": account_id, "stage": Stage.FLEET, "configuration": {"people": people, "skipped": 0}}
    return {**row, **same, **running}


def _ended(of: dict[str, Any], at: datetime) -> dict[str, Any]:
    names = {"id": uuid4(), "account_id": of["account_id"], "subject_id": None, "dataset_id": None, "parent_id": None}
    when = {"created_at": at, "started_at": at, "finished_at": at, "lease_until": None}
    return {
        **names,
        **when,
        "state": JobState.SUCCEEDED,
        "configuration": {},
        "result": {},
        "epoch": 0,
        "progress": 1.0,
    }


def _version(job: dict[str, Any]) -> dict[str, Any]:
    same = {name: job[name] for name in ("account_id", "subject_id", "dataset_id", "stage", "created_at")}
    files = {"sha256": DIGEST, "size": 208_540, "pt_sha256": DIGEST, "pt_size": 208_540}
    return {"id": uuid4(), "job_id": job["id"], **same, **files, "dataset_digest": DIGEST, "code_version": "0.1.0"}


def _evaluations(
    versions: list[dict[str, Any]], datasets: list[dict[str, Any]], shipped: UUID
) -> Iterator[dict[str, Any]]:
    """Each version and the shipped base on the dataset, as an import and a job leave them."""
    report = _report()
    scored = [(version["id"], version["dataset_id"], version["created_at"]) for version in versions]
    scored += [(shipped, dataset["id"], dataset["created_at"]) for dataset in datasets]
    for version_id, dataset_id, at in scored:
        names = {"id": uuid4(), "model_version_id": version_id, "dataset_id": dataset_id}
        yield {**names, "score": 5.4, "report": report, "created_at": at}


def _report() -> dict[str, Any]:
    """About 30 kB of JSON, as of a person with eight test workouts."""
    zones = {f"zone_{n}": 5.25 for n in range(5)}
    table = {"workouts": 8, "mean": {"mae": 5.9, "rmse": 7.1, "bias": -0.4, "r2": 0.6, **zones}, "median": {"mae": 5.6}}
    series = {name: [152.3] * 200 for name in ("minutes", "measured", "predicted", "lower", "upper", "after_180_s")}
    return {
        "score": 5.4,
        "selected_on": "test",
        "test_workouts": 8,
        "protocols": dict.fromkeys(PROTOCOLS, table),
        "baselines": {name: {key: {"mae": 9.0} for key in PROTOCOLS} for name in ("training_mean", "ridge")},
        "per_workout": [{"digest": DIGEST, **dict.fromkeys(PROTOCOLS, 5.5)} for _ in range(8)],
        "examples": [{"which": which, **series} for which in ("best", "median", "worst")],
    }


def _champions(subjects: list[dict[str, Any]], versions: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    newest = {version["subject_id"]: version["id"] for version in versions}
    count: dict[UUID, int] = {}
    for version in versions:
        count[version["subject_id"]] = count.get(version["subject_id"], 0) + 1
    for subject in subjects:
        if subject["id"] in newest:
            who = subject["id"]
            yield {"subject_id": who, "model_version_id": newest[who], "revision": count[who] - 1}


def _changes(versions: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """As if each version had been better than the one before."""
    revision: dict[UUID, int] = {}
    for version in versions:
        who = version["subject_id"]
        revision[who] = revision.get(who, -1) + 1
        decision = {"promote": True, "candidate_score": 5.4, "champion_score": 5.9, "test_workouts": 8}
        same = {"subject_id": who, "model_version_id": version["id"], "revision": revision[who]}
        yield {**same, "reason": "promoted", "decision": decision, "created_at": version["created_at"]}


def _stored(account_id: UUID, number: int) -> dict[str, Any]:
    """One that many datasets have: reading them costs the same."""
    when = {"started_at": START + timedelta(days=number), "duration_s": 3000.0, "samples": 3000}
    return {"id": uuid4(), "account_id": account_id, "digest": f"{number:064}", "size": 36_000, **when}


def _workout(dataset_id: UUID, position: int, stored: dict[str, Any]) -> dict[str, Any]:
    split = ("train", "val", "test")[min(2, position * 3 // WORKOUTS_EACH)]
    reasons = [{"code": "spikes", "message": "3 readings that no heart makes were left out", "samples": 3}]
    when = {"started_at": stored["started_at"], "duration_s": 3000.0, "heart_rate_per_minute": 55.0}
    place = {"dataset_id": dataset_id, "position": position, "source": f"export.zip/{position}.fit", "split": split}
    said = {"verdict": "kept", "reasons": reasons if position % 5 == 0 else []}
    return {**place, **when, **said, "workout_id": stored["id"]}


def _event(job: dict[str, Any], number: int) -> dict[str, Any]:
    return {"job_id": job["id"], "event": "checkpoint", "attempt": 1, "detail": {"epoch": number}}
