"""Every SQL table of the service. One class is one row; the network is never meant here."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    DateTime,
    Dialect,
    Enum,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


def utc_now() -> datetime:
    """This machine's clock, for instants that are shown and sorted. Leases use `db_now()` instead."""
    return datetime.now(UTC)


class UtcDateTime(TypeDecorator[datetime]):
    """An instant. Naive values are refused on the way in; SQLite, which drops the zone, gets it back on the way out."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To UTC."""
        if value is not None and value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone")
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """In UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class DatasetKind(StrEnum):
    """Whose workouts a dataset holds."""

    PERSONAL = "personal"
    POPULATION = "population"


class DatasetState(StrEnum):
    """Where an import stands."""

    QUEUED = "queued"
    IMPORTING = "importing"
    READY = "ready"
    FAILED = "failed"


class Stage(StrEnum):
    """What a job does."""

    # a line is the value in the column, the label in sentences, and the datasets that it trains on; training stages are
    # in `hrmodel.training.stages.STAGES`, too, which the registry does not import
    label: str
    trains: DatasetKind | None

    def __new__(cls, value: str, label: str = "", trains: DatasetKind | None = None) -> "Stage":
        """Make a member out of its line."""
        member = str.__new__(cls, value)
        member._value_, member.label, member.trains = value, label, trains
        return member

    IMPORT = "import", "import"
    BASE = "base", "base", DatasetKind.POPULATION
    STAGE1 = "stage1", "stage 1", DatasetKind.PERSONAL
    STAGE2 = "stage2", "stage 2", DatasetKind.PERSONAL
    FLEET = "fleet", "fleet"  # the parent of many people's jobs

    @property
    def personal(self) -> bool:
        """Whether it trains on one person's workouts."""
        return self.trains == DatasetKind.PERSONAL


PERSONAL_STAGES = tuple(stage for stage in Stage if stage.personal)


class JobState(StrEnum):
    """Where a job stands; the last three have no exit."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Phase(StrEnum):
    """The part of its work that a running job is at."""

    READING = "reading"  # the upload, or the stored workouts
    MERGING = "merging"  # with the person's earlier workouts
    SCORING = "scoring"  # the versions that may serve, on the new test workouts
    TARGETS = "targets"  # what the network is to learn: heart rate less the person's response
    TRAINING = "training"
    CALIBRATING = "calibrating"  # a base's bands
    TESTING = "testing"  # the new version on the test workouts
    DECIDING = "deciding"  # whether it will serve


class ChampionReason(StrEnum):
    """Why a version came to serve a subject."""

    FIRST = "first"  # the base, when the first dataset is ready
    PROMOTED = "promoted"  # by the job that trained it
    MANUAL = "manual"  # by hand, and better
    FORCED = "forced"  # by hand, although not better
    ROLLBACK = "rollback"
    DAMAGED = "damaged"  # the file of the version before is lost
    DELETED = "deleted"  # the version before was deleted with its data


TERMINAL_STATES = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})


def enum_column(values: type[StrEnum], name: str) -> Enum:
    """A string column with a CHECK that lists the enum's values: the same on both databases, and easy to migrate."""
    return Enum(
        values,
        native_enum=False,
        create_constraint=True,
        length=16,
        name=name,
        values_callable=lambda e: [m.value for m in e],
    )


Json = JSON(none_as_null=True)
# SQLite gives an autoincrementing key only to a column whose type is exactly INTEGER.
BigKey = BigInteger().with_variant(Integer(), "sqlite")


class Base(DeclarativeBase):
    """Common metadata: constraint names are the same on every database, so that migrations can name them."""

    metadata = MetaData(naming_convention=NAMING)


class Account(Base):
    """The owner of API keys, subjects and all below."""

    __tablename__ = "accounts"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)


