"""What the API takes and shows of model versions."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import Field, StrictBool

from service.registry.tables import Stage
from service.web.fields import Read, Write, example

Format = Literal["safetensors", "pt", "onnx"]
_MODEL = {
    "id": "0d4d9b0e-5f7c-4f58-9d5f-8d7a3f3a54cf",
    "stage": "stage2",
    "subject": "me",
    "dataset_id": "6f1ad0c5-3a5c-4a38-9a57-6c1f3b1f7a11",
    "job_id": "b0a1b6de-6a0e-49d7-9d39-9f2fb6a3f0f1",
    "parent_id": "4be1b1c6-8a5d-4b1d-8a51-2f2c36b9b5a0",
    "score": 5.42,
    "champion": True,
    "shipped": False,
    "formats": ["safetensors", "pt", "onnx"],
    "size": 208540,
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "dataset_digest": "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752",
    "code_version": "0.1.0",
    "created_at": "2026-05-01T08:01:10Z",
}


class ModelRead(Read):
    """A registered checkpoint. `score` is its error in bpm on its own dataset's test workouts."""

    model_config = example(_MODEL)
    id: UUID
    stage: Stage
    subject: str | None
    dataset_id: UUID | None
    job_id: UUID | None
    parent_id: UUID | None
    score: float | None
    champion: bool
    shipped: bool
    formats: list[Format]
    size: int
    sha256: str
    dataset_digest: str
    code_version: str
    created_at: datetime


class ModelPage(Read):
    """Model versions, newest first."""

    model_config = example({"items": [_MODEL], "next_cursor": None})
    items: list[ModelRead]
    next_cursor: str | None


class EvaluationRead(Read):
    """How a version does on a dataset's test workouts, beside the baselines."""

    model_config = example(
        {
            "model_version_id": _MODEL["id"],
            "dataset_id": _MODEL["dataset_id"],
            "score": 5.42,
            "report": {
                "score": 5.42,
                "selected_on": "test",
                "test_workouts": 5,
                "protocols": {
                    "P1": {
                        "workouts": 5,
                        "mean": {"mae": 5.9, "bias": -0.4},
                        "median": {"mae": 5.6, "bias": -0.2},
                        "reliability": {"0.9": {"measured": 0.89, "half_width": 12.1}},
                    }
                },
                "baselines": {"ridge": {"P1": {"mae": 6.4}}},
                "per_workout": [],
                "examples": [],
            },
            "created_at": "2026-05-01T08:01:10Z",
        },
        from_attributes=True,
        protected_namespaces=(),
    )
    model_version_id: UUID
    dataset_id: UUID
    score: float | None
    report: dict[str, Any] = Field(
        description="By protocol: errors in bpm, also by heart-rate zone, and how much the bands hold; the baselines' "
        "errors; every test workout; the best, the median and the worst one as series on a 10 s grid."
    )
    created_at: datetime


class Promotion(Write):
    """How to promote."""

    model_config = example({"force": False}, extra="forbid")
    force: StrictBool = Field(False, description="Promote a version that is not better; it is recorded as forced.")
