"""Parquet tables of many workouts: the schema of the project's data (one row is one segment of one run).

A workout is all segments of one (athlete_id, run), joined in order of `segment`. `started_at` is 1970-01-01 + day days
+ run seconds: such tables hold no clock, and the run number keeps the order within a day. The file is read batch by
batch; a run is handed on as soon as its last row was seen, whatever the order of the rows.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hrmodel.workouts.errors import InvalidFile
from hrmodel.workouts.formats.source import Source
from hrmodel.workouts.formats.sport import decided
from hrmodel.workouts.workout import EPOCH, Array, Workout, advancing

KEYS = ("athlete_id", "run", "segment", "day")
LISTS = ("t", "speed", "altitude", "heart_rate", "cadence")
NEEDED = (*KEYS, "t", "speed")
OPTIONAL = ("split", "sport", "altitude", "heart_rate", "cadence")
ROWS_AT_A_TIME = 64
MAX_ROWS = 2_000_000
MAX_VALUES = 100_000_000  # in one column of one row group: a few bytes can claim any number

RunKey = tuple[str, int]


@dataclass(frozen=True, kw_only=True)
class SegmentRow:
    """One row: what names it, and its lists (n,); None where the list is null."""

    number: int
    segment: int
    day: int
    split: str | None
    sport: str | None
    lists: dict[str, Array | None]


def read(source: Source) -> Iterator[Workout]:
    """All workouts of the file, in the order in which they become complete. Raises InvalidFile."""
    try:
        with pq.ParquetFile(source.path) as file:
            yield from _read_runs(file, source)
    except pa.ArrowMemoryError as error:
        raise InvalidFile(
            "too_large", "", "its rows take more memory than an import may use; split the file"
        ) from error
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # the last one: of names and texts
        raise InvalidFile("broken_parquet", "", f"the Parquet file cannot be read: {str(error)[:200]}") from error


def _read_runs(file: pq.ParquetFile, source: Source) -> Iterator[Workout]:
    columns = _check_schema(file)
    _check_size(file)
    rows_left = Counter(_keys(file))
    waiting: dict[RunKey, list[SegmentRow]] = defaultdict(list)
    row_bytes = source.path.stat().st_size / max(file.metadata.num_rows, 1)
    for key, row in _rows(file, columns):
        source.advanced(row_bytes)
        waiting[key].append(row)
        rows_left[key] -= 1
        if rows_left[key] == 0:
            workout = _join(key, waiting.pop(key))
            if workout is not None:
                yield decided(workout, source, steps=True)


def _check_schema(file: pq.ParquetFile) -> list[str]:
    """The columns to read. Raises InvalidFile when one is missing or holds something else."""
    schema = file.schema_arrow
    missing = [name for name in NEEDED if name not in schema.names]
    if missing:
        hint = f"the columns {', '.join(missing)} are missing; a table of workouts has {', '.join(NEEDED)}"
        raise InvalidFile("unknown_schema", "", hint)
    for name in schema.names:
        if name in LISTS and not _is_list_of_numbers(schema.field(name).type):
            raise InvalidFile("unknown_schema", f"column {name}", "each row must hold a list of numbers")
        if name in KEYS[1:] and not pa.types.is_integer(schema.field(name).type):
            raise InvalidFile("unknown_schema", f"column {name}", "must hold whole numbers")
        if name in ("athlete_id", "split", "sport") and not _is_text(schema.field(name).type):
            raise InvalidFile("unknown_schema", f"column {name}", "must hold text")
    return [name for name in (*NEEDED, *OPTIONAL) if name in schema.names]


def _is_list_of_numbers(kind: pa.DataType) -> bool:
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        return False
    return bool(pa.types.is_integer(kind.value_type) or pa.types.is_floating(kind.value_type))


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _check_size(file: pq.ParquetFile) -> None:
    if file.metadata.num_rows > MAX_ROWS:
        raise InvalidFile("too_large", "", f"{file.metadata.num_rows} rows; at most {MAX_ROWS} are read")
    for number in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(number)
        values = max((group.column(i).num_values for i in range(group.num_columns)), default=0)
        if values > MAX_VALUES:
            hint = f"{values} values in one column; write row groups of at most {MAX_VALUES}"
            raise InvalidFile("too_large", f"row group {number}", hint)


def _keys(file: pq.ParquetFile) -> Iterator[RunKey]:
    table = file.read(columns=["athlete_id", "run"], use_threads=False)
    return zip(table["athlete_id"].to_pylist(), table["run"].to_pylist(), strict=True)


def _rows(file: pq.ParquetFile, columns: list[str]) -> Iterator[tuple[RunKey, SegmentRow]]:
    number = 0
    for batch in file.iter_batches(batch_size=ROWS_AT_A_TIME, columns=columns, use_threads=False):
        lists = {name: _unpack(batch.column(name)) for name in LISTS if name in columns}
        texts = {name: batch.column(name).to_pylist() for name in columns if name not in LISTS}
        for i in range(batch.num_rows):
            named: dict[str, Any] = {name: values[i] for name, values in texts.items()}
            unnamed = [name for name in KEYS if named[name] is None]
            if unnamed:
                raise InvalidFile("missing_value", f"row {number}", f"{', '.join(unnamed)} must not be null")
            yield (
                (named["athlete_id"], named["run"]),
                SegmentRow(
                    number=number,
                    segment=named["segment"],
                    day=named["day"],
                    split=named.get("split"),
                    sport=named.get("sport"),
                    lists={name: lists[name][i] if name in lists else None for name in LISTS},
                ),
            )
            number += 1


def _unpack(column: pa.Array) -> list[Array | None]:
    """A list column as one array per row, without a Python object per number; null elements become NaN."""
    offsets = column.offsets.to_numpy()
    values = np.asarray(column.values.slice(offsets[0], offsets[-1] - offsets[0]).to_numpy(zero_copy_only=False))
    rows = np.split(values.astype(np.float64), offsets[1:-1] - offsets[0])
    # not `column.is_valid()`: it loads pyarrow.compute, a fifth of what reading a small file takes
    return [row if value.is_valid else None for row, value in zip(rows, column, strict=True)]


def _join(key: RunKey, rows: list[SegmentRow]) -> Workout | None:
    """One workout from its segments; None when they hold no samples."""
    rows = sorted((row for row in rows if _samples(row)), key=lambda row: (row.segment, row.number))
    if not rows:
        return None
    person, run = key
    t = _joined(rows, "t")
    finite = np.isfinite(t)
    recorded = [name for name in LISTS if any(row.lists[name] is not None for row in rows)]
    channels: dict[str, Any] = {name: _joined(rows, name)[finite] for name in recorded}
    kept = advancing(t[finite])
    removed = len(t) - int(kept.sum())
    channels = {name: values[kept] for name, values in channels.items()}
    channels.setdefault("speed", np.full(int(kept.sum()), np.nan))
    try:
        return Workout(
            **channels,
            started_at=EPOCH + timedelta(days=rows[0].day, seconds=run),
            person=person,
            sport=rows[0].sport or "running",
            source=f"{person} run {run}",
            split=rows[0].split,
            removed_samples=removed,
        )
    except (ValueError, OverflowError) as error:
        raise InvalidFile("invalid_workout", f"{person} run {run}", str(error)) from error


def _samples(row: SegmentRow) -> int:
    """How many samples the row has. Raises InvalidFile when its lists disagree."""
    lengths = {name: len(values) for name, values in row.lists.items() if values is not None}
    if "t" not in lengths:
        raise InvalidFile("missing_value", f"row {row.number}", "t must not be null")
    if len(set(lengths.values())) > 1:
        raise InvalidFile("unequal_lists", f"row {row.number}", f"the lists of one row must be equally long: {lengths}")
    return lengths["t"]


def _joined(rows: list[SegmentRow], name: str) -> Array:
    parts = []
    for row in rows:
        values = row.lists[name]
        parts.append(np.full(_samples(row), np.nan) if values is None else values)
    return np.concatenate(parts)
