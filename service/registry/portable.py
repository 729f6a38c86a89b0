"""Rows as JSON lines that either database can read: one list of values per row, in the order of named columns."""

import json
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from service.registry.tables import Json, UtcDateTime

# A column's kind, and the type that it has in any revision of the schema (constraints and lengths are the schema's).
KINDS: dict[str, sa.types.TypeEngine[Any]] = {
    "uuid": sa.Uuid(),
    "instant": UtcDateTime(),
    "json": Json,
    "boolean": sa.Boolean(),
    "number": sa.Float(53),
    "integer": sa.BigInteger(),
    "text": sa.Text(),
    "bytes": sa.LargeBinary(),
}
PYTHON = {bool: "boolean", int: "integer", float: "number", str: "text", UUID: "uuid", bytes: "bytes"}


def columns_of(table: sa.Table) -> dict[str, str]:
    """Kind of each column."""
    return {column.name: _kind(column) for column in table.columns}


def own_references(table: sa.Table) -> list[str]:
    """Columns that refer to other rows of the same table: they are set once all rows are there."""
    return [column.name for column in table.columns for key in column.foreign_keys if key.column.table is table]


def to_line(values: Sequence[Any]) -> bytes:
    """A row."""
    return json.dumps([_plain(value) for value in values]).encode() + b"\n"


def from_line(line: bytes, kinds: Sequence[str]) -> list[Any]:
    """The inverse of `to_line`. Raises ValueError for another number of values or a wrong one."""
    return [_typed(value, kind) for value, kind in zip(json.loads(line), kinds, strict=True)]


def target(name: str, columns: dict[str, str]) -> sa.TableClause:
    """A table to insert into, whatever revision it has."""
    return sa.table(name, *(sa.column(column, KINDS[kind]) for column, kind in columns.items()))


def chunks(rows: Iterator[list[Any]], size: int) -> Iterator[list[list[Any]]]:
    """Lists of `size` rows; the last may be shorter."""
    chunk: list[list[Any]] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _kind(column: sa.Column[Any]) -> str:
    if isinstance(column.type, sa.JSON):
        return "json"
    if isinstance(column.type, UtcDateTime):
        return "instant"
    python = column.type.python_type
    return "text" if issubclass(python, StrEnum) else PYTHON[python]


def _plain(value: Any) -> Any:
    match value:
        case UUID():
            return value.hex
        case datetime():
            return value.astimezone(UTC).isoformat()
        case bytes():
            return b64encode(value).decode()
    return value


def _typed(value: Any, kind: str) -> Any:
    match kind:
        case _ if value is None:
            return None
        case "uuid":
            return UUID(value)
        case "instant":
            return datetime.fromisoformat(value)
        case "bytes":
            return b64decode(value)
    return value
