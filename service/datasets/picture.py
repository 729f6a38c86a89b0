"""The picture of an import: one page with the verdict on each workout, and the reasons."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator
from numpy.typing import NDArray

from service.datasets.picture_text import INK, MUTED, SPLITS, VERDICTS, side_lines, write_head, write_lines
from service.datasets.schemas import DatasetRead, FileRead, ReportSummary
from service.registry.datasets import Outline

Array = NDArray[np.float64]

INCHES, DPI = (13.0, 8.4), 100
LINES = "#e2e8f0"
FIRST_CLOCK = datetime(1990, 1, 2, tzinfo=UTC)  # earlier dates come from a clock that was never set
MAX_MINUTES = 360.0  # a watch left running must not flatten the other workouts
MAX_PER_MINUTE = 120.0
DATES: dict[str, Any] = {
    "formats": ["%Y", "%b", "%-d %b", "%H:%M", "%H:%M", "%S"],
    "zero_formats": ["", "%Y", "%-d %b", "%-d %b", "%H:%M", "%H:%M"],
    "show_offset": False,
}
MIN_DAYS, MIN_PLACES = 8.0, 6.0  # of the time axis


@dataclass(frozen=True, kw_only=True)
class Points:
    """The workouts that are drawn: `x` days since the epoch when `dated`, else places in the order."""

    workouts: Sequence[Outline]
    x: Array
    dated: bool
    undated: int  # left out of a dated axis

    @property
    def starts(self) -> list[datetime]:
        """When the workouts of a dated axis began."""
        return [outline.started_at for outline in self.workouts if self.dated and outline.started_at is not None]


def draw_import(
    dataset: DatasetRead, summary: ReportSummary, outlines: Sequence[Outline], files: Sequence[FileRead]
) -> bytes:
    """A PNG of 1300 by 840 pixels: length, heart-rate density and split of every workout, and the reasons in words.

    Uses no pyplot: any thread may call it.
    """
    figure = Figure(figsize=INCHES)
    FigureCanvasAgg(figure)
    places = {"left": 0.075, "right": 0.985, "top": 0.875, "bottom": 0.075, "wspace": 0.05, "hspace": 0.16}
    grid = figure.add_gridspec(3, 2, width_ratios=[2.35, 1], height_ratios=[3, 2.4, 1.2], **places)
    length = figure.add_subplot(grid[0, 0])
    density, split = (figure.add_subplot(grid[row, 0], sharex=length) for row in (1, 2))
    points = _points(outlines)
    _draw_lengths(length, points)
    _draw_densities(density, points, dataset.min_hr_per_minute)
    _draw_splits(split, points)
    _scale_x(split, points)
    for axes in (length, density, split):
        axes.grid(color=LINES, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(axis="x", colors=MUTED, labelbottom=axes is split)
    if not outlines:
        length.text(0.5, 0.5, "no workout was found", transform=length.transAxes, ha="center", color=MUTED, fontsize=14)
    side = figure.add_subplot(grid[:, 1])
    side.axis("off")
    write_lines(side, side_lines(dataset, summary, files))
    write_head(figure, dataset, summary, points.starts)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=DPI)
    return picture.getvalue()


def _points(outlines: Sequence[Outline]) -> Points:
    """By date when most workouts have one, else by their place in the order."""
    dated = [outline for outline in outlines if outline.started_at is not None and outline.started_at >= FIRST_CLOCK]
    if 2 * len(dated) < len(outlines) or not outlines:
        return Points(workouts=outlines, x=np.arange(1.0, len(outlines) + 1), dated=False, undated=0)
    x = np.asarray(date2num([outline.started_at for outline in dated]), dtype=np.float64)
    return Points(workouts=dated, x=x, dated=True, undated=len(outlines) - len(dated))


def _draw_lengths(axes: Axes, points: Points) -> None:
    minutes = np.array([outline.duration_s / 60.0 for outline in points.workouts])
    _scatter(axes, points, np.minimum(minutes, MAX_MINUTES), np.ones(len(minutes), dtype=bool))
    longer = int((minutes > MAX_MINUTES).sum())
    axes.set_ylabel("length (minutes)" + (f"\n{longer} longer than 6 h" if longer else ""), color=INK)
    axes.set_ylim(0, 1.08 * min(max(minutes, default=60.0), MAX_MINUTES) or 1.0)
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10], integer=True))


def _draw_densities(axes: Axes, points: Points, minimum: float) -> None:
    density = np.array([outline.heart_rate_per_minute for outline in points.workouts])
    # a workout that was kept has heart rate: 0 means that it was imported before densities were counted
    counted = np.array([d > 0 or w.verdict == "dropped" for d, w in zip(density, points.workouts, strict=True)], bool)
    _scatter(axes, points, np.minimum(density, MAX_PER_MINUTE), counted)
    axes.set_yscale("symlog", linthresh=1.0, linscale=0.4)
    axes.set_ylim(-0.2, MAX_PER_MINUTE * 1.15)
    axes.set_yticks([0, 1, 2, 5, 10, 20, 60, 120])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.minorticks_off()
    axes.set_ylabel("heart-rate readings\na minute", color=INK)
    if minimum > 0:
        axes.axhline(minimum, color=INK, linewidth=1.2, linestyle=(0, (5, 2)))
        label = f"dashed: below {minimum:g} a minute a workout is dropped"
        axes.set_title(label, loc="right", fontsize=9.5, color=MUTED, pad=3)
    if not counted.all():
        axes.text(0.01, 0.06, f"not counted in {int((~counted).sum())}", transform=axes.transAxes, color=MUTED)


def _draw_splits(axes: Axes, points: Points) -> None:
    """A row a split, a stroke a workout."""
    width = float(np.clip(700.0 / max(len(points.x), 1), 0.7, 5.0))
    axes.set_yticks([-row for row in range(len(SPLITS))], SPLITS.keys())
    for row, (split, color) in enumerate(SPLITS.items()):
        in_split = np.array([outline.split == split for outline in points.workouts], dtype=bool)
        axes.vlines(points.x[in_split], -row - 0.375, -row + 0.375, linewidths=width, colors=color)
        axes.get_yticklabels()[row].set(color=color, fontweight="bold")
    axes.set_ylim(-2.6, 0.6)
    if all(outline.split is None for outline in points.workouts):
        axes.text(0.5, 0.5, "none is used", transform=axes.transAxes, ha="center", va="center", color=MUTED)


def _scatter(axes: Axes, points: Points, y: Array, shown: NDArray[np.bool_]) -> None:
    """One marker and colour a verdict, smaller and paler the more there are."""
    size = float(np.clip(12_000 / max(len(points.x), 1), 9, 60))
    alpha = 0.9 if len(points.x) <= 500 else 0.45
    for name, look in VERDICTS.items():
        drawn = shown & np.array([outline.verdict == name for outline in points.workouts], dtype=bool)
        axes.scatter(
            points.x[drawn], y[drawn], s=size, c=look.color, marker=look.marker, alpha=alpha, linewidths=look.linewidth
        )


def _scale_x(axes: Axes, points: Points) -> None:
    """Dates, or places in the order; never so narrow that the axis shows hours."""
    first, last = (float(points.x.min()), float(points.x.max())) if len(points.x) else (1.0, 1.0)
    span = max(last - first, MIN_DAYS if points.dated else MIN_PLACES)
    middle = (first + last) / 2.0
    axes.set_xlim(middle - 0.52 * span, middle + 0.52 * span)
    if points.dated:
        locator = AutoDateLocator(minticks=3, maxticks=9)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, **DATES))
        label = "date" + (f" ({points.undated} without a date are left out)" if points.undated else "")
    else:
        axes.xaxis.set_major_locator(MaxNLocator(9, integer=True) if len(points.x) else NullLocator())
        label = "workouts in their order, as they have no dates" if len(points.x) else ""
    axes.set_xlabel(label, color=INK)
