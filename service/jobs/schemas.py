"""What the API takes and shows of jobs."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BeforeValidator, Field, StrictFloat, StrictInt

from hrmodel.training.stages import BOUNDS, recipe_name
from service.registry.tables import JobState, Stage
from service.web.fields import ErrorRead, Read, Write, example

_DATASET_ID = "6f1ad0c5-3a5c-4a38-9a57-6c1f3b1f7a11"
_JOB_ID = "b0a1b6de-6a0e-49d7-9d39-9f2fb6a3f0f1"
_EPOCH = {
    "epoch": 1,
    "train_loss": 0.41,
    "val_loss": 0.38,
    "learning_rate": 0.001,
    "epoch_time": 1.9,
    "trainable_parameters": 33345,
    "gpu_peak_bytes": None,
}


_EVENT = {
    "id": 3,
    "event": "checkpoint",
    "attempt": 1,
    "detail": {"epoch": 1},
    "epoch": _EPOCH,
    "created_at": "2026-05-01T08:00:10Z",
}


def _bounded(name: str, description: str) -> Any:
    low, high = BOUNDS[name]
    return Field(None, ge=low, le=high, description=description)


Layer = Annotated[StrictInt, Field(ge=int(BOUNDS["freeze_layers"][0]), le=int(BOUNDS["freeze_layers"][1]))]


class Hyperparameters(Write):
    """Those that are given override the recipe's."""

    freeze_layers: list[Layer] | None = Field(default=None, max_length=2, description="LSTM layers that do not train.")
    learning_rate: StrictFloat | None = _bounded("learning_rate", "Of Adam.")
    batch_size: StrictInt | None = _bounded("batch_size", "Workouts per step.")
    epochs: StrictInt | None = _bounded("epochs", "At most.")
    patience: StrictInt | None = _bounded("patience", "Epochs without improvement before the end.")
    dropout: StrictFloat | None = _bounded("dropout", "Between the LSTM layers.")
    weight_decay: StrictFloat | None = _bounded("weight_decay", "Of Adam.")
    gradient_clip: StrictFloat | None = _bounded("gradient_clip", "Largest norm of the gradient.")
    seed: StrictInt | None = _bounded("seed", "Of everything that is drawn.")


Recipe = Annotated[
    Literal["auto", "original"],
    BeforeValidator(lambda value: recipe_name(value) if isinstance(value, str) else value),
    Field(description="Where the hyperparameters come from that are not given."),
]


class JobCreate(Write):
    """What every training job needs."""

    dataset_id: UUID = Field(description="A dataset that is ready.")
    recipe: Recipe = "auto"
    hyperparameters: Hyperparameters = Hyperparameters()

    @property
    def start(self) -> UUID | None:
        """The version to start from, if the request names one."""
        return None


class BaseJobCreate(JobCreate):
    """A base model of many people."""

    model_config = example({"dataset_id": _DATASET_ID, "hyperparameters": {"epochs": 30}}, extra="forbid")


class Stage1JobCreate(JobCreate):
    """Stage 1 of one person."""

    model_config = example(
        {"dataset_id": _DATASET_ID, "recipe": "auto", "hyperparameters": {"learning_rate": 0.001}}, extra="forbid"
    )
    base_model_version_id: UUID | None = Field(None, description="The base to start from; the account's default.")

    @property
    def start(self) -> UUID | None:
        """The base."""
        return self.base_model_version_id


class Stage2JobCreate(JobCreate):
    """Stage 2 of one person."""

    model_config = example({"dataset_id": _DATASET_ID}, extra="forbid")
    stage1_model_version_id: UUID | None = Field(
        None, description="The stage 1 to start from; the newest on this dataset, waited for if it still trains."
    )

    @property
    def start(self) -> UUID | None:
        """The stage 1."""
        return self.stage1_model_version_id


REQUESTS: dict[Stage, type[JobCreate]] = {
    Stage.BASE: BaseJobCreate,
    Stage.STAGE1: Stage1JobCreate,
    Stage.STAGE2: Stage2JobCreate,
}


_FLEET = {
    "people": 200,
    "skipped": 3,
    "unchanged": 1,
    "jobs": {"queued": 120, "running": 2, "succeeded": 277, "failed": 1, "cancelled": 0},
    "promoted": 190,
    "errors": [{"code": "non_finite_loss", "count": 1}],
}
_JOB = {
    "id": _JOB_ID,
    "stage": "stage1",
    "state": "running",
    "dataset_id": _DATASET_ID,
    "subject": "me",
    "progress": 0.35,
    "phase": {"name": "training", "done": 7.4, "total": 20.0},
    "eta_seconds": 26.0,
    "epoch": 7,
    "epochs": 20,
    "attempt": 1,
    "cancel_requested": False,
    "configuration": {"recipe": "auto", "stage": "stage1", "epochs": 20, "learning_rate": 0.001},
    "start_model_version_id": "0d4d9b0e-5f7c-4f58-9d5f-8d7a3f3a54cf",
    "parent_id": None,
    "depends_on": None,
    "retry_of": None,
    "fleet": None,
    "result": None,
    "error": None,
    "created_at": "2026-05-01T08:00:10Z",
    "started_at": "2026-05-01T08:00:10Z",
    "finished_at": None,
}


