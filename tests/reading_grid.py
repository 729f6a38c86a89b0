"""Files with one thing wrong: format x fault x place x size, each with what is right about the run in it."""

import gzip
import io
import math
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from tests.run_writer import POINTS, STEP_SECONDS, WRITERS, Point, mean_heart_rate, moved, run

SECONDS = STEP_SECONDS * (POINTS - 1)
FORMATS = tuple(WRITERS)
XML = ("gpx", "tcx")
MIDDLE = POINTS // 2
ARABIC = str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")


@dataclass(frozen=True, kw_only=True)
class Case:
    """One upload. `lost`: how many points may be missing; `told`: whether the report must name a problem."""

    id: str
    file: str
    data: bytes
    lost: int = 0
    heart_rate: float
    seconds: float = SECONDS
    speed: float | None = 2.8
    told: bool = False


def cases() -> Iterator[Case]:
    """All of them."""
    points = run()
    for format_ in FORMATS:
        yield _case(f"{format_}-plain", format_, points)
        yield from _clock(format_, points)
        yield from _order(format_, points)
        yield from _records(format_, points)
        yield from _units(format_, points)
        yield from _cuts(format_, points)
        yield from _packed(format_, points)
    yield from _zeros(points)
    for format_ in XML:
        yield from _texts(format_, points)
        yield from _times(format_, points)
        yield from _numbers(format_, points)
        yield from _stray_ends(format_, points)
        yield _pieces(format_, points, 2)
        yield _pieces(format_, points, 7)


def _case(id: str, format_: str, points: Sequence[Point], **facts: object) -> Case:
    write: Callable[..., bytes] = WRITERS[format_]
    options = facts.pop("options", {})
    data = write(points, **options)  # type: ignore[arg-type]
    file = f"run.{format_}"
    facts.setdefault("heart_rate", mean_heart_rate(run()))
    return Case(id=id, file=file, data=data, **facts)  # type: ignore[arg-type]


CLOCKS = {
    "1h-ahead": timedelta(hours=1),
    "2h-behind": timedelta(hours=-2),
    "2-days-old": timedelta(days=-2),
    "6-days-old": timedelta(days=-6),
    "20-days-old": timedelta(days=-20),
    "1024-weeks-old": timedelta(weeks=-1024),
    "1024-weeks-ahead": timedelta(weeks=1024),
    "ten-years-ahead": timedelta(days=3652),
}


def _clock(format_: str, points: Sequence[Point]) -> Iterator[Case]:
    """A block with another clock at the start, the middle and the end: dropped or placed, never believed."""
    for clock, by in CLOCKS.items():
        for place, first in (("start", 0), ("middle", MIDDLE), ("end", -1)):
            for count in (1, 5, 20):
                begin = POINTS - count if first < 0 else first
                yield _case(
                    f"{format_}-{count}-points-{clock}-at-the-{place}",
                    format_,
                    moved(points, begin, count, by),
                    lost=count,
                )
    if format_ != "fit":  # which cannot say so
        for name, by in (("1970", 19847), ("year-1", 738_000)):
            yield _case(f"{format_}-5-points-in-{name}", format_, moved(points, 0, 5, -timedelta(days=by)), lost=5)


def _order(format_: str, points: Sequence[Point]) -> Iterator[Case]:
    swapped = [points[i ^ 1] if i ^ 1 < POINTS else points[i] for i in range(POINTS)]
    yield _case(f"{format_}-swapped-in-pairs", format_, swapped)
    yield _case(f"{format_}-newest-first", format_, points[::-1])
    half = [*points[MIDDLE:], *points[:MIDDLE]]
    yield _case(f"{format_}-second-half-first", format_, half, lost=1)
    back = [
        replace(p, time=p.time - timedelta(seconds=6)) if i == MIDDLE and p.time else p for i, p in enumerate(points)
    ]
    yield _case(f"{format_}-skips-back-once", format_, back, lost=1)


def _records(format_: str, points: Sequence[Point]) -> Iterator[Case]:
    """Several records of one second."""
    if format_ != "gpx":  # whose points are positions
        parts = []
        for p in points:
            parts += [
                replace(p, heart_rate=None, cadence=None),
                Point(time=p.time, heart_rate=p.heart_rate, cadence=p.cadence),
            ]
        yield _case(f"{format_}-position-and-heart-rate-apart", format_, parts)
        late = [Point(time=p.time, heart_rate=p.heart_rate) for p in points]
        yield _case(
            f"{format_}-all-heart-rate-at-the-end", format_, [*(replace(p, heart_rate=None) for p in points), *late]
        )
    yield _case(f"{format_}-each-twice", format_, [p for p in points for _ in range(2)])
    yield _case(f"{format_}-last-point-of-a-lap-twice", format_, [*points[:200], points[199], *points[200:]])
    lost = [replace(p, time=None) if i in (0, 300, POINTS - 1) else p for i, p in enumerate(points)]
    yield _case(f"{format_}-three-points-without-time", format_, lost, lost=3)


