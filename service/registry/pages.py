"""Keyset pages: newest first, and a cursor that names the last row seen. A page costs the same however deep it is."""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

from sqlalchemy import Select, literal, tuple_
from sqlalchemy.orm import Session

from service.errors import FieldError, Unprocessable

Item = TypeVar("Item")
MAX_LIMIT = 200
DEFAULT_LIMIT = 50
MAX_ID_LENGTH = 36  # of a UUID


@dataclass(frozen=True)
class Page(Generic[Item]):
    """Some rows, and the cursor of the next page; None after the last row."""

    items: list[Item]
    next_cursor: str | None


@dataclass(frozen=True)
class PageRequest:
    """The page to read."""

    limit: int = DEFAULT_LIMIT
    cursor: str | None = None


def fetch(session: Session, rows: Select[Any], table: Any, page: PageRequest) -> Page[Any]:
    """One page of `rows`, whose first column is an instance of `table` with `created_at` and `id`, newest first.

    A row of several columns comes as a tuple. Raises Unprocessable for a foreign cursor.
    """
    if page.cursor is not None:
        created_at, row_id = _decode(page.cursor, table.id.type.python_type)
        seen = tuple_(literal(created_at, table.created_at.type), literal(row_id, table.id.type))
        rows = rows.where(tuple_(table.created_at, table.id) < seen)
    ordered = rows.order_by(table.created_at.desc(), table.id.desc()).limit(page.limit + 1)
    fetched = session.execute(ordered).all()
    items = fetched[: page.limit]
    more = len(fetched) > page.limit
    last = items[-1][0] if more else None
    return Page([tuple(row) for row in items], encode(*_place(last)) if last is not None else None)


def merged(pages: Sequence[Page[Any]], limit: int) -> Page[Any]:
    """One page of several lists, each the first of what `fetch` gives: an OR of two lists has no index."""
    rows = sorted((row for page in pages for row in page.items), key=lambda row: _place(row[0]), reverse=True)
    items = rows[:limit]
    more = len(rows) > limit or any(page.next_cursor for page in pages)
    return Page(items, encode(*_place(items[-1][0])) if more else None)


def _place(row: Any) -> tuple[datetime, UUID | int]:
    return row.created_at, row.id


def encode(created_at: datetime, row_id: UUID | int) -> str:
    """The cursor of the page after this row."""
    return base64.urlsafe_b64encode(f"{created_at.isoformat()} {row_id}".encode()).decode().rstrip("=")


def _decode(cursor: str, id_type: type) -> tuple[datetime, UUID | int]:
    try:
        text = base64.b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        instant, row_id = text.decode("ascii").split(" ")
        created_at = datetime.fromisoformat(instant)
        if created_at.tzinfo is None or len(row_id) > MAX_ID_LENGTH:
            raise ValueError("not made by `encode`")
        return created_at.astimezone(UTC), id_type(row_id)
    except (ValueError, binascii.Error, OverflowError) as error:
        message = "is not a cursor that this API gave out"
        raise Unprocessable("invalid_cursor", "The cursor is not valid.", [FieldError("?cursor", message)]) from error