class FleetError(Read):
    """A reason for which jobs of a fleet failed."""

    code: str
    count: int


class FleetRead(Read):
    """How far a fleet is. `promoted`: jobs whose model came to serve; `skipped`: people who are not trained, for want
    of workouts or (`unchanged`) because their newest workouts were trained on in the same way already.
    """  # fmt: skip

    model_config = example(_FLEET)
    people: int
    skipped: int
    unchanged: int
    jobs: dict[JobState, int]
    promoted: int
    errors: list[FleetError]


class PhaseRead(Read):
    """The part of its work that a running job is at, and how far that is: `done` of `total`.

    An import: `reading` (bytes), `merging` (workouts), `scoring` (model versions). A training job: `reading` and
    `targets` (workouts), `training` (epochs at most), `calibrating` (workouts; a base only), `testing` (test workouts),
    `deciding` (test workouts of the champion, if they are not scored yet).
    """

    model_config = example({"name": "testing", "done": 31.0, "total": 45.0})
    name: str
    done: float
    total: float


class JobRead(Read):
    """A job. A fleet has no dataset and no subject; `fleet` says how far its jobs are."""

    model_config = example(_JOB, from_attributes=True)
    id: UUID
    stage: Stage
    state: JobState
    dataset_id: UUID | None
    subject: str | None
    progress: float = Field(description="Of the whole job, 0 to 1.")
    phase: PhaseRead | None = Field(description="Of a job that runs.")
    eta_seconds: float | None = Field(
        description="Seconds left in the phase, from its pace in this job; null until that is measured. "
        "Training may end earlier."
    )
    epoch: int
    epochs: int | None
    attempt: int
    cancel_requested: bool
    configuration: dict[str, Any]
    start_model_version_id: UUID | None
    parent_id: UUID | None = Field(description="The fleet.")
    depends_on: UUID | None
    retry_of: UUID | None
    fleet: FleetRead | None
    result: dict[str, Any] | None
    error: ErrorRead | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class JobPage(Read):
    """Jobs, newest first."""

    model_config = example({"items": [_JOB], "next_cursor": None}, from_attributes=True)
    items: list[JobRead]
    next_cursor: str | None


class EpochRead(Read):
    """One epoch; losses are in the subject's scale, times in seconds."""

    model_config = example(_EPOCH, from_attributes=True)
    epoch: int
    train_loss: float | None
    val_loss: float | None
    learning_rate: float
    epoch_time: float
    trainable_parameters: int
    gpu_peak_bytes: int | None


class JobMetrics(Read):
    """The epochs so far, and the evaluation beside its baselines once the job has succeeded.

    Its `examples`, series of heart rate, are drawn in evaluation.png and listed in the model version's evaluation.
    """

    model_config = example(
        {
            "job_id": _JOB_ID,
            "state": "succeeded",
            "epochs": [_EPOCH],
            "evaluation": {"score": 5.4, "selected_on": "test", "test_workouts": 5, "protocols": {}, "baselines": {}},
        }
    )
    job_id: UUID
    state: JobState
    epochs: list[EpochRead]
    evaluation: dict[str, Any] | None


class History(Read):
    """The original's training_history.json."""

    model_config = example(
        {
            "train_loss": [0.41, 0.39],
            "val_loss": [0.38, 0.37],
            "learning_rate": [0.001, 0.001],
            "epoch_times": [1.9, 1.8],
            "best_val_loss": 0.37,
            "best_epoch": 2,
        }
    )
    train_loss: list[float | None]
    val_loss: list[float | None]
    learning_rate: list[float]
    epoch_times: list[float]
    best_val_loss: float | None
    best_epoch: int | None


class EventRead(Read):
    """A change of a job's state, a new phase of its work, or a new checkpoint."""

    id: int
    event: str
    attempt: int
    detail: dict[str, Any]
    epoch: EpochRead | None = Field(description="Of a checkpoint: the epoch that it was made after.")
    created_at: datetime


class Events(Read):
    """Events in order; give the last `id` as `after` for the next ones."""

    model_config = example(
        {
            "job_id": _JOB_ID,
            "events": [
                {**_EVENT, "id": 1, "event": "queued", "attempt": 0, "detail": {}, "epoch": None},
                _EVENT,
            ],
        }
    )
    job_id: UUID
    events: list[EventRead]


class LogLineRead(Read):
    """One line of a job's log."""

    id: int
    attempt: int
    message: str
    created_at: datetime