def _units(format_: str, points: Sequence[Point]) -> Iterator[Case]:
    """Speed or distance in another unit than the positions say."""
    for pace in (1.9, 2.8, 4.2):
        base = run(speed=pace)
        heart_rate = mean_heart_rate(base)
        for unit, factor in (("kmh", 3.6), ("mph", 2.2369)):
            told = [replace(p, speed=pace * factor, distance=None) for p in base]
            yield _case(f"{format_}-speed-in-{unit}-at-{pace}", format_, told, heart_rate=heart_rate, speed=pace)
        if format_ == "gpx":
            continue
        for unit, factor in (("km", 0.001), ("miles", 1 / 1609.344), ("feet", 1 / 0.3048)):
            told = [replace(p, distance=None if p.distance is None else p.distance * factor) for p in base]
            if format_ == "fit" and factor < 1:
                continue  # centimetres: no such file can be written
            yield _case(f"{format_}-distance-in-{unit}-at-{pace}", format_, told, heart_rate=heart_rate, speed=pace)
        true = [pace * (1 + 0.08 * math.sin(STEP_SECONDS * i / 90)) for i in range(POINTS)]
        for unit, metres in (("min-km", 1000 / 60), ("min-mi", 1609.344 / 60), ("s-km", 1000)):
            told = [replace(p, speed=metres / v) for p, v in zip(base, true, strict=True)]
            yield _case(f"{format_}-pace-in-{unit}-at-{pace}", format_, told, heart_rate=heart_rate, speed=pace)
        told = [replace(p, distance=STEP_SECONDS * v) for p, v in zip(base, true, strict=True)]
        yield _case(f"{format_}-distance-of-each-step-at-{pace}", format_, told, heart_rate=heart_rate, speed=pace)
    for latitude in (0.0, 1e-7, -1.0, 90.0):
        blind = [replace(p, distance=None, latitude=latitude if i < 30 else p.latitude) for i, p in enumerate(points)]
        yield _case(f"{format_}-latitude-{latitude:g}-before-the-fix", format_, blind)


def _cuts(format_: str, points: Sequence[Point]) -> Iterator[Case]:
    """A file that ends too soon: what came before is the run."""
    whole = WRITERS[format_](points)
    for share in (0.6, 0.8, 0.97):
        kept = round(POINTS * share)
        part = list(points[:kept])
        end = int(len(whole) * share)
        facts = {"heart_rate": mean_heart_rate(part), "seconds": STEP_SECONDS * (kept - 1), "lost": 15, "told": True}
        yield replace(_case(f"{format_}-cut-at-{share}", format_, part, **facts), data=whole[:end])
        case = replace(_case(f"{format_}-gzip-cut-at-{share}", format_, part, **facts), data=gzip.compress(whole[:end]))
        yield replace(case, file=f"run.{format_}.gz")
    part = list(points[: round(POINTS * 0.96)])  # what 95 % of the squeezed bytes hold
    facts = {"heart_rate": mean_heart_rate(part), "seconds": STEP_SECONDS * (len(part) - 1), "lost": 15, "told": True}
    squeezed = gzip.compress(whole, mtime=0)
    case = _case(f"{format_}-cut-in-gzip", format_, part, **facts)
    yield replace(case, data=squeezed[: int(len(squeezed) * 0.95)], file=f"run.{format_}.gz")


def _zeros(points: Sequence[Point]) -> Iterator[Case]:
    """FIT: room that a device had set aside behind the file, and a block that was never written in the middle."""
    whole = WRITERS["fit"](points)
    yield replace(_case("fit-zeros-after", "fit", points), data=whole + bytes(512))
    middle = len(whole) * 7 // 10
    part = points[: round(POINTS * 0.7)]
    facts = {"heart_rate": mean_heart_rate(part), "seconds": STEP_SECONDS * (len(part) - 1), "lost": 15, "told": True}
    holed = whole[:middle] + bytes(512) + whole[middle + 512 :]
    yield replace(_case("fit-zeros-in-the-middle", "fit", part, **facts), data=holed)


