"""What the API gives, as types for editors and checkers: dictionaries with these keys. Instants and ids are text.

A test holds them to the served OpenAPI document, where each field is described.
"""

from typing import Any, TypedDict

Json = dict[str, Any]


class WorkoutCountsJson(TypedDict):
    """Workouts by split."""

    train: int
    val: int
    test: int
    dropped: int


class ErrorJson(TypedDict):
    """Why something ended without success."""

    code: str
    message: str


class DatasetJson(TypedDict):
    """A dataset."""

    id: str
    name: str
    kind: str
    subject: str | None
    state: str
    job_id: str | None
    workouts: WorkoutCountsJson
    min_hr_per_minute: float
    upload_size: int
    digest: str | None
    level: Json | None
    error: ErrorJson | None
    created_at: str
    ready_at: str | None


class UploadJson(TypedDict):
    """An accepted upload."""

    id: str
    state: str
    job_id: str


class DatasetReportJson(TypedDict):
    """What became of the upload: in short, file by file, and workout by workout."""

    dataset_id: str
    state: str
    verdicts: dict[str, int]
    summary: Json
    files: list[Json]
    workouts: list[Json]
    next_after: int | None
    next_file_after: int | None


class FleetJson(TypedDict):
    """How far a fleet is."""

    people: int
    skipped: int
    unchanged: int
    jobs: dict[str, int]
    promoted: int
    errors: list[Json]


class PhaseJson(TypedDict):
    """The part of its work that a running job is at: `done` of `total`."""

    name: str
    done: float
    total: float


class JobJson(TypedDict):
    """A job."""

    id: str
    stage: str
    state: str
    dataset_id: str | None
    subject: str | None
    progress: float
    phase: PhaseJson | None
    eta_seconds: float | None
    epoch: int
    epochs: int | None
    attempt: int
    cancel_requested: bool
    configuration: Json
    start_model_version_id: str | None
    parent_id: str | None
    depends_on: str | None
    retry_of: str | None
    fleet: FleetJson | None
    result: Json | None
    error: ErrorJson | None
    created_at: str
    started_at: str | None
    finished_at: str | None


class EpochJson(TypedDict):
    """One epoch; losses are in the subject's scale, times in seconds."""

    epoch: int
    train_loss: float | None
    val_loss: float | None
    learning_rate: float
    epoch_time: float
    trainable_parameters: int
    gpu_peak_bytes: int | None


class JobMetricsJson(TypedDict):
    """The epochs so far, and the evaluation beside its baselines once the job has succeeded."""

    job_id: str
    state: str
    epochs: list[EpochJson]
    evaluation: Json | None


class EventJson(TypedDict):
    """A change of a job's state, or a new checkpoint."""

    id: int
    event: str
    attempt: int
    detail: Json
    epoch: EpochJson | None
    created_at: str


class ModelJson(TypedDict):
    """A registered checkpoint."""

    id: str
    stage: str
    subject: str | None
    dataset_id: str | None
    job_id: str | None
    parent_id: str | None
    score: float | None
    champion: bool
    shipped: bool
    formats: list[str]
    size: int
    sha256: str
    dataset_digest: str
    code_version: str
    created_at: str


class EvaluationJson(TypedDict):
    """How a version does on a dataset's test workouts, beside the baselines."""

    model_version_id: str
    dataset_id: str
    score: float | None
    report: Json
    created_at: str


class ServingJson(TypedDict):
    """The version that serves a subject."""

    model_version_id: str
    stage: str
    revision: int
    since: str


class SubjectJson(TypedDict):
    """A person, and why this version serves them."""

    name: str
    level: Json | None
    champion: ServingJson | None
    created_at: str
    why: str


class SubjectOutlineJson(TypedDict):
    """A person: their level, and the version that serves them."""

    name: str
    level: Json | None
    champion: ServingJson | None
    created_at: str


class ErrorSummaryJson(TypedDict):
    """Mean absolute errors in bpm on a dataset's test workouts, by protocol; baselines beside them."""

    model_version_id: str
    dataset_id: str
    score: float | None
    test_workouts: int
    mae: dict[str, float | None]
    baselines: dict[str, dict[str, float | None]]


class ChampionJson(TypedDict):
    """What serves a subject, and how good it is beside the base model on the same workouts."""

    model_version_id: str
    stage: str
    revision: int
    since: str
    subject: str
    offset: float
    reason: str
    decision: Json | None
    evaluation: ErrorSummaryJson | None
    base: ErrorSummaryJson | None


class ChangeJson(TypedDict):
    """A change of the champion."""

    revision: int
    model_version_id: str | None
    stage: str | None
    reason: str
    decision: Json | None
    created_at: str


class AnsweredByJson(TypedDict):
    """The version that answered."""

    version_id: str
    stage: str
    subject: str | None


class PredictionJson(TypedDict):
    """One value per sample in bpm, with a band."""

    heart_rate: list[float]
    lower: list[float]
    upper: list[float]
    observed_until: float | None
    protocol: str
    step_seconds: float | None
    level: str
    model: AnsweredByJson


class ZoneJson(TypedDict):
    """A tenth of the highest heart rate, from 50 % up."""

    zone: int
    from_bpm: float
    to_bpm: float | None
    seconds: float


class PlanJson(TypedDict):
    """The plan by segment, and every 10 s from `t` on."""

    feasible: bool
    seconds: float
    over_cap_seconds: float
    segments: list[Json]
    t: list[float]
    distance: list[float]
    speed: list[float]
    altitude: list[float] | None
    heart_rate: list[float]
    lower: list[float]
    upper: list[float]
    zones: list[ZoneJson]
    max_heart_rate: float
    fastest: float
    level: str
    model: AnsweredByJson


class ReviewedPredictionJson(TypedDict):
    """What the version says of the workout when it is told the heart rate of the first `observed_seconds`."""

    name: str
    observed_seconds: float
    heart_rate: list[float | None]
    lower: list[float | None]
    upper: list[float | None]
    mae: float | None
    bias: float | None
    zones: list[ZoneJson]


class FaultJson(TypedDict):
    """A stretch of values that were taken as missing: seconds since the start."""

    code: str
    begins: float
    ends: float
    samples: int


class ReviewJson(TypedDict):
    """A workout in steps of 10 s, all rows equally long, null where nothing was recorded."""

    digest: str
    started_at: str | None
    split: str | None
    source: str
    t: list[float]
    speed: list[float | None]
    altitude: list[float | None]
    heart_rate: list[float | None]
    predictions: list[ReviewedPredictionJson]
    zones: list[ZoneJson]
    max_heart_rate: float
    faults: list[FaultJson]
    model: AnsweredByJson
