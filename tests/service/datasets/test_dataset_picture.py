"""The picture of an import, of every shape that an upload can have; a slip of its layout would warn or raise."""

import re
import struct
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from service.datasets.picture import draw_import
from service.datasets.picture_text import MAX_LINES, WIDTH, fitted, side_lines
from service.datasets.schemas import DatasetRead, FileRead, WorkoutCounts
from service.datasets.summary import SENTENCES, summarise
from service.registry.datasets import Outline
from service.registry.tables import Dataset
from service.web.fields import ErrorRead
from tests.import_rows import WITHOUT_CLOCK, a_file, a_reason, a_workout, dropped, repaired

ROOT = Path(__file__).resolve().parents[3]
NASTY = "$x^2 {\\frac} \x1b[31m\n日本 🏃 " + "W" * 600
FAULTS = ("not_running", "sparse_heart_rate", "no_heart_rate", "too_short", "duplicate")


def a_dataset(**values):
    given = {"id": uuid4(), "name": "spring", "kind": "personal", "subject": "me", "state": "ready", "job_id": None}
    given |= {"workouts": WorkoutCounts(train=0, val=0, test=0, dropped=0), "min_hr_per_minute": 6.0, "upload_size": 1}
    given |= {"digest": None, "level": None, "error": None, "created_at": datetime.now(UTC), "ready_at": None}
    return DatasetRead(**{**given, **values})


def outlines(found):
    return [Outline(*(getattr(one, name) for name in Outline._fields)) for one in found]