def _packed(format_: str, points: Sequence[Point]) -> Iterator[Case]:
    data, name = WRITERS[format_](points), f"run.{format_}"
    archives = {
        "zip": _zip({name: data}),
        "zip-in-zip": _zip({"a.zip": _zip({name: data})}),
        "gz": gzip.compress(data, mtime=0),
        "gz-in-zip": _zip({f"{name}.gz": gzip.compress(data, mtime=0)}),
        "tar": _tar({f"export/{name}": data}, "w"),
        "tgz": _tar({f"export/{name}": data, "export/photo.jpg": b"\xff\xd8\xff" * 50}, "w:gz"),
        "zip-with-others": _zip({name: data, "a.csv": b"a,b\n1,2\n", "b.jpg": b"\xff\xd8\xff" * 50, "c.json": b"{}"}),
        "tar-in-zip": _zip({"a.tar": _tar({name: data}, "w")}),
        "zip-with-backslashes": _zip({f"export\\{name}": data}),
        "zip-with-dots": _zip({f"./{name}": data}),
    }
    for kind, packed in archives.items():
        yield replace(_case(f"{format_}-in-{kind}", format_, points), data=packed, file="upload")


def _texts(format_: str, points: Sequence[Point]) -> Iterator[Case]:
    """Text that nobody needs."""
    marker = "NAME-OF-THE-RUN"
    base = WRITERS[format_](points, name=marker)
    names = {
        "ampersand": b"Fish & Chips",
        "entity": b"caf&eacute; &nbsp; run",
        "less-than": b"pace < 6:00",
        "arrow": b"home <- work",
        "latin-1": "Läufe".encode("latin-1"),
        "windows-1251": "Бег".encode("cp1251"),
        "control": b"a\x0bb\x1f",
        "nul": b"a\0b",
        "form-feed": b"\x0c",
        "surrogate": b"\xed\xa0\xbd\xed\xb8\x80",
        "character-reference": b"&#x0B;&#0;&#xFFFF;",
        "cdata": b"<![CDATA[a & b < c]]>",
        "prefix": b"<x:y>z</x:y>",
        "open-tag": b"<b>bold",
        "gb2312": "晨跑".encode("gb2312"),
    }
    for name, text in names.items():
        yield replace(_case(f"{format_}-{name}-in-the-name", format_, points), data=base.replace(marker.encode(), text))
    text = base.decode()
    encodings = {
        "bom": b"\xef\xbb\xbf" + base,
        "bom-and-newline": b"\xef\xbb\xbf\r\n" + base,
        "newlines-before": b"\n \n" + base,
        "utf-16": text.replace("UTF-8", "UTF-16").encode("utf-16"),
        "utf-16-declared-utf-8": text.encode("utf-16"),
        "utf-16-be-without-bom": text.encode("utf-16-be"),
        "utf-8-declared-utf-16": text.replace("UTF-8", "UTF-16").encode(),
        "gb2312-declared": text.replace("UTF-8", "GB2312").replace(marker, "晨跑").encode("gb2312"),
        "shift-jis-declared": text.replace("UTF-8", "Shift_JIS").replace(marker, "朝ラン").encode("shift_jis"),
        "shift-jis-undeclared": text.replace(marker, "朝ラン").encode("shift_jis"),
        "big5-declared": text.replace("UTF-8", "Big5").replace(marker, "晨跑").encode("big5"),
        "koi8-r-declared": text.replace("UTF-8", "KOI8-R").replace(marker, "Бег").encode("koi8-r"),
        "latin-1-declared": text.replace("UTF-8", "ISO-8859-1").replace(marker, "Läufe").encode("latin-1"),
        "unknown-encoding": text.replace("UTF-8", "X-NO-SUCH").encode(),
        "no-declaration": text.split("\n", 1)[1].encode(),
        "warning-before": b"<br />\n<b>Warning</b>: something in /a.php on line 3<br />\n" + base,
        "junk-after": base + b"\n<!-- served in 3 ms -->\n<script>x()</script>",
        "zeros-after": base + b"\0" * 512,
        "truncated-last-tag": base[:-8],
    }
    for name, data in encodings.items():
        yield replace(_case(f"{format_}-{name}", format_, points), data=data)


