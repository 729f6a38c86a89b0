"""Hostile zip and gzip files. `small` are made at once, `large` one by one."""

import gzip
import io
import random
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping

ESCAPED = "stagewise-hostile"  # part of each name that would lie outside of the job's folder
GPX = b'<gpx><trk><trkpt lat="1" lon="1"><time>2024-05-01T08:00:00Z</time></trkpt></trk></gpx>'
LOCAL, ENTRY, END = "<4s5H3L2H", "<4s4B4HL2L5H2L", "<4s4H2LH"


def zipped(members: Mapping[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip file of these members."""
    made = io.BytesIO()
    with zipfile.ZipFile(
        made, "w", compression, compresslevel=1 if compression == zipfile.ZIP_DEFLATED else None
    ) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return made.getvalue()


def tarred(members: Mapping[str, bytes], mode: str = "w", **options: int) -> bytes:
    """A tar file of these members."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode=mode, **options) as file:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return made.getvalue()


def forged(
    members: list[tuple[bytes, bytes]],
    *,
    method: int = 0,
    size: int | None = None,
    flags: int = 0,
    crc: int | None = None,
) -> bytes:
    """A zip file with raw names and raw data of each member; `size` and `crc`: what each claims to unpack to."""
    data, table = bytearray(), bytearray()
    for name, raw in members:
        length = len(raw) if size is None else size
        check = zlib.crc32(raw) if crc is None else crc
        table += _entry(name, len(data), len(raw), length, method, flags, check)
        data += _local(name, len(raw), length, method, flags, check) + raw
    return bytes(data + table) + _end(len(members), len(table), len(data))


def _local(name: bytes, packed: int, length: int, method: int, flags: int, crc: int = 0) -> bytes:
    return struct.pack(LOCAL, b"PK\3\4", 20, flags, method, 0, 0x21, crc, packed, length, len(name), 0) + name


def _entry(name: bytes, offset: int, packed: int, length: int, method: int, flags: int, crc: int = 0) -> bytes:
    head = struct.pack(
        ENTRY, b"PK\1\2", 20, 3, 20, 0, flags, method, 0, 0x21, crc, packed, length, len(name), 0, 0, 0, 0, 0, offset
    )
    return head + name


def _end(count: int, size: int, offset: int) -> bytes:
    return struct.pack(END, b"PK\5\6", 0, 0, count & 0xFFFF, count & 0xFFFF, size, offset, 0)


def zeros(megabytes: int, wbits: int = -15) -> bytes:
    """Deflated zeros; the block of each megabyte is the same."""
    packer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    first = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return first + again * (megabytes - 1) + packer.flush()


def stretched(before: bytes, after: bytes, megabytes: int = 100) -> bytes:
    """A zip of a file with so much between the two, packed no better than the archive's bound on ratios lets pass."""
    noise = bytes(random.Random(0).choices(range(ord("a"), ord("z") + 1), k=12_000))
    block = noise + b"a" * ((1 << 20) - len(noise))
    packer = zlib.compressobj(9, wbits=-15)
    first = packer.compress(before) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    packed = first + again * megabytes + packer.compress(after) + packer.flush()
    crc = zlib.crc32(before)
    for _ in range(megabytes):
        crc = zlib.crc32(block, crc)
    size = len(before) + (megabytes << 20) + len(after)
    return forged([(b"a", packed)], method=8, size=size, crc=zlib.crc32(after, crc))


def small() -> Iterator[tuple[str, bytes]]:
    yield from _names()
    yield from _lies()
    yield from _nested()
    yield "zeros 1000 to 1.zip", forged([(b"a.gpx", zeros(100))], method=8, size=100 << 20)
    yield "100 MB of zeros.gpx.gz", gzip.compress(bytes(100_000_000))
    yield "gzip bomb in a zip.zip", zipped({"a.gpx.gz": gzip.compress(bytes(50_000_000))})
    yield "2 GB of zeros.gz", zeros(2000, 31)
    yield "overlapping.zip", overlapping(GPX, 500)
    yield "quoted overlap.zip", quoted(zeros(1), 200)


def _names() -> Iterator[tuple[str, bytes]]:
    """Names that lead elsewhere, or are none."""
    names = [
        *(
            f"../{ESCAPED}.gpx",
            f"../../../../../../../../tmp/{ESCAPED}.gpx",
            f"/tmp/{ESCAPED}.gpx",
            f"//tmp/{ESCAPED}.gpx",
        ),
        *(
            f"C:\\{ESCAPED}.gpx",
            f"C:{ESCAPED}.gpx",
            f"..\\..\\{ESCAPED}.gpx",
            f"a/../../{ESCAPED}.gpx",
            f"~/{ESCAPED}.gpx",
        ),
        *(
            "a\nb.gpx",
            "\x1b[2Ja.gpx",
            "gpx.\u202exe.gpx",
            "...",
            "..",
            ".",
            "/",
            " ",
            "con.gpx",
            "a" * 60_000,
            "/".join("a" * 30_000),
        ),
        *(f"$({ESCAPED}).gpx", f"`touch {ESCAPED}`.gpx", "-rf.gpx", "%2e%2e%2fa.gpx", "a.gpx/", "\ud800.gpx"),
    ]
    for number, name in enumerate(names):
        yield f"name {number}.zip", forged([(name.encode("utf-8", "surrogatepass"), GPX)], flags=0x800)
    yield "all names.zip", forged([(name.encode("utf-8", "surrogatepass"), GPX) for name in names])
    yield "zero in a name.zip", forged([(b"a.gpx\0.jpg", GPX), (b"\0", GPX), (b"", GPX), (b"\xff\xfe.gpx", GPX)])
    yield "no unicode.zip", forged([(b"\xff\xfe.gpx", GPX)], flags=0x800)
    yield "one name 1000 times.zip", forged([(b"a.gpx", GPX)] * 1000)
    yield "links.zip", _links()


def _links() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        for number, kind in enumerate((stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK, stat.S_IFDIR)):
            info = zipfile.ZipInfo(f"{number}.gpx")
            info.external_attr = (kind | 0o777) << 16
            file.writestr(info, "/etc/passwd")
    return made.getvalue()


def _lies() -> Iterator[tuple[str, bytes]]:
    """Tables that do not tell what is there."""
    packed = zlib.compress(GPX, wbits=-15)
    yield "more than declared.zip", forged([(b"a.gpx", packed)], method=8, size=10)
    yield "less than declared.zip", forged([(b"a.gpx", packed)], method=8, size=100_000)
    yield "much less than declared.zip", forged([(b"a.gpx", packed)], method=8, size=0xFFFFFFF0)
    yield "a bomb that says 100 bytes.zip", forged([(b"a.gpx", zeros(100))], method=8, size=100)
    yield "encrypted.zip", forged([(b"a.gpx", GPX)], flags=1)
    yield "strongly encrypted.zip", forged([(b"a.gpx", GPX)], flags=0x41)
    yield "patched data.zip", forged([(b"a.gpx", GPX)], flags=0x20)
    for method in (1, 6, 9, 12, 14, 93, 95, 97, 98, 99, 0xFFFF):
        yield f"method {method}.zip", forged([(b"a.gpx", GPX)], method=method)
    whole = zipped({"a.gpx": GPX})
    end = whole.rindex(b"PK\5\6")
    for name, value in (("size", 12), ("place", 16)):
        for number in (0, 1, 0x7FFFFFFF, 0xFFFFFFFF):
            field = struct.pack("<L", number)
            yield f"{name} of the table {number}.zip", whole[: end + value] + field + whole[end + value + 4 :]
    yield "no table.zip", whole[: whole.index(b"PK\1\2")]
    yield "half.zip", whole[: len(whole) // 2]
    yield "two ends.zip", whole + whole
    yield "64 bits.zip", _zip64(1 << 63, 1 << 62, 1 << 61)
    yield "64 bits of entries.zip", _zip64(0xFFFFFFFFFFFF, 46, 0)
    yield "negative in 64 bits.zip", _zip64(1, 46, (1 << 64) - 100)
    extra = struct.pack("<HH3Q", 1, 24, 1 << 62, 1 << 62, (1 << 64) - 1)
    yield "member of 64 bits.zip", _with_extra(extra)
    yield "short extra field.zip", _with_extra(struct.pack("<HH", 1, 500))
    yield "extra fields.zip", _with_extra(struct.pack("<HH", 9, 0) * 16_000)


def _with_extra(extra: bytes) -> bytes:
    local = _local(b"a.gpx", 0xFFFFFFFF, 0xFFFFFFFF, 0, 0) + GPX
    entry = bytearray(_entry(b"a.gpx", 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0, 0))
    entry[30:32] = struct.pack("<H", len(extra))
    return local + bytes(entry) + extra + _end(1, len(entry) + len(extra), len(local))


def _zip64(entries: int, size: int, offset: int) -> bytes:
    data = _local(b"a.gpx", len(GPX), len(GPX), 0, 0) + GPX
    table = _entry(b"a.gpx", 0, len(GPX), len(GPX), 0, 0)
    end = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, entries, entries, size, offset)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, len(data) + len(table), 1)
    return data + table + end + locator + _end(0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF)


def _nested() -> Iterator[tuple[str, bytes]]:
    bomb = forged([(b"0.gpx", zeros(400))], method=8, size=400 << 20)
    for _ in range(5):  # as 42.zip: 16 in each of the 16 in each ...
        bomb = zipped({f"{number}.zip": bomb for number in range(16)})
    yield "42.zip", bomb
    packed = GPX
    for _ in range(1000):
        packed = gzip.compress(packed, 1)
    yield "1000 times packed.gz", packed
    tar = tarred(dict.fromkeys((f"../{ESCAPED}.gpx", f"/tmp/{ESCAPED}.gpx", "a.gpx"), GPX))
    yield "tar.zip", zipped({"a.tar": tar, "a.tar.gz": gzip.compress(tar)})
    yield "thousand members.gz", gzip.compress(b"") * 100_000 + gzip.compress(GPX)
    yield "gzip header.gz", b"\x1f\x8b\x08\x1e" + bytes(6) + b"\xff\xff" + b"a" * 65_535 + b"b" * 100_000
    yield "nothing but padding.gz", gzip.compress(b"") + bytes(200_000)


def overlapping(raw: bytes, count: int) -> bytes:
    """Members that all are the same bytes."""
    data = _local(b"0.gpx", len(raw), len(raw), 0, 0) + raw
    table = b"".join(_entry(b"%d.gpx" % i, 0, len(raw), len(raw), 0, 0) for i in range(count))
    return data + table + _end(count, len(table), len(data))


def quoted(kernel: bytes, count: int) -> bytes:
    """Fifield's: each member is the next one's header, quoted in a stored block, and what the next one is."""
    parts = [kernel]  # the last member first
    sizes, unpacked = [len(kernel)], [1 << 20]
    for number in reversed(range(count - 1)):
        header = _local(b"%05d" % (number + 1), sizes[-1], unpacked[-1], 8, 0)
        quote = struct.pack("<BHH", 0, len(header), 0xFFFF ^ len(header))
        parts.append(quote + header)
        sizes.append(sizes[-1] + len(quote) + len(header))
        unpacked.append(unpacked[-1] + len(header))
    head = _local(b"%05d" % 0, sizes[-1], unpacked[-1], 8, 0)
    data = head + b"".join(reversed(parts))
    table, offset = bytearray(), 0
    for number in range(count):
        table += _entry(b"%05d" % number, offset, sizes[-1 - number], unpacked[-1 - number], 8, 0)
        offset += 35 + (5 if number < count - 1 else 0)
    return data + bytes(table) + _end(count, len(table), len(data))


def large() -> Iterator[tuple[str, bytes]]:
    yield "70000 entries.zip", zipped({f"{i}.gpx": b"" for i in range(70_000)}, zipfile.ZIP_STORED)
    yield "19000 unknown.zip", forged([(b"%d.jpg" % i, b"x") for i in range(19_000)])
    yield "5000 tracks.zip", forged([(b"%d.gpx" % i, GPX) for i in range(5_000)])
    yield "19000 folders of routes.zip", forged([(b"%d/workout-routes/a.gpx" % i, GPX) for i in range(19_000)])
    yield "huge table.zip", forged([(b"%05d" % i + b"a" * 60_000, b"") for i in range(600)])
    crowd = forged([(b"%d" % i, b"x") for i in range(19_000)])
    yield "19000 in each of 200.zip", zipped({f"{i}.zip": crowd for i in range(200)})
    packed = zlib.compressobj(9, wbits=-15)
    whole = packed.compress(b"<gpx>" + bytes(1_000_000)) + packed.flush()
    yield "many small bombs.zip", forged([(b"%d.gpx" % i, whole) for i in range(9_900)], method=8, size=1_000_005)
    yield "bzip2.zip", zipped({"a.gpx": b"<gpx>" + _noise(1_500_000) + bytes(250_000_000)}, zipfile.ZIP_BZIP2)
    yield "lzma.zip", _lzma()
    yield "gzip within the ratio.gz", gzip.compress(b"<gpx>" + _noise(3_000_000), 1) + zeros(500, 31)


def _lzma() -> bytes:
    """With a dictionary of 1 GB, all of it in use."""
    import lzma

    coder = {
        "id": lzma.FILTER_LZMA1,
        "dict_size": 1 << 30,
        "mode": lzma.MODE_FAST,
        "mf": lzma.MF_HC3,
        "nice_len": 273,
        "depth": 1,
    }
    props = lzma._encode_filter_properties({"id": lzma.FILTER_LZMA1, "dict_size": 1 << 30})
    packer = lzma.LZMACompressor(lzma.FORMAT_RAW, filters=[coder | {"dict_size": 1 << 20}])
    raw = packer.compress(b"<gpx>" + _noise(2_500_000) + bytes(400_000_000)) + packer.flush()
    return forged(
        [(b"a.gpx", struct.pack("<BBH", 9, 4, len(props)) + props + raw)], method=14, size=402_500_005, flags=2
    )


def _noise(size: int) -> bytes:
    return random.Random(0).randbytes(size).replace(b"<", b"_")
