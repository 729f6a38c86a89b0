"""The recorded runs beside the project, where they are there."""

from pathlib import Path

import pytest

RUNS = Path(__file__).resolve().parents[2] / "shared" / "data" / "runs"
FORMATS = RUNS.parent / "formats"


def personal_parquet() -> Path:
    """Six people's runs; skips the test where the file is missing."""
    path = RUNS / "personal.parquet"
    if not path.exists():
        pytest.skip("the recorded runs (shared/data/runs/personal.parquet) are not beside the project")
    return path


def format_samples() -> Path:
    """The folder of real files in their formats; skips the test where it is missing."""
    if not FORMATS.exists():
        pytest.skip("the sample files (shared/data/formats) are not beside the project")
    return FORMATS


def more_parquet(kind: str) -> Path:
    """The `runs`, `rides` or `walks` of other people; skips the test where the file is missing."""
    path = RUNS.parent / "more" / f"more_{kind}.parquet"
    if not path.exists():
        pytest.skip(f"the recorded workouts (shared/data/more/{path.name}) are not beside the project")
    return path