def _times(format_: str, points: Sequence[Point]) -> Iterator[Case]:
    """Times that one point, or all, write in another way."""
    forms = {
        "leap-second": (lambda p: "2024-05-04T06:39:60Z", [300]),
        "words": (lambda p: "yesterday", [300]),
        "impossible": (lambda p: "2024-02-31T25:61:00Z", [300]),
        "null": (lambda p: "null", [0, 1, 2]),
        "offset": (lambda p: (p.time + timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M:%S+02:00"), range(POINTS)),
        "short-offset": (lambda p: (p.time + timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M:%S+0200"), range(POINTS)),
        "blank": (lambda p: p.time.strftime("%Y-%m-%d %H:%M:%S"), range(POINTS)),
        "fraction": (lambda p: p.time.strftime("%Y-%m-%dT%H:%M:%S.123456789Z"), range(POINTS)),
        "comma": (lambda p: p.time.strftime("%Y-%m-%dT%H:%M:%S,000Z"), range(POINTS)),
        "lower-case": (lambda p: p.time.strftime("%Y-%m-%dt%H:%M:%Sz"), range(POINTS)),
        "mail": (lambda p: p.time.strftime("%a, %d %b %Y %H:%M:%S GMT"), range(POINTS)),
        "milliseconds": (lambda p: str(round(1000 * p.time.timestamp())), range(POINTS)),
        "offset-and-z": (lambda p: p.time.strftime("%Y-%m-%dT%H:%M:%S.000+0000Z"), range(POINTS)),
        "one-digit": (lambda p: f"2024-5-4T6:{p.time.minute}:{p.time.second}Z", range(POINTS)),
        "am": (lambda p: p.time.strftime("%Y-%m-%d %I:%M:%S\u202f%p"), range(POINTS)),
        "zone-behind-gmt": (lambda p: (p.time + timedelta(hours=2)).strftime("%Y-%m-%dT%TGMT+02:00"), range(POINTS)),
        "z-twice": (lambda p: p.time.strftime("%Y-%m-%dT%TZZ"), range(POINTS)),
        "arabic": (lambda p: p.time.strftime("%Y-%m-%dT%TZ").translate(ARABIC), range(POINTS)),
    }
    for name, (form, places) in forms.items():
        chosen = set(places)
        odd = [replace(p, time_text=form(p)) if i in chosen else p for i, p in enumerate(points)]
        yield _case(f"{format_}-time-{name}", format_, odd, lost=0 if len(chosen) == POINTS else len(chosen))


def _numbers(format_: str, points: Sequence[Point]) -> Iterator[Case]:
    """As a phone writes them in its own language."""
    text = WRITERS[format_](points).decode()
    written = {
        "comma": lambda number: number[0].replace(".", ","),
        "arabic": lambda number: number[0].replace(".", "\u066b").translate(ARABIC),
        "exponent-and-comma": lambda number: f"{float(number[0]):.9E}".replace(".", ","),
    }
    for name, write in written.items():
        data = re.sub(r"(?<=[\">])\d+\.\d+(?=[\"<])(?! )", write, text.partition("<trk")[2] or text)
        head = text.partition("<trk")[0] + "<trk" if "<trk" in text else ""
        yield replace(_case(f"{format_}-numbers-{name}", format_, points), data=(head + data).encode())


def _stray_ends(format_: str, points: Sequence[Point]) -> Iterator[Case]:
    """A tag in the middle that closes all that is open."""
    data = WRITERS[format_](points)
    point, ends = (
        (b"</trkpt>", b"</trkseg></trk>") if format_ == "gpx" else (b"</Trackpoint>", b"</Track></Lap></Activity>")
    )
    for count in (2, 300, 599):
        place = [found.end() for found in re.finditer(point, data)][count - 1]
        case = _case(f"{format_}-stray-ends-behind-point-{count}", format_, points, told=True)
        yield replace(case, data=data[:place] + ends + data[place:])
    place = data.index(point, len(data) // 2) + 5
    case = _case(f"{format_}-broken-end-of-a-point", format_, points, lost=1, told=True)
    yield replace(case, data=data[:place] + b" " + data[place + 1 :])


def _pieces(format_: str, points: Sequence[Point], count: int) -> Case:
    return _case(f"{format_}-in-{count}-pieces", format_, points, options={"tracks": count}, speed=2.8)


def _zip(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo("x")
            info.filename, info.compress_type = name, zipfile.ZIP_DEFLATED  # keeps backslashes
            archive.writestr(info, data)
    return packed.getvalue()


def _tar(files: dict[str, bytes], mode: str) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return packed.getvalue()
