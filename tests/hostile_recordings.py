"""Hostile FIT files, tracks of a million points, JSON lines and junk. `small` are made at once, `large` one by one."""

import random
import struct
from collections.abc import Iterator

from tests import endomondo_writer, fit_writer
from tests.fit_writer import START, FitWriter
from tests.hostile_zips import forged

EXTENSIONS = ("gpx", "tcx", "xml", "fit", "json", "parquet", "pt", "zip", "gz", "csv", "")
HEADS = {  # what each format is known by
    "gpx": b"<gpx>",
    "tcx": b"<TrainingCenterDatabase>",
    "xml": b"<!DOCTYPE HealthData [",
    "fit": b"\x0e\x20\x54\x08\xff\xff\xff\0.FIT\0\0",
    "json": b'{"speed": [1',
    "parquet": b"PAR1",
    "zip": b"PK\3\4",
    "gz": b"\x1f\x8b\x08\0\0\0\0\0\0\3",
    "pt": b"PK\3\4" + bytes(22) + struct.pack("<HH", 13, 0) + b"data/data.pkl",
}
TIME, RECORD, HR = (253, 4, 0x86), 20, 132


def fit(*pieces: bytes) -> bytes:
    """A FIT file with this body."""
    body = b"".join(pieces)
    return struct.pack("<BBHI4s", 12, 0x20, 2132, len(body), b".FIT") + body + b"\0\0"


def definition(number: int, *fields: tuple[int, int, int], developer: int = 0) -> bytes:
    """Of local message 5; `developer`: so many fields of 255 bytes."""
    writer = FitWriter()
    writer.define(5, number, [bytes(field) for field in fields], [bytes([n, 255, n]) for n in range(developer)])
    return bytes(writer.body)


def small() -> Iterator[tuple[str, bytes]]:
    noise = random.Random(0)
    for extension in EXTENSIONS:
        yield f"junk.{extension}", noise.randbytes(65_536)
        yield f"empty.{extension}", b""
        yield f"one byte.{extension}", b"\0"
    for extension, head in HEADS.items():
        yield f"junk behind a head.{extension}", head + noise.randbytes(65_536)
        yield f"only a head.{extension}", head
    yield from _fit()
    yield from _lines()


