"""The words beside the picture of an import, cut to fit."""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont
from matplotlib.ft2font import FT2Font

from service.datasets.schemas import DatasetRead, FileRead, ReportSummary
from service.registry.tables import DatasetKind, DatasetState

INK, MUTED, ALARM = "#1a202c", "#4a5568", "#9b2c2c"
WIDTH, MAX_LINES = 49, 44  # characters in a line, lines beside the picture
MAX_REASONS, MAX_SPORTS, MAX_PROBLEMS = 6, 5, 4


@dataclass(frozen=True, kw_only=True)
class Look:
    """How the workouts of one verdict are drawn, and what the verdict means."""

    color: str
    marker: str
    linewidth: float
    words: str


# Colours of Okabe and Ito, which the colour-blind tell apart; the markers differ too
VERDICTS = {
    "kept": Look(color="#009E73", marker="o", linewidth=0, words="kept as recorded"),
    "repaired": Look(color="#E69F00", marker="^", linewidth=0, words="repaired: some values left out"),
    "dropped": Look(color="#a34a4a", marker="x", linewidth=1.5, words="dropped: not used"),
}
SPLITS = {"train": "#0072B2", "val": "#56789a", "test": "#b0568f"}


@dataclass(frozen=True, kw_only=True)
class TextLine:
    """One line of the words; `marker` is a verdict's, drawn before it."""

    text: str
    color: str = INK
    bold: bool = False
    marker: Look | None = None
    indent: int = 0


def write_head(figure: Figure, dataset: DatasetRead, summary: ReportSummary, starts: Sequence[datetime]) -> None:
    """The subject, and below it the number of usable workouts, or why the import failed."""
    lines: tuple[tuple[float, str, dict[str, Any]], ...] = (
        (0.955, fitted(_headline(dataset), 80), {"fontsize": 17, "fontweight": "bold", "color": INK}),
        (0.912, fitted(_subtitle(dataset, summary, starts), 140), {"fontsize": 11.5, "color": _mood(dataset)}),
    )
    for y, text, look in lines:
        figure.text(0.075, y, text, va="center", parse_math=False, **look)


def _mood(dataset: DatasetRead) -> str:
    return ALARM if dataset.state == DatasetState.FAILED else MUTED


def _headline(dataset: DatasetRead) -> str:
    person = "many people" if dataset.kind == DatasetKind.POPULATION else dataset.subject or ""
    return f"{dataset.name} · {person}" if dataset.name else f"Import of {person}"


def _subtitle(dataset: DatasetRead, summary: ReportSummary, starts: Sequence[datetime]) -> str:
    if dataset.state == DatasetState.FAILED:
        return f"The import failed: {dataset.error.message}" if dataset.error else "The import failed."
    usable = summary.workouts - summary.verdicts["dropped"]
    said = f"{usable:,} of {count(summary.workouts, 'workout')} can be used"
    if not starts:
        return said
    first, last = _day(min(starts)), _day(max(starts))
    return f"{said} · {first}" if first == last else f"{said} · {first} to {last}"


def side_lines(dataset: DatasetRead, summary: ReportSummary, files: Sequence[FileRead]) -> list[TextLine]:
    """Counts, reasons, other sports, the split and the files, in lines that fit."""
    lines = [*_verdict_lines(summary), *_split_lines(dataset, summary), *_file_lines(summary, files)]
    return lines if len(lines) <= MAX_LINES else [*lines[: MAX_LINES - 1], TextLine(text="...", color=MUTED)]


def write_lines(axes: Axes, lines: Sequence[TextLine]) -> None:
    """Write them from the top of an empty panel."""
    for row, line in enumerate(lines):
        x, y = 0.04 + 0.035 * line.indent, 1.0 - (row + 0.5) / MAX_LINES
        if line.marker is not None:
            look = line.marker
            axes.scatter([0.02], [y], s=70, c=look.color, marker=look.marker, linewidths=look.linewidth)
            x = 0.06
        weight = "bold" if line.bold else "normal"
        axes.text(x, y, line.text, color=line.color, fontsize=9.5, fontweight=weight, va="center", parse_math=False)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)


