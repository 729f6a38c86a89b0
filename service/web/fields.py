"""Types of values that several endpoints take."""

import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any

from fastapi import Path, Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from service.errors import FieldError, NotFound
from service.registry.pages import DEFAULT_LIMIT, MAX_LIMIT

MAX_AFTER = 2**53


class Read(BaseModel):
    """Something that the API shows, made from a row."""

    model_config = ConfigDict(from_attributes=True)


class Write(BaseModel):
    """Something that the API takes: unknown fields are refused, so that a misspelt one is not silently ignored."""

    model_config = ConfigDict(extra="forbid")


def example(value: dict[str, Any], **config: Any) -> ConfigDict:
    """A model's configuration with an example for the documentation."""
    configuration: ConfigDict = {"json_schema_extra": {"examples": [value]}, **config}  # type: ignore[typeddict-item]
    return configuration


def check_text(text: str) -> str:
    """Refuse control characters and line breaks. Raises ValueError."""
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in text):
        raise ValueError("must not hold control characters")
    return text


def check_subject(name: str) -> str:
    """Refuse what could not stand in an address. Raises ValueError."""
    if name != name.strip() or "/" in name or name in (".", ".."):
        raise ValueError("must not begin or end with a space, hold a slash, or be . or ..")
    return check_text(name)


SubjectName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=100),
    AfterValidator(check_subject),
    Field(description="The person: any text of yours, 1 to 100 characters.", examples=["me"]),
]
SubjectPath = Annotated[SubjectName, Path(description="The person.", examples=["me"])]
SubjectFilter = Annotated[SubjectName | None, Query(description="Only what is this person's.")]
Label = Annotated[str, StringConstraints(max_length=200), AfterValidator(check_text)]
After = Annotated[int, Query(ge=-1, le=MAX_AFTER, description="Only what comes behind this number.")]
LimitQuery = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="How many at most.")]
CursorQuery = Annotated[str | None, Query(max_length=200, description="`next_cursor` of the page before.")]
PAGE_LIMIT = DEFAULT_LIMIT


class ErrorRead(Read):
    """Why something ended without success."""

    code: str
    message: str


def instant(value: datetime) -> str:
    """An instant as text: ISO 8601, UTC, to the second."""
    return value.strftime("%Y-%m-%dT%H:%M:%SZ")


@contextmanager
def pointing(pointer: str) -> Iterator[None]:
    """Add the pointer of the request's field to a NotFound raised inside."""
    try:
        yield
    except NotFound as error:
        raise replace(error, errors=[FieldError(pointer, "does not exist")]) from error
