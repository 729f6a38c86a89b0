"""Hostile PyTorch and Parquet files. `small` are made at once, `large` one by one."""

import io
import pickle
import struct
import zipfile
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from tests.hostile_zips import ESCAPED, forged, zeros

STEPS = 500


class Obeyed:
    """A pickle that tells to run something."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.told = function, arguments

    def __reduce__(self) -> Any:
        return self.told


def tensors(workouts: int = 2, **changed: Any) -> dict[str, Any]:
    """What a seed-format file holds. `changed`: others, or other tensors."""
    clock = torch.arange(STEPS, dtype=torch.float64).reshape(1, STEPS, 1).repeat(workouts, 1, 1) * 10
    plain = torch.full((workouts, STEPS, 1), 10.0)
    named = {"speed": plain, "altitude": plain, "heart_rate": plain * 14, "timestamps": clock}
    return named | {"original_lengths": torch.full((workouts, 1), STEPS)} | changed


def saved(content: Any) -> bytes:
    """As torch.save writes it."""
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def small() -> Iterator[tuple[str, bytes]]:
    yield from ((f"{name}/train.pt", content) for name, content in _pickles())
    yield from ((f"{name}/train.pt", saved(tensors(**{key: value}))) for name, key, value in _tensors())
    yield from _parquet()


def _pickles() -> Iterator[tuple[str, bytes]]:
    import os

    touch = f"touch {ESCAPED} /tmp/{ESCAPED}"
    for name, told in {
        "system": Obeyed(os.system, touch),
        "eval": Obeyed(eval, f"open('{ESCAPED}', 'w')"),
        "mkdir": Obeyed(os.mkdir, ESCAPED),
        "bytearray of 8 GB": Obeyed(bytearray, 8 << 30),
        "bytearray of 500 MB": Obeyed(bytearray, 500 << 20),
        "load": Obeyed(torch.load, "/etc/passwd"),
    }.items():
        yield f"{name} in the place of a tensor", saved(tensors(speed=told))
        yield f"{name} without torch", pickle.dumps({"speed": told})
        yield f"{name} of an old torch", _legacy({"speed": told})
    yield "lists of lists", saved(tensors(userId=[doubled(40), 1]))
    yield "a huge whole number", saved(tensors(userId=[10**50_000, 1]))
    yield "names of a megabyte", saved(tensors(**{"a" * 100_000: 1, "userId": ["a" * 100_000, "b"]}))
    yield "not a dict", saved([doubled(40)])
    for name, opcodes in {
        "lists 100000 deep": b"\x80\2}X\6\0\0\0userId" + b"]" * 100_000 + b"a" * 99_999 + b"s.",
        "a memo of 4 billion": b"\x80\2]r\xff\xff\xff\xff.",
        "a string of 2 GB": b"\x80\2X\xff\xff\xff\x7fa.",
        "a million marks": b"\x80\2" + b"(" * 200_000 + b".",
        "nothing to stop": b"\x80\2" + b"N" * 200_000,
        "pops of nothing": b"\x80\2" + b"0" * 1000 + b".",
        "a long of 2 GB": b"\x80\2\x8b\xff\xff\xff\x7f1.",
        "an extension": b"\x80\2\x84\xff\xff\xff\x7f.",
    }.items():
        yield name, _with_pickle(opcodes)
    whole = saved(tensors())
    yield "half a file", whole[: len(whole) // 2]
    yield "without a pickle", forged([(b"train/data.pkl", b"")])
    yield "a deflated bomb", _bomb(100)


def doubled(times: int) -> list[Any]:
    """A list that holds the one before twice: small, and 2**times long when it is printed."""
    value: list[Any] = []
    for _ in range(times):
        value = [value, value]
    return value


def _legacy(content: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def _with_pickle(opcodes: bytes) -> bytes:
    return forged([(b"train/data.pkl", opcodes), (b"train/version", b"3\n"), (b"train/byteorder", b"little")])


def _bomb(megabytes: int) -> bytes:
    """The members of a true file, the largest deflated zeros."""
    made = zipfile.ZipFile(io.BytesIO(saved(tensors())))
    names = [entry.filename.encode() for entry in made.infolist()]
    return forged([(name, zeros(megabytes)) for name in names], method=8, size=megabytes << 20)


def _tensors() -> Iterator[tuple[str, str, Any]]:
    plain = torch.full((2, STEPS, 1), 10.0)
    for name, value in {
        "stride 0": torch.zeros(1).expand(2, STEPS, 1),
        "stride 0 of a million": torch.zeros(1).expand(1_000_000, STEPS, 1),
        "overlapping strides": torch.zeros(STEPS + 1).as_strided((2, STEPS, 1), (1, 1, 1)),
        "sparse": plain.to_sparse(),
        "sparse of a billion": torch.sparse_coo_tensor(torch.zeros(3, 1, dtype=torch.int64), [1.0], (10**9, STEPS, 1)),
        "compressed rows": torch.ones(2, STEPS).to_sparse_csr(),
        "quantized": torch.quantize_per_tensor(plain, 0.1, 0, torch.quint8),
        "complex": plain.to(torch.complex64),
        "conjugated": plain.to(torch.complex64).conj(),
        "nowhere": torch.zeros(2, STEPS, 1, device="meta"),
        "nowhere, a billion": torch.zeros(10**9, STEPS, 1, device="meta"),
        "bits": torch.zeros(2, STEPS, 1, dtype=torch.uint8).view(torch.bits8),
        "half bytes": torch.zeros(2, STEPS, 1, dtype=torch.uint8).view(torch.float4_e2m1fn_x2),
        "powers of two": torch.zeros(2, STEPS, 1, dtype=torch.uint8).view(torch.float8_e8m0fnu),
        "truth": plain > 0,
        "a parameter": torch.nn.Parameter(plain),
        "nothing": torch.zeros(0, STEPS, 1),
        "not numbers": plain * float("nan"),
        "infinite": plain * float("inf"),
        "a list": [1.0] * 1000,
    }.items():
        for key in ("speed", "timestamps"):
            yield f"{key}, {name}", key, value
    for name, lengths in _lengths().items():
        yield f"lengths, {name}", "original_lengths", lengths
    for name, people in {
        "bits": torch.zeros(2, dtype=torch.uint8).view(torch.bits8),
        "wide": torch.zeros(2, 100_000),
    }.items():
        yield f"people, {name}", "userId", people


def _lengths() -> dict[str, Tensor]:
    return {
        "huge": torch.tensor([2**62, 2**62]),
        "not a number": torch.tensor([1.0, float("nan")]),
        "bits": torch.zeros(2, dtype=torch.uint8).view(torch.bits8),
        "truth": torch.tensor([True, False]),
        "stride 0": torch.zeros(1).expand(2, 1),
    }


def table(rows: int = 2, **changed: Any) -> pa.Table:
    """Rows of 300 samples, as the project's own tables. `changed`: other columns."""
    seconds = [float(s) for s in range(300)]
    columns: dict[str, Any] = {
        "athlete_id": ["a"] * rows,
        "run": list(range(rows)),
        "segment": [0] * rows,
        "day": [0] * rows,
        "t": [seconds] * rows,
        "speed": [[3.0] * 300] * rows,
        "heart_rate": [[140.0] * 300] * rows,
    }
    return pa.table(columns | changed)