class ApiKey(Base):
    """A key `sw_<public>_<secret>`; of the secret only the SHA-256 is kept."""

    __tablename__ = "api_keys"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    account_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), index=True)
    public: Mapped[str] = mapped_column(String(32), unique=True)
    secret_sha256: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(200), default="")
    scopes: Mapped[list[str]] = mapped_column(Json)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class DashboardSession(Base):
    """A browser that is signed in to the dashboard with a key; of its token only the SHA-256 is kept. Not backed up."""

    __tablename__ = "dashboard_sessions"
    token_sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    key_id: Mapped[UUID] = mapped_column(ForeignKey("api_keys.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    used_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)


class Subject(Base):
    """A person, known by the client's own string. `level` is that of the newest ready dataset."""

    __tablename__ = "subjects"
    __table_args__ = (
        UniqueConstraint("account_id", "name"),
        Index("ix_subjects_account_id_created_at_id", "account_id", "created_at", "id"),
    )
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    account_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(200))
    level: Mapped[dict[str, Any] | None] = mapped_column(Json)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)


class Dataset(Base):
    """An immutable set of workouts with a fixed split. A population dataset has no subject."""

    __tablename__ = "datasets"
    __table_args__ = (
        Index("ix_datasets_account_id_created_at_id", "account_id", "created_at", "id"),
        Index("ix_datasets_subject_id_created_at", "subject_id", "created_at"),
        CheckConstraint("(kind = 'population') = (subject_id IS NULL)", name="subject_iff_personal"),
    )
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    account_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"))
    subject_id: Mapped[UUID | None] = mapped_column(ForeignKey("subjects.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(200), default="")
    kind: Mapped[DatasetKind] = mapped_column(enum_column(DatasetKind, "kind"))
    state: Mapped[DatasetState] = mapped_column(enum_column(DatasetState, "state"), default=DatasetState.QUEUED)
    min_hr_per_minute: Mapped[float]
    upload_sha256: Mapped[str] = mapped_column(String(64))
    upload_size: Mapped[int] = mapped_column(BigInteger)
    digest: Mapped[str | None] = mapped_column(String(64))
    level: Mapped[dict[str, Any] | None] = mapped_column(Json)
    train_workouts: Mapped[int] = mapped_column(default=0)
    val_workouts: Mapped[int] = mapped_column(default=0)
    test_workouts: Mapped[int] = mapped_column(default=0)
    dropped_workouts: Mapped[int] = mapped_column(default=0)
    file_count: Mapped[int] = mapped_column(default=0, server_default="0")  # also of files that are not listed
    problem_count: Mapped[int] = mapped_column(default=0, server_default="0")
    unlisted_workouts: Mapped[int] = mapped_column(default=0, server_default="0")  # dropped workouts without a row
    error_code: Mapped[str | None] = mapped_column(String(64))
    error_message: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    ready_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class WorkoutRow(Base):
    """One stored workout of an account: its arrays are the file `<account>/<digest>`, shared by datasets."""

    __tablename__ = "workouts"
    __table_args__ = (UniqueConstraint("account_id", "digest"),)
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    account_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"))
    digest: Mapped[str] = mapped_column(String(64))
    size: Mapped[int] = mapped_column(BigInteger)
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    duration_s: Mapped[float]
    samples: Mapped[int]


class DatasetWorkout(Base):
    """A workout's place in one dataset: its split and what cleaning said. A dropped workout has no stored one."""

    __tablename__ = "dataset_workouts"
    __table_args__ = (UniqueConstraint("dataset_id", "position"),)
    id: Mapped[int] = mapped_column(BigKey, primary_key=True)
    dataset_id: Mapped[UUID] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"))
    workout_id: Mapped[UUID | None] = mapped_column(ForeignKey("workouts.id", ondelete="CASCADE"), index=True)
    position: Mapped[int]
    person: Mapped[str | None] = mapped_column(String(200))
    source: Mapped[str] = mapped_column(String(500))
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    duration_s: Mapped[float]
    sport: Mapped[str] = mapped_column(String(50), server_default="running")
    heart_rate_per_minute: Mapped[float] = mapped_column(server_default="0")
    split: Mapped[str | None] = mapped_column(String(16))
    verdict: Mapped[str] = mapped_column(String(16))
    reasons: Mapped[list[dict[str, Any]]] = mapped_column(Json)


class DatasetFile(Base):
    """What an upload's file gave: its format and number of workouts, or its problem."""

    __tablename__ = "dataset_files"
    id: Mapped[int] = mapped_column(BigKey, primary_key=True)
    dataset_id: Mapped[UUID] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(500))
    format: Mapped[str | None] = mapped_column(String(32))
    workouts: Mapped[int]
    problem: Mapped[str | None] = mapped_column(Text)


def _own_lane(context: Any) -> UUID:
    lane: UUID = context.get_current_parameters()["account_id"]
    return lane


class Job(Base):
    """What the caller asked for. The row is the job: a message only says that there is work."""

    __tablename__ = "jobs"
    __table_args__ = (
        Index("ix_jobs_account_id_created_at_id", "account_id", "created_at", "id"),
        Index("ix_jobs_account_id_started_at", "account_id", "started_at"),
        Index("ix_jobs_subject_id_created_at_id", "subject_id", "created_at", "id"),
        Index("ix_jobs_lane_started_at", "lane", "started_at"),
        Index("ix_jobs_parent_id_created_at_id", "parent_id", "created_at", "id"),
        Index("ix_jobs_state_stage_created_at", "state", "stage", "created_at"),
        Index("ix_jobs_dataset_id_stage_created_at", "dataset_id", "stage", "created_at"),
        CheckConstraint("(stage = 'fleet') = (dataset_id IS NULL)", name="dataset_unless_fleet"),
    )
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    account_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"))
    subject_id: Mapped[UUID | None] = mapped_column(ForeignKey("subjects.id", ondelete="CASCADE"))
    dataset_id: Mapped[UUID | None] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"))
    parent_id: Mapped[UUID | None] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    lane: Mapped[UUID] = mapped_column(default=_own_lane)  # what takes turns: the fleet, else the account
    depends_on: Mapped[UUID | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"), index=True)
    retry_of: Mapped[UUID | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"), index=True)
    stage: Mapped[Stage] = mapped_column(enum_column(Stage, "stage"))
    state: Mapped[JobState] = mapped_column(enum_column(JobState, "state"), default=JobState.QUEUED)
    configuration: Mapped[dict[str, Any]] = mapped_column(Json)
    # No foreign key: versions refer to the job that made them, and a cycle would tie both tables' migrations together.
    start_model_version_id: Mapped[UUID | None]
    attempt: Mapped[int] = mapped_column(default=0)
    crashes: Mapped[int] = mapped_column(default=0)
    lease_until: Mapped[float | None] = mapped_column(Float(53))
    worker: Mapped[str | None] = mapped_column(String(200))
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    progress: Mapped[float] = mapped_column(Float(53), default=0.0)
    # where an attempt is; a string, because a newer worker may know phases that this process does not
    phase: Mapped[str | None] = mapped_column(String(16))
    phase_done: Mapped[float | None] = mapped_column(Float(53))
    phase_total: Mapped[float | None] = mapped_column(Float(53))
    eta_seconds: Mapped[float | None] = mapped_column(Float(53))  # of the phase
    epoch: Mapped[int] = mapped_column(default=0)
    latest_sha256: Mapped[str | None] = mapped_column(String(64))
    previous_sha256: Mapped[str | None] = mapped_column(String(64))
    best_sha256: Mapped[str | None] = mapped_column(String(64))
    result: Mapped[dict[str, Any] | None] = mapped_column(Json)
    error_code: Mapped[str | None] = mapped_column(String(64))
    error_message: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    @property
    def own_dataset_id(self) -> UUID:
        """The dataset of a job that a worker runs; only fleets have none."""
        assert self.dataset_id is not None, "no worker runs a fleet itself"
        return self.dataset_id


class JobEvent(Base):
    """Append-only: every change of a job's state, every phase of an attempt, and every new checkpoint."""

    __tablename__ = "job_events"
    __table_args__ = (Index("ix_job_events_job_id_id", "job_id", "id"),)
    id: Mapped[int] = mapped_column(BigKey, primary_key=True)
    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    event: Mapped[str] = mapped_column(String(32))
    attempt: Mapped[int]
    detail: Mapped[dict[str, Any]] = mapped_column(Json)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)


class JobLogLine(Base):
    """One log line of a job; rows survive a resume on another machine."""

    __tablename__ = "job_log_lines"
    __table_args__ = (Index("ix_job_log_lines_job_id_id", "job_id", "id"),)
    id: Mapped[int] = mapped_column(BigKey, primary_key=True)
    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    attempt: Mapped[int]
    message: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)


class EpochMetrics(Base):
    """One epoch of one job. The pair is unique: a resumed job cannot record an epoch twice."""

    __tablename__ = "epoch_metrics"
    __table_args__ = (UniqueConstraint("job_id", "epoch"),)
    id: Mapped[int] = mapped_column(BigKey, primary_key=True)
    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    epoch: Mapped[int]
    attempt: Mapped[int]
    train_loss: Mapped[float | None] = mapped_column(Float(53))
    val_loss: Mapped[float | None] = mapped_column(Float(53))
    learning_rate: Mapped[float] = mapped_column(Float(53))
    epoch_time: Mapped[float] = mapped_column(Float(53))
    trainable_parameters: Mapped[int]
    gpu_peak_bytes: Mapped[int | None] = mapped_column(BigInteger)


class ModelVersion(Base):
    """A registered checkpoint with its lineage. The shipped base belongs to no account."""

    __tablename__ = "model_versions"
    __table_args__ = (
        Index("ix_model_versions_account_id_created_at_id", "account_id", "created_at", "id"),
        Index("ix_model_versions_subject_id_created_at_id", "subject_id", "created_at", "id"),
    )
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    account_id: Mapped[UUID | None] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"))
    subject_id: Mapped[UUID | None] = mapped_column(ForeignKey("subjects.id", ondelete="CASCADE"))
    dataset_id: Mapped[UUID | None] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"), index=True)
    job_id: Mapped[UUID | None] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), unique=True)
    parent_id: Mapped[UUID | None] = mapped_column(ForeignKey("model_versions.id", ondelete="CASCADE"), index=True)
    stage: Mapped[Stage] = mapped_column(enum_column(Stage, "stage"))
    sha256: Mapped[str] = mapped_column(String(64))
    size: Mapped[int] = mapped_column(BigInteger)
    pt_sha256: Mapped[str] = mapped_column(String(64))
    pt_size: Mapped[int] = mapped_column(BigInteger)
    dataset_digest: Mapped[str] = mapped_column(String(64))
    code_version: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)