def _fit() -> Iterator[tuple[str, bytes]]:
    whole = fit_writer.write(20)
    bits = random.Random(0).sample(range(8 * len(whole)), 300)
    flipped = (bytes(byte ^ (1 << bit % 8 if at == bit // 8 else 0) for at, byte in enumerate(whole)) for bit in bits)
    yield "300 flipped bits.zip", forged([(b"%d.fit" % i, data) for i, data in enumerate(flipped)])
    yield "cut at 300 places.zip", forged([(b"%d.fit" % i, whole[: i * len(whole) // 300]) for i in range(1, 300)])
    yield "no end of the header.fit", b"\xff" + whole[1:]
    yield "body of 4 GB.fit", whole[:4] + b"\xff" * 4 + whole[8:]
    yield "never defined.fit", fit(b"\5" * 10_000)
    yield "no size.fit", fit(definition(RECORD, *[(n, 0, 2) for n in range(255)]), b"\5" * 100_000)
    yield (
        "infinite numbers.fit",
        fit(definition(RECORD, TIME, *[(n, 8, 0x89) for n in range(254)]), b"\5" + b"\x7f\xf0" * 1018),
    )
    yield "all invalid.fit", fit(definition(RECORD, TIME, (3, 1, 2), (5, 4, 0x86)), (b"\5" + b"\xff" * 9) * 10_000)
    one = definition(RECORD, TIME) + b"\5" + struct.pack("<I", START)
    ends = (b"\5" + struct.pack("<I", START), b"\5" + struct.pack("<I", 0xFFFFFFFE))
    yield "140 years.fit", fit(definition(RECORD, TIME), *ends)
    yield "chained in a loop.fit", fit(one) * 4000
    yield "itself in itself.fit", fit(fit(fit(whole)))


def _lines() -> Iterator[tuple[str, bytes]]:
    times = '{"timestamp": [1400000000, 1400000010], '
    yield "infinite.json", (times + '"speed": [1e400, -1e400], "heart_rate": [NaN, Infinity]}\n').encode()
    yield "huge whole numbers.json", (times + f'"speed": [{"9" * 100_000}, 1], "userId": {"9" * 100_000}}}\n').encode()
    yield "far times.json", b'{"timestamp": [-1e300, 0, 1e300], "speed": [1, 1, 1]}\n' * 100
    yield "strings as lists.json", b'{"speed": [1], "timestamp": "123", "heart_rate": {"0": 1}}\n' * 1500
    yield "code in a line.json", b"{'speed': [1], 'sport': __import__('os').system('touch stagewise-hostile')}\n"
    yield "quotes without an end.json", b"{'speed': [1], 'sport': '" + b"\\'\"" * 80_000
    yield "keys twice.json", b"{" + b'"speed": [1],' * 15_000 + b'"speed": [1]}'
    yield "long escapes.json", b'{"speed": [1], "sport": "' + b"\\u0000" * 40_000 + b'"}'


def large() -> Iterator[tuple[str, bytes]]:
    record = definition(RECORD, TIME, (3, 1, 2))
    yield "a million records.fit", fit(record, *(b"\5" + struct.pack("<IB", START + s, 120) for s in range(1_000_000)))
    yield "a million records at once.fit", fit(record, (b"\5" + struct.pack("<IB", START, 120)) * 1_000_000)
    yield "endless definitions.fit", fit(definition(RECORD, *[(n, 1, 2) for n in range(255)]) * 10_000)
    yield "endless developer fields.fit", fit(definition(RECORD, developer=255) * 10_000)
    yield "a chain of 200000.fit", fit() * 200_000
    beats = definition(HR, TIME, (6, 255, 2), (9, 252, 0x86), (10, 255, 13))
    yield "endless beats.fit", fit(beats, (b"\5" + b"\1" * 766) * 50_000)
    yield from _tracks()
    yield "a line of 200 MB.json", b'{"speed": [' + b"1," * 100_000_000 + b"1]}"
    yield "a million brackets.json", b'{"speed": [1], "a": ' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}\n"
    yield "a million braces of Python.json", b"{'speed': [1], 'a': " + b"{'a':" * 700_000 + b"}" * 700_000 + b"}\n"
    yield "ten million numbers.json", b'{"speed": [1' + b",1" * 10_000_000 + b"]}\n"
    yield "lines just short enough.json", (b'{"speed": [1' + b",1" * 2_000_000 + b"]}\n") * 20
    yield "a million empty lines.json", b'{"speed": [1]}\n' + b"\n" * 10_000_000
    yield "a million bad lines.json", b'{"speed": [1]}\n' * 1_000_000
    points = endomondo_writer.line(points=60_000, gender=..., url=...)
    yield "as many points as may be.json", endomondo_writer.write(*[points] * 10, python=True)


def _tracks() -> Iterator[tuple[str, bytes]]:
    for extension, root, begin, point, end in (
        ("gpx", "gpx", "<trk>", '<trkpt lat="1" lon="1"><time>{}</time><hr>140</hr></trkpt>', "</trk>"),
        (
            "tcx",
            "TrainingCenterDatabase",
            "<Activity><Track>",
            "<Trackpoint><Time>{}</Time></Trackpoint>",
            "</Track></Activity>",
        ),
    ):
        times = (
            f"2024-05-{1 + s // 86_400:02d}T{s // 3600 % 24:02d}:{s // 60 % 60:02d}:{s % 60:02d}Z"
            for s in range(100_000)
        )
        many = "".join(map(point.format, times))
        for name, body in (
            ("a million points", begin + many * 10 + end),
            ("ten tracks of 100000 points", (begin + many + end) * 10),
            ("100000 tracks", (begin + point.format("2024-05-01T08:00:00Z") + end) * 100_000),
        ):
            yield f"{name}.{extension}", f"<{root}>{body}</{root}>".encode()