def written(content: pa.Table, **options: Any) -> bytes:
    """A Parquet file."""
    file = io.BytesIO()
    pq.write_table(content, file, **options)
    return file.getvalue()


def _parquet() -> Iterator[tuple[str, bytes]]:
    nothing, huge = float("nan"), 1e300
    yield "times that are none.parquet", written(table(t=[[nothing] * 300] * 2))
    yield "infinite times.parquet", written(table(t=[[float("inf")] * 300, [-huge, huge] * 150]))
    yield "lists of lists.parquet", written(table(t=[[[[1.0]]], [[[2.0]]]]))
    yield "lists that differ.parquet", written(table(speed=[[1.0], [2.0] * 1000]))
    yield (
        "null everywhere.parquet",
        written(table(**{name: pa.nulls(2, pa.list_(pa.float64())) for name in ("t", "speed")})),
    )
    yield "far days.parquet", written(table(day=[2**62, -(2**62)], run=[-(2**62), 2**62]))
    yield "no rows.parquet", written(table(0))
    many = {f"c{i}": pa.nulls(2) for i in range(3000)}
    yield "3000 columns.parquet", written(table(**many))
    whole = written(table())
    yield "half.parquet", whole[: len(whole) // 2]
    yield "footer of 4 GB.parquet", whole[:-8] + b"\xff\xff\xff\xff" + whole[-4:]
    yield "encrypted footer.parquet", b"PARE" + whole[4:-4] + b"PARE"
    for count in (3, 1_000_000, 2**31 - 1):  # rows, in the bytes of the footer
        yield f"{count} rows, they say.parquet", _more_rows(count)
    for text, rows in (("a" * 100_000, 2), ("a" * 1_000_000, 3000)):
        names = pa.DictionaryArray.from_arrays(pa.array([0] * rows), [text])
        yield (
            f"names of {len(text)} letters {rows} times.parquet",
            written(table(rows, athlete_id=names), compression="zstd"),
        )


def _more_rows(count: int) -> bytes:
    """777 rows whose number, in a footer, was changed to another one."""
    whole = written(table(777, t=[[1.0]] * 777, speed=[[1.0]] * 777, heart_rate=[[1.0]] * 777))
    size = struct.unpack("<I", whole[-8:-4])[0]
    footer = whole[-8 - size : -8].replace(_zigzag(777), _zigzag(count))
    return whole[: -8 - size] + footer + struct.pack("<I", len(footer)) + b"PAR1"


def _zigzag(number: int) -> bytes:
    """A number as Thrift packs it."""
    left, packed = number * 2, bytearray()
    while left > 127:
        packed.append(left & 127 | 128)
        left >>= 7
    return bytes([*packed, left])


def large() -> Iterator[tuple[str, bytes]]:
    for count in (5_000_000, 50_000_000):
        long = pa.LargeListArray.from_arrays([0, count], pa.nulls(count, pa.float32()).fill_null(0.0))
        one = table(1, t=long, speed=long, heart_rate=long)
        yield f"{count} zeros in a row.parquet", written(one, compression="zstd")
    yield (
        "a million rows.parquet",
        written(table(1_000_000, t=[[]] * 1_000_000, speed=[[]] * 1_000_000, heart_rate=[[]] * 1_000_000)),
    )
    page = pa.array(["a" * 50_000_000 + str(i) for i in range(6)])
    yield "pages of 300 MB.parquet", written(table(6, athlete_id=page), compression="zstd", use_dictionary=False)
    yield "a deflated bomb of 2 GB/train.pt", _bomb(2000)
    yield "10000 workouts/train.pt", saved(tensors(10_000))
    yield "a million storages/train.pt", saved(tensors(userId=[torch.zeros(1) for _ in range(20_000)]))
    yield (
        "a million members/train.pt",
        forged([(b"train/data.pkl", b".")] + [(b"train/data/%d" % i, b"") for i in range(300_000)]),
    )
