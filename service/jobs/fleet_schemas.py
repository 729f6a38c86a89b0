"""What POST /jobs/fleet takes."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, Field

from service.jobs.schemas import Hyperparameters
from service.web.fields import SubjectName, Write, example

MAX_PEOPLE = 2000  # twice as many jobs: half a second of work
_STAGES = (["stage1"], ["stage1", "stage2"])


def _in_order(stages: list[str]) -> list[str]:
    if stages not in _STAGES:
        raise ValueError('must be ["stage1"] or ["stage1", "stage2"]')
    return stages


class FleetJobCreate(Write):
    """Stage 1 and stage 2 of many people: by their datasets, or by name (their newest ready datasets)."""

    model_config = example({"subjects": "all", "stages": ["stage1", "stage2"]}, extra="forbid")
    dataset_ids: Annotated[list[UUID], Field(min_length=1, max_length=MAX_PEOPLE)] | None = Field(
        None, description="A ready dataset of each person."
    )
    subjects: Literal["all"] | Annotated[list[SubjectName], Field(min_length=1, max_length=MAX_PEOPLE)] | None = Field(
        None,
        description="Instead of datasets. `all`: everybody with enough workouts "
        "whose newest ones were not trained on in the same way before; the others are counted.",
    )
    stages: Annotated[list[Literal["stage1", "stage2"]], Field(max_length=2), AfterValidator(_in_order)] = Field(
        ["stage1", "stage2"], description="Stage 1 alone, or both."
    )
    base_model_version_id: UUID | None = Field(None, description="The base to start from; the account's default.")
    recipe: Annotated[
        Literal["auto", "seed"], Field(description="Where the hyperparameters come from that are not given.")
    ] = "auto"
    hyperparameters: Hyperparameters = Field(default_factory=Hyperparameters, description="Of every job.")
