"""The original's data: `train.pt`, `val.pt`, `test.pt`, each a dict of tensors, and `scaler_params.json` beside them.

`speed, altitude, heart_rate, timestamps: (N, 500, 1)`, `original_lengths: (N, 1)`, optional `userId` (a person each).
A pickle from a stranger can run code, so only PyTorch's zip layout is opened, with `weights_only=True`, after its size
was checked; every tensor's type and shape is checked before its numbers are used.
"""

import json
import math
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import Any, TypeGuard

import numpy as np
import torch
from torch import Tensor

from hrmodel.workouts.errors import InvalidFile
from hrmodel.workouts.formats.archive import Budget
from hrmodel.workouts.formats.source import Source
from hrmodel.workouts.formats.zips import open_zip
from hrmodel.workouts.units import Units
from hrmodel.workouts.workout import EPOCH, Array, Workout, advancing

SPLITS = ("train", "val", "test")
SCALER_FILE = "scaler_params.json"
SCALER_KEYS = ("speed_mean", "speed_std", "altitude_mean", "altitude_std")
SERIES = ("speed", "altitude", "heart_rate", "timestamps")
STEPS = 500
MAX_SCALER_BYTES = 1 << 16
MAX_MEMBERS = 100  # of the zip; each tensor is one
MAX_PICKLE_BYTES = 1 << 20  # with the names of 50,000 people
SPLIT_SECONDS = 2e8  # six years
UNIX_SECONDS = 1e8  # timestamps above it are dates (after 1973), below it seconds of the workout
KILOMETRES_PER_HOUR = Units(speed="km/h")
NUMBERS = {  # torch has more types, and cannot compute with all of them
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.bool),
    *(torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
}
ENOUGH = 1000  # workouts, to see whether values are standardised
MAX_ID = 1 << 64
MAX_NAME = 100  # characters


def read(source: Source) -> Iterator[Workout]:
    """The workouts of one split file; its name is the split, and the scaler is looked for beside it.

    `source.units`: those of the unscaled values (default km/h and m). Timestamps that are no dates give no clock:
    workout i then starts i hours after 1970-01-01, validation six and test twelve years later. Raises InvalidFile.
    """
    split = PurePosixPath(source.name).stem
    if split not in SPLITS:
        hint = f"original-format data is a zip of {', '.join(f'{name}.pt' for name in SPLITS)}; the name says the split"
        raise InvalidFile("unknown_split", "", hint)
    tensors = _load(source.path)
    series = {name: _series(tensors, name) for name in SERIES}
    lengths = _lengths(tensors, series)
    people = _people(tensors, len(lengths))
    _check_clock(series["timestamps"])
    with source.beside(SCALER_FILE) as beside:
        scaler = None if beside is None else _read_scaler(beside.path)
    if scaler is None:
        _refuse_standardised(series["speed"], lengths)
    for i, length in enumerate(lengths):
        rows = {name: values[i, :, 0].to(torch.float64).numpy() for name, values in series.items()}
        if scaler is not None:
            for name in ("speed", "altitude"):
                rows[name] = rows[name] * scaler[f"{name}_std"] + scaler[f"{name}_mean"]
        yield _to_workout(rows, length, i, people[i], split, source.units or KILOMETRES_PER_HOUR)