def fitted(text: str, width: int) -> str:
    """One line of at most so many characters that the font has."""
    shown = "".join(c if ord(c) in _drawable() else "?" for c in " ".join(text.split()))
    return shown if len(shown) <= width else shown[: width - 1] + "…"


def count(number: int, thing: str) -> str:
    """`1 workout`, `2,000 workouts`."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def _verdict_lines(summary: ReportSummary) -> Iterator[TextLine]:
    for verdict, look in VERDICTS.items():
        yield TextLine(text=f"{summary.verdicts[verdict]:,} {look.words}", bold=True, marker=look)
        reasons = [reason for reason in summary.reasons if reason.verdict == verdict]
        for reason in reasons[:MAX_REASONS]:
            sports = f" ({_sports(summary)})" if reason.code == "not_running" else ""
            yield from _wrapped(f"{reason.workouts:,}: {reason.sentence}{sports}", indent=1)
        if len(reasons) > MAX_REASONS:
            yield TextLine(text=f"and {len(reasons) - MAX_REASONS} other reasons", color=MUTED, indent=1)
        yield TextLine(text="")


def _sports(summary: ReportSummary) -> str:
    named = [f"{fitted(sport, 24)} {number:,}" for sport, number in summary.other_sports.items()]
    more = [f"{len(named) - MAX_SPORTS} more"] if len(named) > MAX_SPORTS else []
    return ", ".join(named[:MAX_SPORTS] + more)


def _split_lines(dataset: DatasetRead, summary: ReportSummary) -> Iterator[TextLine]:
    if dataset.state != DatasetState.READY:
        return
    yield TextLine(text="What the workouts are for", bold=True)
    own_model = summary.splits["val"] or dataset.kind == DatasetKind.POPULATION
    meanings = {
        "train": "the model learns from these" if own_model else "the base model adapts to these",
        "val": "these say when it has learned enough",
        "test": "only to measure how good it is",
    }
    for split, meaning in meanings.items():
        if summary.splits[split]:
            yield from _wrapped(f"{split} {summary.splits[split]:,}: {meaning}", indent=1, color=SPLITS[split])
    if not own_model:
        yield from _wrapped("A model of your own needs 8 usable workouts.", indent=1)
    yield TextLine(text="")


def _file_lines(summary: ReportSummary, files: Sequence[FileRead]) -> Iterator[TextLine]:
    wrong = summary.files_with_problems
    said = f", {count(wrong, 'problem')}" if wrong else ""
    yield TextLine(text=f"{count(summary.files, 'file')} read{said}", bold=True)
    for file in files[:MAX_PROBLEMS]:
        yield from _wrapped(f"{fitted(_tail(file.name), 40)}: {file.problem}", indent=1)
    if wrong > MAX_PROBLEMS:
        yield TextLine(text=f"and {wrong - MAX_PROBLEMS:,} more", color=MUTED, indent=1)


def _wrapped(text: str, *, indent: int = 0, color: str = INK, rows: int = 3) -> Iterator[TextLine]:
    width = WIDTH - 2 * indent
    for row in textwrap.wrap(fitted(text, rows * width), width, max_lines=rows, placeholder=" …"):
        yield TextLine(text=row, indent=indent, color=color)


def _tail(name: str) -> str:
    """The end of a long name says more than its folders."""
    return name if len(name) <= 40 else "…" + name[-39:]


def _day(instant: datetime) -> str:
    return f"{instant.day} {instant:%B %Y}"


@lru_cache(maxsize=1)
def _drawable() -> frozenset[int]:
    """The characters of the font that matplotlib draws with."""
    return frozenset(FT2Font(findfont(FontProperties())).get_charmap())
