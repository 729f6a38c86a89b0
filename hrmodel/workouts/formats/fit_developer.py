"""Values that FIT records hold in developer fields in place of the usual ones (an app on the watch, a foot pod).

A description tells which usual field a developer field stands for; it may come before or after the records.
"""

from array import array
from dataclasses import dataclass, field

import numpy as np
from fitdecode import types  # type: ignore[import-untyped]

from hrmodel.workouts.formats.clock_blocks import Columns

RECORD = 20  # the number of the record message
CHANNELS = {2: "altitude", 3: "heart_rate", 4: "cadence", 5: "distance", 6: "speed", 73: "speed", 78: "altitude"}
MAX_FIELDS = 64
MAX_VALUE = 1e10  # larger numbers are no measurements
NUMBERS = "bBhHiIqQfd"
ENDIAN_FLAG = 0x80  # of types of several bytes; some apps leave it out


@dataclass(frozen=True, kw_only=True, slots=True)
class DeveloperField:
    """A developer field as a definition names it: whose it is, its number, its bytes and their order."""

    index: int
    number: int
    size: int
    endian: str


@dataclass(kw_only=True)
class _Column:
    rows: "array[int]" = field(default_factory=lambda: array("L"))
    data: bytearray = field(default_factory=bytearray)


class DeveloperFields:
    """Collects descriptions and values of one FIT file."""

    def __init__(self) -> None:
        self._described: dict[tuple[float, float], dict[str, float]] = {}
        self._columns: dict[DeveloperField, _Column] = {}

    def describe(self, values: dict[str, float]) -> None:
        """Note a `field_description` message."""
        key = values.get("developer_data_index", 0.0), values.get("field_definition_number", 0.0)
        self._described[key] = values

    def take(self, row: int, values: dict[DeveloperField, bytes]) -> None:
        """Note the developer fields of record number `row`."""
        for name, raw in values.items():
            if name not in self._columns and len(self._columns) >= MAX_FIELDS:
                continue
            column = self._columns.setdefault(name, _Column())
            column.rows.append(row)
            column.data += raw

    def fill(self, columns: Columns) -> None:
        """Put the values into the (N,) columns of the records where these have none; changes them in place."""
        for name, column in self._columns.items():
            description = self._described.get((name.index, name.number), {})
            channel = CHANNELS.get(int(description.get("native_field_num", -1)))
            type_ = int(description.get("fit_base_type_id", -1))
            base = types.BASE_TYPES.get(type_, types.BASE_TYPES.get(type_ | ENDIAN_FLAG))
            if channel is None or description.get("native_mesg_num", RECORD) != RECORD:
                continue
            if base is None or base.fmt not in NUMBERS or base.size != name.size:
                continue
            raw = np.frombuffer(bytes(column.data), dtype=f"{name.endian}{base.fmt}")
            values = np.array([np.nan if base.parse(value) is None else value for value in raw.tolist()], dtype=float)
            values[~(np.abs(values) < MAX_VALUE)] = np.nan
            values = values / (description.get("scale") or 1.0) - description.get("offset", 0.0)
            if channel == "heart_rate":
                values[(values <= 0) | (values >= 255)] = np.nan
            rows = np.array(column.rows, dtype=np.int64)
            rows, values = rows[np.isnan(columns[channel][rows])], values[np.isnan(columns[channel][rows])]
            columns[channel][rows] = values
