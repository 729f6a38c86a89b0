"""Tables in an export that say which sport each of its files is: Strava's `activities.csv`, Runkeeper's
`cardioActivities.csv`.

Strava writes its headers in the account's language, so columns are also known by what they hold: names of files of the
export, words for sports.
"""

import csv
import io
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import PurePosixPath

from hrmodel.workouts.formats.sport import sport_called
from hrmodel.workouts.formats.sport_words import folded

USUAL_NAMES = ("activities", "cardioactivities")
MAX_LISTS = 5
MAX_BYTES = 32 << 20  # of a list: some 30,000 activities
MAX_ROWS = 100_000
SAMPLE_ROWS = 200
LEAST_SPORTS = 0.3  # of a column's cells, where its header is not known
TYPE_HEADERS = frozenset(
    map(
        folded,
        (
            "Activity Type",
            "type",
            "Aktivitätsart",
            "Type d'activité",
            "Tipo de actividad",
            "Tipo de atividade",
            "Tipo di attività",
            "Tipo attività",
            "Activiteitstype",
            "Soort activiteit",
            "アクティビティタイプ",
            "活动类型",
            "運動類型",
            "활동 유형",
            "Тип тренировки",
            "Тип активности",
            "Aktivitetstyp",
            "Aktivitetstype",
            "Typ aktywności",
        ),
    )
)


def listed_sports(names: Iterable[str], read: Callable[[str], bytes]) -> dict[str, str]:
    """The word for its sport of each file that a list among the files of an export names.

    `read` gives the first `MAX_BYTES` of a file by its name.
    """
    names = list(names)
    known = {_key(name): name for name in names if not name.lower().endswith(".csv")}
    alike = Counter(key.rpartition("/")[2] for key in known)
    known |= {base: name for key, name in known.items() if alike[base := key.rpartition("/")[2]] == 1}
    lists = [name for name in names if name.lower().endswith(".csv")]
    lists.sort(key=lambda name: PurePosixPath(name).stem.lower() not in USUAL_NAMES)
    found: dict[str, str] = {}
    for name in lists[:MAX_LISTS]:
        folder = PurePosixPath(name.replace("\\", "/")).parent
        for file, sport in _rows(read(name), partial(_member, known, folder)):
            found.setdefault(file, sport)
    return found


def _rows(data: bytes, member: Callable[[str], str | None]) -> list[tuple[str, str]]:
    """File and sport of each activity; none when it is no list of activities. `member` knows the export's files."""
    # spreadsheets write UTF-16
    text = data.decode("utf-16" if data.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else "utf-8-sig", "replace")
    head = text.lstrip("\r\n").partition("\n")[0]
    delimiter = max(",;\t", key=head.count)
    rows: list[list[str]] = []
    with suppress(csv.Error):  # an endless field: the rows before it are good
        found = csv.reader(io.StringIO(text.lstrip("\r\n"), newline=""), delimiter=delimiter)
        rows.extend(row for row in islice(found, MAX_ROWS) if row)
    if len(rows) < 2:
        return []
    header, sample = rows[0], rows[1 : SAMPLE_ROWS + 1]
    columns = range(len(header))
    files = [_share(sample, i, lambda cell: member(cell) is not None) for i in columns]
    sports = [2.0 if folded(header[i]) in TYPE_HEADERS else _likeness(sample, i) for i in columns]
    if not max(files) or max(sports) < LEAST_SPORTS:
        return []
    file, sport = files.index(max(files)), sports.index(max(sports))
    wide = (row for row in rows[1:] if len(row) > max(file, sport))
    return [(name, row[sport]) for row in wide if (name := member(row[file])) is not None]


def _share(rows: Sequence[Sequence[str]], column: int, holds: Callable[[str], bool]) -> float:
    return sum(len(row) > column and holds(row[column]) for row in rows) / len(rows)


def _likeness(rows: Sequence[Sequence[str]], column: int) -> float:
    """How much a column looks like one of sports: by the share of words for one, and because they come again."""
    share = _share(rows, column, _is_sport)
    cells = {row[column] for row in rows if len(row) > column}
    return share * (1.0 - 0.5 * len(cells) / len(rows))


def _is_sport(text: str) -> bool:
    return len(text.split()) <= 3 and not text.strip().isdigit() and sport_called(text) is not None


def _member(known: dict[str, str], folder: PurePosixPath, text: str) -> str | None:
    """The file of an export that a list in this folder calls so, wherever it has been moved to, if no other has its
    name."""
    place = _key(str(folder / text.replace("\\", "/")))
    return known.get(place, known.get(place.rpartition("/")[2]))


def _key(name: str) -> str:
    """A name as the list and the archive have it alike: unpacked or not, with either slash."""
    return str(PurePosixPath(name.replace("\\", "/"))).lower().removesuffix(".gz")
