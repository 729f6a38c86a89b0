"""One recorded exercise: arrays with units, and its content-addressed bytes."""

import hashlib
import json
import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from hrmodel.workouts.reasons import Reason

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CHANNELS = ("speed", "altitude", "heart_rate", "cadence")
MAX_SECONDS = 1e9  # beyond it is no recording; keeps bin numbers far from overflow
METADATA_KEY = "workout"

# why a value was taken as missing, by the fault's code: one bit each in `Workout.marks`, stored, so never renumbered
MARKS: dict[str, int] = {
    "heart_rate_impossible": 1 << 0,
    "heart_rate_spike": 1 << 1,
    "heart_rate_dropout": 1 << 2,
    "heart_rate_held": 1 << 3,
    "heart_rate_start": 1 << 4,
    "cadence_lock": 1 << 5,
    "standing_pause": 1 << 6,
    "speed_impossible": 1 << 7,
    "speed_jump": 1 << 8,
    "altitude_impossible": 1 << 9,
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Workout:
    """N samples of one exercise. NaN is a missing value; None means that the channel was not recorded at all.

    `started_at` is a UTC instant; formats without a clock count days from 1970-01-01, which keeps the order.
    Raises ValueError for unequal lengths, for times that do not strictly increase from >= 0, for a naive `started_at`.
    """

    t: Array  # (N,) s since the start
    speed: Array  # (N,) m/s
    altitude: Array | None = None  # (N,) m
    heart_rate: Array | None = None  # (N,) bpm
    cadence: Array | None = None  # (N,) steps/min, both feet
    started_at: datetime | None = None
    person: str | None = None  # in files of many people
    sport: str = "running"
    source: str = ""  # file name (and member) that it came from
    sport_source: str = ""  # where the sport is from when it is not the file's own field
    split: str | None = None  # only original-format data and population Parquet
    removed_samples: int = 0  # left out by the reader: no time, or one that fits nowhere
    mended: tuple[Reason, ...] = ()  # other repairs by the reader: clocks, units
    marks: NDArray[np.uint16] | None = None  # (N,) bits of `MARKS`; None when no value was taken as missing

    def __post_init__(self) -> None:
        t = np.asarray(self.t, dtype=np.float64)
        _check_times(t)
        object.__setattr__(self, "t", t)
        for name in CHANNELS:
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else _channel(name, value, len(t)))
        object.__setattr__(self, "marks", None if self.marks is None else _marks(self.marks, len(t)))
        if self.started_at is not None:
            if self.started_at.tzinfo is None:
                raise ValueError(f"started_at needs a time zone, not {self.started_at.isoformat()}")
            object.__setattr__(self, "started_at", self.started_at.astimezone(UTC))

    def to_bytes(self) -> bytes:
        """The content as safetensors; equal content gives equal bytes.

        Leaves out person, source, split and repairs by the reader.
        """
        arrays = {"t": self.t} | {name: getattr(self, name) for name in CHANNELS if getattr(self, name) is not None}
        started_at = None if self.started_at is None else self.started_at.isoformat()
        facts = json.dumps({"started_at": started_at, "sport": self.sport}, sort_keys=True)
        content: dict[str, NDArray[Any]] = {name: _canonical(array) for name, array in arrays.items()}
        if self.marks is not None:
            content["marks"] = self.marks
        return save(content, metadata={METADATA_KEY: facts})

    @staticmethod
    def from_bytes(data: bytes, *, person: str | None = None, source: str = "", split: str | None = None) -> "Workout":
        """The inverse of `to_bytes`. Raises ValueError when `data` is something else."""
        try:
            arrays: dict[str, Any] = load(data)
            (header_size,) = struct.unpack_from("<Q", data)
            facts = json.loads(json.loads(data[8 : 8 + header_size])["__metadata__"][METADATA_KEY])
            started_at = facts["started_at"]
            sport = facts["sport"]
        except (SafetensorError, KeyError, TypeError, struct.error) as error:
            raise ValueError(f"these {len(data)} bytes are not a stored workout: {error}") from error
        if not {"t", "speed"} <= set(arrays) <= {"t", *CHANNELS, "marks"}:
            raise ValueError(f"a stored workout holds t, speed and other channels, not {sorted(arrays)}")
        return Workout(
            **arrays,
            started_at=None if started_at is None else datetime.fromisoformat(started_at),
            sport=sport,
            person=person,
            source=source,
            split=split,
        )

    @staticmethod
    def from_dataframe(
        frame: "pd.DataFrame",
        *,
        started_at: datetime | None = None,
        person: str | None = None,
        sport: str = "running",
        source: str = "",
    ) -> "Workout":
        """A workout from a table with a row per sample.

        Columns: `speed` (m/s) and, where recorded, `altitude` (m), `heart_rate` (bpm), `cadence` (steps/min, both
        feet); others are ignored, NaN is a missing value. The time is the column `t` (s since the start) or an index
        of times with a time zone; such an index also gives the start. Raises ValueError for missing columns.
        """
        present = [name for name in ("t", *CHANNELS) if name in frame.columns]
        columns = {name: frame[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in present}
        if "speed" not in columns:
            raise ValueError(f"a DataFrame needs the column speed (m/s); it has {', '.join(map(str, frame.columns))}")
        if hasattr(frame.index, "tz") and len(frame):
            columns.setdefault("t", (frame.index - frame.index[0]).total_seconds().to_numpy())
            start = frame.index[0].round("us").to_pydatetime() - timedelta(seconds=float(columns["t"][0]))
            started_at = started_at or start
        if "t" not in columns:
            raise ValueError("a DataFrame needs the column t (s since the start) or an index of times with a time zone")
        return Workout(**columns, started_at=started_at, person=person, sport=sport, source=source)

    def to_dataframe(self) -> "pd.DataFrame":
        """A table with a row per sample: `t` (s), `speed` (m/s) and the other recorded channels.

        The index holds the times (UTC) where the start is known. `from_dataframe` gives the same samples again.
        Raises ImportError without pandas.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError("a DataFrame needs pandas, which is not installed: pip install pandas") from error
        columns = {name: value for name in ("t", *CHANNELS) if (value := getattr(self, name)) is not None}
        if self.started_at is None:
            return pd.DataFrame(columns)
        times = pd.Timestamp(self.started_at) + pd.to_timedelta(self.t, unit="s")
        return pd.DataFrame(columns, index=pd.Index(times, name="time"))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of `to_bytes()` in hex: the workout's id."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    @property
    def sort_key(self) -> tuple[datetime, str]:
        """Orders workouts in time; the digest breaks ties, so that the order never depends on the file."""
        return (self.started_at or EPOCH, self.digest)


def advancing(t: Array) -> NDArray[np.bool_]:
    """(N,) times without NaN -> (N,): which samples are later than all before them. Readers keep only these."""
    latest = np.maximum.accumulate(t)
    return np.concatenate([[True], t[1:] > latest[:-1]])[: len(t)]


def _check_times(t: Array) -> None:
    if t.ndim != 1 or len(t) == 0:
        raise ValueError(f"t must be one row of at least one sample, not shape {t.shape}")
    if t[0] >= 0 and t[-1] <= MAX_SECONDS and (t[1:] > t[:-1]).all():  # NaN compares false
        return
    if not np.isfinite(t).all() or t[0] < 0 or t[-1] > MAX_SECONDS:
        raise ValueError(f"t must be finite and within 0..{MAX_SECONDS:g} s, but goes from {t[0]} to {t[-1]}")
    i = int(np.argmax(t[1:] <= t[:-1]))
    raise ValueError(f"t must strictly increase, but t[{i}] = {t[i]} and t[{i + 1}] = {t[i + 1]}")


def _channel(name: str, value: ArrayLike, samples: int) -> Array:
    array = np.asarray(value, dtype=np.float64)
    if array.shape != (samples,):
        raise ValueError(f"{name} has shape {array.shape}, but t has {samples} samples")
    infinite = np.isinf(array)
    return np.where(infinite, np.nan, array) if infinite.any() else array  # no sensor measures infinity


def _marks(value: NDArray[np.uint16], samples: int) -> NDArray[np.uint16] | None:
    """Nothing marked is no marks: equal content must give equal bytes."""
    if value.shape != (samples,) or value.dtype != np.uint16:
        raise ValueError(f"marks must be {samples} uint16, not {value.dtype} of shape {value.shape}")
    return value if value.any() else None


def _canonical(array: Array) -> Array:
    """One bit pattern for NaN and for zero: equal numbers must give equal bytes."""
    return np.where(np.isnan(array), np.nan, array + 0.0)
