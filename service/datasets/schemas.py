"""What the API takes and shows of datasets."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field

from service.registry.tables import DatasetKind, DatasetState
from service.web.fields import ErrorRead, Label, Read, SubjectName, Write, example

DEFAULT_SUBJECT = "me"
DEFAULT_MIN_HR_PER_MINUTE = 6.0
_DATASET = {
    "id": "6f1ad0c5-3a5c-4a38-9a57-6c1f3b1f7a11",
    "name": "spring",
    "kind": "personal",
    "subject": "me",
    "state": "ready",
    "job_id": "b0a1b6de-6a0e-49d7-9d39-9f2fb6a3f0f1",
    "workouts": {"train": 24, "val": 4, "test": 5, "dropped": 2},
    "min_hr_per_minute": 6.0,
    "upload_size": 1048576,
    "digest": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "level": {"heart_rate": 147.2, "spread": 13.1, "speed": 2.9, "speed_spread": 0.5, "workouts": 28},
    "error": None,
    "created_at": "2026-05-01T08:00:00Z",
    "ready_at": "2026-05-01T08:00:03Z",
}
_REASON = {
    "verdict": "repaired",
    "code": "heart_rate_impossible",
    "sentence": "impossible heart rates",
    "workouts": 13,
    "samples": 41,
}


class DatasetQuery(Write):
    """What an upload is."""

    subject: SubjectName | None = Field(None, description="The person; `me` unless it is a population dataset.")
    name: Label = Field("", description="A name for you.", examples=["spring"])
    kind: DatasetKind = Field(DatasetKind.PERSONAL, description="One person's workouts, or many people's.")
    min_hr_per_minute: float = Field(
        DEFAULT_MIN_HR_PER_MINUTE, ge=0, le=600, description="Workouts with fewer readings per minute are dropped."
    )
    speed_unit: Literal["m/s", "km/h", "mi/h", "min/km"] | None = Field(
        None, description="Only for files that do not say their unit themselves."
    )
    altitude_unit: Literal["m", "ft"] | None = Field(None, description="Only for files that do not say theirs.")
    sport: Literal["running"] | None = Field(
        None, description="What the files are that name no sport. Others are not touched by it."
    )

    @property
    def units(self) -> dict[str, str] | None:
        """The units for the import job, if any was named."""
        if self.speed_unit is None and self.altitude_unit is None:
            return None
        return {"speed": self.speed_unit or "m/s", "altitude": self.altitude_unit or "m"}

    @property
    def configuration(self) -> dict[str, Any]:
        """What the import job needs to read the upload."""
        return {"units": self.units} | ({"sport": self.sport} if self.sport else {})


class UploadRead(Read):
    """An accepted upload."""

    model_config = example(
        {"id": _DATASET["id"], "state": "queued", "job_id": _DATASET["job_id"]}, from_attributes=True
    )
    id: UUID
    state: DatasetState
    job_id: UUID


class WorkoutCounts(Read):
    """Workouts by split."""

    train: int
    val: int
    test: int
    dropped: int


class DatasetRead(Read):
    """A dataset."""

    model_config = example(_DATASET, from_attributes=True)
    id: UUID
    name: str
    kind: DatasetKind
    subject: str | None
    state: DatasetState
    job_id: UUID | None
    workouts: WorkoutCounts
    min_hr_per_minute: float
    upload_size: int
    digest: str | None
    level: dict[str, Any] | None
    error: ErrorRead | None
    created_at: datetime
    ready_at: datetime | None


class DatasetPage(Read):
    """Datasets, newest first."""

    model_config = example({"items": [_DATASET], "next_cursor": None}, from_attributes=True)
    items: list[DatasetRead]
    next_cursor: str | None


class FileRead(Read):
    """One file of the upload and its workouts."""

    name: str
    format: str | None
    workouts: int
    problem: str | None


class WorkoutRead(Read):
    """One workout and the result of cleaning. `digest` and `samples` are those of the stored workout, missing for a
    dropped one; `heart_rate_per_minute` is the readings per minute of recorded time.
    """  # fmt: skip

    position: int
    source: str
    person: str | None
    started_at: datetime | None
    duration_s: float
    sport: str
    heart_rate_per_minute: float
    samples: int | None
    digest: str | None
    split: str | None
    verdict: str
    reasons: list[dict[str, Any]]


class ReasonCount(Read):
    """How many workouts got this verdict for this reason, and how many samples of them it concerns."""

    verdict: str
    code: str
    sentence: str
    workouts: int
    samples: int


class ReportSummary(Read):
    """All workouts and files of the upload in counts; `reasons`, the most frequent first, say it to a runner.
    `other_sports` are the workouts that were dropped because they are no running.
    """  # fmt: skip

    workouts: int
    verdicts: dict[str, int]
    reasons: list[ReasonCount]
    splits: dict[str, int]
    other_sports: dict[str, int]
    files: int
    files_with_problems: int
    first_started_at: datetime | None
    last_started_at: datetime | None


class DatasetReport(Read):
    """What became of the upload: in short, file by file, and workout by workout. Up to 5000 files and 5000 dropped
    workouts are listed, those that say most first; `summary` counts all.
    """  # fmt: skip

    model_config = example(
        {
            "dataset_id": _DATASET["id"],
            "state": "ready",
            "verdicts": {"kept": 20, "repaired": 13, "dropped": 2},
            "summary": {
                "workouts": 35,
                "verdicts": {"kept": 20, "repaired": 13, "dropped": 2},
                "reasons": [_REASON],
                "splits": {"train": 24, "val": 4, "test": 5},
                "other_sports": {},
                "files": 35,
                "files_with_problems": 0,
                "first_started_at": "2026-03-01T06:30:00Z",
                "last_started_at": "2026-04-30T17:05:00Z",
            },
            "files": [{"name": "spring.zip/1.gpx", "format": "gpx", "workouts": 1, "problem": None}],
            "workouts": [
                {
                    "position": 0,
                    "source": "spring.zip/1.gpx",
                    "person": None,
                    "started_at": "2026-03-01T06:30:00Z",
                    "duration_s": 2710.0,
                    "sport": "running",
                    "heart_rate_per_minute": 59.8,
                    "samples": 2711,
                    "digest": "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
                    "split": "train",
                    "verdict": "repaired",
                    "reasons": [
                        {
                            "code": "heart_rate_impossible",
                            "samples": 3,
                            "message": "took as missing: heart rate outside 25..240 bpm",
                        }
                    ],
                }
            ],
            "next_after": None,
            "next_file_after": None,
        },
        from_attributes=True,
    )
    dataset_id: UUID
    state: DatasetState
    verdicts: dict[str, int]
    summary: ReportSummary
    files: list[FileRead]
    workouts: list[WorkoutRead]
    next_after: Annotated[int | None, Field(description="Give it as `after` for the next workouts.")]
    next_file_after: Annotated[int | None, Field(description="Give it as `file_after` for the next files.")]