class Evaluation(Base):
    """How one version does on one dataset's held-out workouts."""

    __tablename__ = "evaluations"
    __table_args__ = (
        UniqueConstraint("model_version_id", "dataset_id"),
        # Covers the choice of the newest: on SQLite, reading a column behind `report` walks through all of it.
        Index("ix_evaluations_newest", "dataset_id", "model_version_id", "created_at", "id"),
        Index("ix_evaluations_model_version_id_created_at_id", "model_version_id", "created_at", "id"),
    )
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    model_version_id: Mapped[UUID] = mapped_column(ForeignKey("model_versions.id", ondelete="CASCADE"))
    dataset_id: Mapped[UUID] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"))
    score: Mapped[float | None] = mapped_column(Float(53))
    report: Mapped[dict[str, Any]] = mapped_column(Json)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)


class PersonStateRow(Base):
    """A subject's state under one version after the last workout of one of their datasets.

    The newest dataset's state serves. Deleting that dataset deletes its state, and the one before serves again.
    """

    __tablename__ = "person_states"
    subject_id: Mapped[UUID] = mapped_column(ForeignKey("subjects.id", ondelete="CASCADE"), primary_key=True)
    model_version_id: Mapped[UUID] = mapped_column(
        ForeignKey("model_versions.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    dataset_id: Mapped[UUID] = mapped_column(
        ForeignKey("datasets.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    state: Mapped[dict[str, Any]] = mapped_column(Json)  # hrmodel.personal.state.PersonState
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)


class EvaluatedHistoryRow(Base):
    """What an evaluation of a version on a subject's workouts keeps, so that the next import scores only what is new.

    One per subject and version, after the workouts of `dataset_id`. It saves work alone: without it all is scored anew.
    """

    __tablename__ = "evaluated_histories"
    subject_id: Mapped[UUID] = mapped_column(ForeignKey("subjects.id", ondelete="CASCADE"), primary_key=True)
    model_version_id: Mapped[UUID] = mapped_column(
        ForeignKey("model_versions.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    dataset_id: Mapped[UUID] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"), index=True)
    history: Mapped[bytes] = mapped_column(LargeBinary)  # hrmodel.evaluation.stored_history
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)


class Champion(Base):
    """Which version serves a subject. `revision` is what compare-and-swap compares."""

    __tablename__ = "champions"
    subject_id: Mapped[UUID] = mapped_column(ForeignKey("subjects.id", ondelete="CASCADE"), primary_key=True)
    # RESTRICT: before a version is deleted, its subjects must point elsewhere.
    model_version_id: Mapped[UUID] = mapped_column(ForeignKey("model_versions.id", ondelete="RESTRICT"), index=True)
    revision: Mapped[int]
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)


