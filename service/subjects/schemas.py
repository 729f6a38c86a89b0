"""What the API shows of subjects."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import Field

from service.registry.tables import Stage
from service.web.fields import Read, example

_CHAMPION = {
    "model_version_id": "0d4d9b0e-5f7c-4f58-9d5f-8d7a3f3a54cf",
    "stage": "stage2",
    "revision": 2,
    "since": "2026-05-01T08:01:10Z",
}
_SUBJECT = {
    "name": "me",
    "level": {"heart_rate": 147.2, "spread": 13.1, "speed": 2.9, "speed_spread": 0.5, "workouts": 28},
    "champion": _CHAMPION,
    "created_at": "2026-05-01T08:00:00Z",
}
_WHY = (
    "Stage 2 serves: it beats stage 1 by 0.40 bpm [0.10, 0.70] on 12 test workouts. Errors on 12 test workouts: the "
    "base model 7.10, stage 1 5.82, stage 2 5.42 bpm. With no heart rate known it is off by 5.6 bpm on your test "
    "workouts; always guessing your mean would be off by 10.5."
)
_SUMMARY = {
    "model_version_id": _CHAMPION["model_version_id"],
    "dataset_id": "6f1ad0c5-3a5c-4a38-9a57-6c1f3b1f7a11",
    "score": 5.42,
    "test_workouts": 5,
    "mae": {"P1": 5.6, "P2-180": 5.2},
    "baselines": {"elapsed_curve": {"P1": 8.0, "P2-180": 7.1}},
}


class ServingRead(Read):
    """The version that serves a subject."""

    model_version_id: UUID
    stage: Stage
    revision: int
    since: datetime


class SubjectRead(Read):
    """A person: their level, and the version that serves them."""

    model_config = example(_SUBJECT)
    name: str
    level: dict[str, Any] | None
    champion: ServingRead | None
    created_at: datetime


class SubjectDetail(SubjectRead):
    """A person, and why this version serves them."""

    model_config = example({**_SUBJECT, "why": _WHY})
    why: str = Field(
        description="Why this version serves, or what is missing, in words. Errors that are compared are the mean of "
        "P1 and P2-180; brackets hold the 95 % interval of a difference."
    )


class SubjectPage(Read):
    """Subjects, newest first."""

    model_config = example({"items": [_SUBJECT], "next_cursor": None})
    items: list[SubjectRead]
    next_cursor: str | None


class Summary(Read):
    """Mean absolute errors in bpm on a dataset's test workouts, by protocol; baselines beside them."""

    model_version_id: UUID
    dataset_id: UUID
    score: float | None
    test_workouts: int
    mae: dict[str, float | None]
    baselines: dict[str, dict[str, float | None]]


class ChampionRead(ServingRead):
    """What serves a subject, and how good it is beside the base model on the same workouts."""

    model_config = example(
        {
            **_CHAMPION,
            "subject": "me",
            "offset": -1.3,
            "reason": "promoted",
            "decision": {"promote": True, "candidate_score": 5.42, "champion_score": 5.9, "difference": -0.48},
            "evaluation": _SUMMARY,
            "base": {**_SUMMARY, "model_version_id": "4be1b1c6-8a5d-4b1d-8a51-2f2c36b9b5a0", "score": 8.9},
        }
    )
    subject: str
    offset: float
    reason: str
    decision: dict[str, Any] | None
    evaluation: Summary | None
    base: Summary | None


class ChangeRead(Read):
    """A change of the champion. The version is null once it was deleted."""

    revision: int
    model_version_id: UUID | None
    stage: Stage | None
    reason: str
    decision: dict[str, Any] | None
    created_at: datetime


class ChangePage(Read):
    """Changes, newest first."""

    model_config = example(
        {
            "items": [
                {
                    "revision": 2,
                    "model_version_id": _CHAMPION["model_version_id"],
                    "stage": "stage2",
                    "reason": "promoted",
                    "decision": {"promote": True, "candidate_score": 5.42, "champion_score": 5.9},
                    "created_at": "2026-05-01T08:01:10Z",
                }
            ],
            "next_cursor": None,
        }
    )
    items: list[ChangeRead]
    next_cursor: str | None
