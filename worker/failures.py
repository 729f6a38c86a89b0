"""Permanent errors of a job: a code from a closed list and a sentence for the person who reads it."""

from dataclasses import dataclass

TRIES = 5  # of a job's last transaction: a concurrent change or deletion may invalidate it

CODES = frozenset(
    {
        "broken_checkpoint",
        "broken_upload",
        "cancelled",
        "data_missing",
        "dependency_failed",
        "failed_golden_check",
        "gpu_out_of_memory",
        "internal_error",
        "no_workouts",
        "non_finite_loss",
        "several_people",
        "start_model_missing",
        "storage_full",
        "too_few_people",
        "too_few_workouts",
        "unreadable_upload",
        "worker_crashed",
    }
)


@dataclass(eq=False)
class JobFailure(Exception):
    """A permanent error: a retry would not help."""

    code: str
    message: str

    def __post_init__(self) -> None:
        if self.code not in CODES:
            raise ValueError(f"unknown error code {self.code!r}")

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"