class ChampionChange(Base):
    """Append-only: each time a subject's champion was set, by whom and on what evidence."""

    __tablename__ = "champion_history"
    __table_args__ = (
        UniqueConstraint("subject_id", "revision"),
        Index("ix_champion_history_subject_id_created_at_id", "subject_id", "created_at", "id"),
    )
    id: Mapped[int] = mapped_column(BigKey, primary_key=True)
    subject_id: Mapped[UUID] = mapped_column(ForeignKey("subjects.id", ondelete="CASCADE"))
    model_version_id: Mapped[UUID | None] = mapped_column(
        ForeignKey("model_versions.id", ondelete="SET NULL"), index=True
    )
    revision: Mapped[int]
    reason: Mapped[str] = mapped_column(String(32))  # a ChampionReason; later versions may know more
    decision: Mapped[dict[str, Any] | None] = mapped_column(Json)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)


class DefaultBase(Base):
    """The base model that an account's new subjects start from, where it is not the shipped one."""

    __tablename__ = "default_bases"
    account_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True)
    model_version_id: Mapped[UUID] = mapped_column(ForeignKey("model_versions.id", ondelete="CASCADE"), index=True)
    score: Mapped[float | None] = mapped_column(Float(53))
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)


class IdempotencyKey(Base):
    """What a POST with an Idempotency-Key made, so that the same request makes it once."""

    __tablename__ = "idempotency_keys"
    account_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    request_sha256: Mapped[str] = mapped_column(String(64))
    resource_id: Mapped[UUID]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)


class Installation(Base):
    """The one row that says who this database is: the artifact folder holds the same identity in a file."""

    __tablename__ = "installation"
    __table_args__ = (CheckConstraint("id = 1", name="only_one"),)
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False, default=1)
    identity: Mapped[UUID] = mapped_column(default=uuid4)
    # What lay in the folder before goes by an operator's word only.
    adopted_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)


class Leftover(Base):
    """A file to delete unless a row refers to it; without a digest: a look for all unreferenced files of an account.
    Written in the transaction that drops the last reference, deleted with the files.
    """  # fmt: skip

    __tablename__ = "leftovers"
    __table_args__ = (Index("ix_leftovers_account_id_id", "account_id", "id"),)
    id: Mapped[int] = mapped_column(BigKey, primary_key=True)
    account_id: Mapped[UUID]
    sha256: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)


class BackupPin(Base):
    """A backup that reads: until then (the database's clock, epoch seconds) no file goes that a row referred to."""

    __tablename__ = "backup_pins"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    until: Mapped[float] = mapped_column(Float(53))


# for statements about thousands of rows, which take a third of the time without the mapped classes
JOBS, JOB_EVENTS = Base.metadata.tables["jobs"], Base.metadata.tables["job_events"]
