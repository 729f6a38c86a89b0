"""The recorded runs beside the project, where they are there."""

from pathlib import Path

import pytest

RUNS = Path(__file__).resolve().parents[2] / "shared" / "data" / "runs"


def personal_parquet() -> Path:
    """Six people's runs; skips the test where the file is missing."""
    path = RUNS / "personal.parquet"
    if not path.exists():
        pytest.skip("the recorded runs (shared/data/runs/personal.parquet) are not beside the project")
    return path
