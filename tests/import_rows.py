"""What an import found, as rows: for tests of the report's faces. Each takes overrides."""

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

from service.registry.imports import ImportedFile, ImportedWorkout

FIRST = datetime(2024, 3, 1, 6, 30, tzinfo=UTC)
WITHOUT_CLOCK = datetime(1970, 1, 1, tzinfo=UTC)


def a_reason(code: str, samples: int = 10, message: str = "") -> dict[str, Any]:
    """A reason as cleaning gives it."""
    return {"code": code, "samples": samples, "message": message or f"this is {code}"}


def a_workout(number: int = 0, first: datetime = FIRST, **values: Any) -> ImportedWorkout:
    """A run of 45 minutes, two days after the one before; kept for training."""
    digest = hashlib.sha256(str(number).encode()).hexdigest()
    given = {
        "digest": digest,
        "size": 100,
        "started_at": first + timedelta(days=2 * number),
        "duration_s": 2700.0,
        "samples": 2701,
        "person": None,
        "source": f"{number}.gpx",
        "split": "train",
        "verdict": "kept",
        "reasons": [],
        "heart_rate_per_minute": 58.5,
    }
    return ImportedWorkout(**{**given, **values})


def dropped(number: int, code: str, **values: Any) -> ImportedWorkout:
    """A workout that is dropped for this reason."""
    given = {"digest": None, "split": None, "verdict": "dropped", "reasons": [a_reason(code)]}
    return a_workout(number, **{**given, **values})


def repaired(number: int, code: str, **values: Any) -> ImportedWorkout:
    """A workout that is repaired for this reason."""
    return a_workout(number, **{"verdict": "repaired", "reasons": [a_reason(code)], **values})


def a_file(name: str = "0.gpx", problem: str | None = None) -> ImportedFile:
    """A GPX file with one workout, or with a problem and none."""
    return ImportedFile(name=name, format="gpx", workouts=0 if problem else 1, problem=problem)