def mixed(number, **values):
    """Of every ten workouts one is repaired and one dropped; the last ones are held out."""
    found = []
    for i in range(number):
        split = "train" if i < 0.7 * number else "val" if i < 0.85 * number else "test"
        make = {3: repaired, 7: dropped}.get(i % 10)
        code = "heart_rate_impossible" if i % 10 == 3 else FAULTS[i // 10 % len(FAULTS)]
        found.append(make(i, code, **values) if make else a_workout(i, split=split, **values))
    return outlines(found)


def nasty():
    """Other sports and reasons in words that no layout expects."""
    odd = [dropped(n, f"odd {n}", reasons=[a_reason(f"odd {n}", message=NASTY)]) for n in range(20)]
    return outlines([*odd, *(dropped(20 + n, "not_running", sport=f"{n}{NASTY[:40]}") for n in range(20))])


def short(rows, files=(), minimum=6.0, unlisted=0):
    problems = sum(file.problem is not None for file in files)
    counted = Dataset(
        file_count=len(files), problem_count=problems, unlisted_workouts=unlisted, min_hr_per_minute=minimum
    )
    return summarise(rows, counted)


def draw(dataset, rows, files=()):
    shown = [FileRead.model_validate(file) for file in files if file.problem]
    return draw_import(dataset, short(rows, files, dataset.min_hr_per_minute), rows, shown)


def words(dataset, rows, files=()):
    shown = [FileRead.model_validate(file) for file in files if file.problem]
    return side_lines(dataset, short(rows, files, dataset.min_hr_per_minute), shown)


FAILED = a_dataset(state="failed", error=ErrorRead(code="unreadable_upload", message=NASTY))
SHAPES = {
    "one": (a_dataset(name=""), mixed(1), [a_file()]),
    "forty": (a_dataset(), mixed(40), [a_file()]),
    "five thousand": (a_dataset(), mixed(5000), [a_file(f"{n}.gpx", NASTY) for n in range(300)]),
    "all dropped": (FAILED, outlines(dropped(n, "no_heart_rate", heart_rate_per_minute=0.0) for n in range(9)), []),
    "failed with nothing": (FAILED, [], [a_file(NASTY, NASTY)]),
    "without a clock": (a_dataset(kind="population", subject=None), mixed(30, first=WITHOUT_CLOCK), []),
    "without starts": (a_dataset(), mixed(30, started_at=None), []),
    "all at once": (a_dataset(), mixed(5, started_at=a_workout().started_at), []),
    "from before densities": (a_dataset(), mixed(30, heart_rate_per_minute=0.0), []),
    "no minimum, days long": (a_dataset(min_hr_per_minute=0.0), mixed(12, duration_s=5e5), []),
    "empty workouts": (a_dataset(), mixed(12, duration_s=0.0), []),
    "nasty words": (a_dataset(name=NASTY[:20], subject="$"), nasty(), [a_file(NASTY, NASTY)]),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_an_upload_is_drawn_at_the_same_size(shape):
    picture = draw(*SHAPES[shape])
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", picture[16:24]) == (1300, 840)
    assert len(picture) > 20_000


@pytest.mark.parametrize("shape", SHAPES)
def test_the_words_beside_it_fit_their_place(shape):
    lines = words(*SHAPES[shape])
    assert len(lines) <= MAX_LINES
    assert max(len(line.text) for line in lines) <= WIDTH


def test_the_words_say_what_happened_most_frequent_first():
    found = [dropped(n, "too_short") for n in range(3)] + [dropped(5, "not_running", sport="cycling")]
    found += [repaired(6, "bad_time"), a_workout(7), a_workout(8, split="test")]
    said = [line.text for line in words(a_dataset(), outlines(found), [a_file(), a_file("b.fit", "it ends too early")])]
    for line in (
        "2 kept as recorded",
        "1 repaired: some values left out",
        "4 dropped: not used",
        "1: another sport than running (cycling 1)",
        "train 2: the base model adapts to these",
        "2 files read, 1 problem",
        "b.fit: it ends too early",
    ):
        assert line in said, line
    assert said.index("3: under 10 minutes of recorded time") < said.index("1: another sport than running (cycling 1)")


def test_text_is_one_line_of_characters_that_the_font_has():
    assert fitted("a\nb\x1b 日 é $", 80) == "a b? ? é $"
    assert fitted("x" * 20, 10) == "x" * 9 + "…"


def test_a_dropped_workout_counts_once_and_what_was_repaired_in_it_does_not():
    reasons = [a_reason("sparse_heart_rate", 7), a_reason("bad_time", 3)]
    rows = outlines([dropped(0, "", reasons=reasons), dropped(1, "sparse_heart_rate", reasons=reasons[:1])])
    (reason,) = short(rows, minimum=9.0).reasons
    assert (reason.verdict, reason.code, reason.workouts, reason.samples) == ("dropped", "sparse_heart_rate", 2, 14)
    assert reason.sentence == "fewer than 9 heart-rate readings a minute"


def test_a_reason_without_words_of_ours_says_its_own():
    (reason,) = short(outlines([repaired(0, "brand_new")])).reasons
    assert reason.sentence == "this is brand_new"


def test_every_reason_that_the_code_gives_has_words():
    reasons = re.compile(r"""(?:Reason|Fault)\(\s*code="(\w+)"|"code": "(\w+)\"""")
    files = [*(ROOT / "hrmodel" / "workouts").rglob("*.py"), *(ROOT / "worker").glob("*.py")]
    given = {one or other for file in files for one, other in reasons.findall(file.read_text())}
    assert {"too_short", "cadence_lock", "duplicate"} <= given
    assert given - SENTENCES.keys() == set()


def test_a_summary_of_nothing_counts_nothing():
    summary = short([])
    assert summary.verdicts == {"kept": 0, "repaired": 0, "dropped": 0}
    assert (summary.workouts, summary.reasons, summary.splits["train"], summary.first_started_at) == (0, [], 0, None)


def test_dropped_workouts_that_are_not_listed_are_counted():
    summary = short(outlines([a_workout(0), dropped(1, "too_short")]), unlisted=52_000)
    assert (summary.workouts, summary.verdicts["dropped"]) == (52_002, 52_001)
    assert [(reason.code, reason.workouts) for reason in summary.reasons] == [("too_short", 1), ("not_listed", 52_000)]
