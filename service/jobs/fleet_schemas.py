"""What POST /jobs/fleet takes."""

import json
from typing import TYPE_CHECKING, Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, Field

from hrmodel.training.stages import personal_stages, way_to
from service.jobs.schemas import Hyperparameters, Recipe
from service.web.fields import SubjectName, Write, example

MAX_PEOPLE = 2000  # twice as many jobs: half a second of work
WAYS = [way_to(name) for name in personal_stages()]

if TYPE_CHECKING:
    PersonalStage = str
else:
    PersonalStage = Literal[tuple(personal_stages())]


def _a_way(stages: list[str]) -> list[str]:
    """From the base on, each stage starts from the one before."""
    if stages not in WAYS:
        raise ValueError(f"must be {' or '.join(map(json.dumps, WAYS))}")
    return stages


class FleetJobCreate(Write):
    """Stage 1 and stage 2 of many people: by their datasets, or by name (their newest ready datasets)."""

    model_config = example({"subjects": "all", "stages": WAYS[-1]}, extra="forbid")
    dataset_ids: Annotated[list[UUID], Field(min_length=1, max_length=MAX_PEOPLE)] | None = Field(
        None, description="A ready dataset of each person."
    )
    subjects: Literal["all"] | Annotated[list[SubjectName], Field(min_length=1, max_length=MAX_PEOPLE)] | None = Field(
        None,
        description="Instead of datasets. `all`: every person with enough workouts "
        "whose newest ones were not trained on in the same way before; the others are counted.",
    )
    stages: Annotated[list[PersonalStage], Field(max_length=len(WAYS[-1])), AfterValidator(_a_way)] = Field(
        WAYS[-1], description="Stage 1 alone, or both."
    )
    base_model_version_id: UUID | None = Field(None, description="The base to start from; the account's default.")
    recipe: Recipe = "auto"
    hyperparameters: Hyperparameters = Field(default_factory=Hyperparameters, description="Of every job.")