def _load(path: Path) -> dict[str, Any]:
    try:
        _check_members(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except InvalidFile:
        raise
    except Exception as error:  # a forged file can raise anything inside the unpickler
        raise InvalidFile(
            "broken_pt", "", f"it holds more than tensors, or is damaged ({type(error).__name__})"
        ) from error
    if not isinstance(loaded, dict) or not all(isinstance(key, str) for key in loaded):
        raise InvalidFile("unknown_schema", "", f"it must hold a dict of {', '.join(SERIES)}, original_lengths")
    return loaded


def _check_members(path: Path) -> None:
    """Raises InvalidFile for a zip that torch.save does not write."""
    with open_zip(path, Budget(entries=MAX_MEMBERS)) as opened:
        members = opened.infolist()
    if sum(entry.file_size for entry in members) > path.stat().st_size:  # nothing is packed, each byte is there once
        raise InvalidFile("too_large", "", "it claims to hold more than its own size; save it with torch.save")
    if sum(entry.file_size for entry in members if "/data/" not in entry.filename) > MAX_PICKLE_BYTES:
        raise InvalidFile("too_large", "", f"what it says beside tensors takes more than {MAX_PICKLE_BYTES} bytes")


def _series(tensors: Mapping[str, Any], name: str) -> Tensor:
    value = tensors.get(name)
    if not _is_plain(value):
        raise InvalidFile("unknown_schema", name, f"a tensor of numbers named {name} is missing")
    if value.ndim != 3 or value.shape[1:] != (STEPS, 1):
        raise InvalidFile("unknown_schema", name, f"expected shape (N, {STEPS}, 1), not {tuple(value.shape)}")
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise InvalidFile("unknown_schema", name, "the shape claims more numbers than the file holds")
    return value.detach()


def _is_plain(value: Any) -> TypeGuard[Tensor]:
    """Numbers in memory: pickles can also describe tensors that are sparse, complex, quantized or nowhere."""
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.device.type != "cpu":
        return False
    return value.dtype in NUMBERS


def _lengths(tensors: Mapping[str, Any], series: Mapping[str, Tensor]) -> list[int]:
    """The stored lengths, one per workout. Raises InvalidFile when the tensors disagree about how many there are."""
    value = tensors.get("original_lengths")
    workouts = len(series["speed"])
    if not _is_plain(value) or tuple(value.shape) not in {(workouts, 1), (workouts,)}:
        raise InvalidFile("unknown_schema", "original_lengths", f"expected a tensor of shape ({workouts}, 1)")
    for name, values in series.items():
        if len(values) != workouts:
            raise InvalidFile("unknown_schema", name, f"{len(values)} workouts, but speed has {workouts}")
    lengths = value.detach().reshape(-1).to(torch.float64)
    if not bool((torch.isfinite(lengths) & (lengths >= 0)).all()):
        raise InvalidFile("unknown_schema", "original_lengths", "lengths must be 0 or more")
    return [int(length) for length in lengths.clamp(max=1e9)]


def _people(tensors: Mapping[str, Any], workouts: int) -> list[str | None]:
    value = tensors.get("userId")
    if value is None:
        return [None] * workouts
    if _is_plain(value) and value.shape[:1] == (workouts,) and value.numel() >= workouts > 0:
        value = value.reshape(workouts, -1)[:, 0].tolist()
    if not isinstance(value, list) or len(value) != workouts:
        raise InvalidFile("unknown_schema", "userId", f"expected one for each of the {workouts} workouts")
    return [_name(one) for one in value]


def _name(person: Any) -> str:
    """Of text and numbers only: lists that hold each other can take forever to print."""
    if isinstance(person, float) and math.isfinite(person):
        person = int(person)
    if not isinstance(person, str) and not (isinstance(person, int) and abs(person) < MAX_ID):
        raise InvalidFile("unknown_schema", "userId", "each must be a name or a number")
    return str(person)[:MAX_NAME]


def _check_clock(timestamps: Tensor) -> None:
    coarse = timestamps.is_floating_point() and timestamps.element_size() < 8
    if coarse and bool((timestamps.abs() > UNIX_SECONDS).any()):
        raise InvalidFile("rounded_timestamps", "timestamps", "32 bits round dates to minutes; store float64")


def _read_scaler(path: Path) -> dict[str, float]:
    try:
        if path.stat().st_size > MAX_SCALER_BYTES:
            raise ValueError(f"{path.stat().st_size} bytes")
        values = json.loads(path.read_text(encoding="utf-8"))
        scaler = {key: float(values[key]) for key in SCALER_KEYS}
        if not all(map(math.isfinite, scaler.values())):
            raise ValueError("a value is not finite")
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        hint = f"it must hold the numbers {', '.join(SCALER_KEYS)}: {str(error)[:100]}"
        raise InvalidFile("bad_scaler", SCALER_FILE, hint) from error
    return scaler


def _refuse_standardised(speed: Tensor, lengths: list[int]) -> None:
    speed, lengths = speed[:ENOUGH], lengths[:ENOUGH]  # all of them would take as much memory again
    used = torch.arange(STEPS)[None, :] < torch.tensor(lengths)[:, None]
    values = speed[:, :, 0].to(torch.float64)[used]
    values = values[torch.isfinite(values)]
    if len(values) and abs(float(values.mean())) < 0.5 and bool((values < 0).any()):
        hint = f"its values are standardised (mean near 0, some negative); put {SCALER_FILE} beside it"
        raise InvalidFile("standardised_without_scaler", "speed", hint)


def _to_workout(
    rows: dict[str, Array], length: int, number: int, person: str | None, split: str, units: Units
) -> Workout:
    clock = rows["timestamps"]
    # a clock that runs through all 500 steps: the original stretched the workout, though it stored the length before
    stretched = bool(np.isfinite(clock).all() and (np.diff(clock) > 0).all())
    recorded = STEPS if stretched else min(max(length, 1), STEPS)
    kept = np.flatnonzero(np.isfinite(clock[:recorded]))
    if not len(kept):
        raise InvalidFile("invalid_workout", f"workout {number}", "no timestamp is a number")
    kept = kept[advancing(clock[kept])]
    t = clock[kept] - clock[kept[0]]
    speed, altitude = units.to_metric(rows["speed"][kept], rows["altitude"][kept])
    start = float(clock[kept[0]]) if clock[kept[0]] > UNIX_SECONDS else _start_without_clock(number, split)
    try:
        return Workout(
            t=t,
            speed=speed,
            altitude=altitude,
            heart_rate=rows["heart_rate"][kept],
            started_at=EPOCH + timedelta(seconds=start),
            person=person,
            source=f"workout {number}",
            split=split,
            removed_samples=recorded - len(kept),
        )
    except (ValueError, OverflowError) as error:
        raise InvalidFile("invalid_workout", f"workout {number}", str(error)) from error


def _start_without_clock(number: int, split: str) -> float:
    """Seconds since 1970: in the order of the file, a split after the other, and all before any real clock."""
    return SPLITS.index(split) * SPLIT_SECONDS + min(number * 3600.0, SPLIT_SECONDS - 3600.0 + number * 1e-3)
