"""The picture of an evaluation: three test workouts as measured and predicted, reliability, and errors by zone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from hrmodel.personal.zones import ZONES
from hrmodel.workouts.workout import Array

Report = Mapping[str, Any]

# Colours of Okabe and Ito, which the colour-blind tell apart
INK, BLIND, FORECAST, AHEAD, EASY, LINES = "#1a202c", "#0072B2", "#D55E00", "#009E73", "#a0aec0", "#e2e8f0"
PROTOCOLS = {"P1": ("blind", BLIND, "o"), "P2-180": ("after 180 s", FORECAST, "s"), "P3-30": ("30 s ahead", AHEAD, "^")}
# every place is fixed, in inches: letting the library look for them draws everything three times
WIDTH, HEAD, ROW, PANEL = 10.0, 0.7, 2.3, 3.6
LEFT, RIGHT = 0.65, 9.85


def draw_evaluation(report: Report, target: Path | BinaryIO, title: str = "Evaluation") -> None:
    """Write a PNG, 1000 pixels wide, of a report of `evaluate` or `evaluate_people`.

    Above, its `examples`, if it has any: heart rate with the blind band. Below, measured against nominal coverage, and
    mean absolute error by heart-rate zone. Parts that the report lacks are left out. Uses no pyplot: any thread may
    call it.
    """
    examples = report.get("examples", [])
    height = HEAD + ROW * len(examples) + PANEL
    figure = Figure(figsize=(WIDTH, height))
    FigureCanvasAgg(figure)
    baseline = strongest_baseline(report)
    figure.text(LEFT / WIDTH, 1 - 0.34 / height, _headline(title, report), color=INK, fontsize=12, fontweight="bold")
    rows: list[Axes] = []
    for place, example in enumerate(reversed(examples)):  # from below
        rows.insert(0, _axes(figure, PANEL + ROW * place + 0.5, 1.5, sharey=rows[-1] if rows else None))
        _draw_example(rows[0], example, baseline)
    panels = [_axes(figure, 0.9, 2.35, right=5.0), _axes(figure, 0.9, 2.35, left=5.65)]
    _draw_reliability(panels[0], report["protocols"])
    _draw_zones(panels[1], report, baseline)
    for axes in (*rows, *panels):
        axes.grid(color=LINES, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    if rows:
        rows[-1].set_xlabel("time (minutes)")
        where: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (LEFT / WIDTH, 1 - 0.56 / height)}
        figure.legend(*rows[0].get_legend_handles_labels(), frameon=False, ncols=4, borderpad=0, **where)
    figure.savefig(target, format="png", dpi=100)


def _axes(
    figure: Figure, bottom: float, height: float, left: float = LEFT, right: float = RIGHT, sharey: Axes | None = None
) -> Axes:
    """A place in inches."""
    whole = figure.get_figheight()
    return figure.add_axes((left / WIDTH, bottom / whole, (right - left) / WIDTH, height / whole), sharey=sharey)


def strongest_baseline(report: Report) -> str | None:
    """The name of the baseline with the lowest blind mean absolute error; None without any."""
    errors = {name: table.get("P1", {}).get("mae") for name, table in report["baselines"].items()}
    measured = {name: error for name, error in errors.items() if error is not None}
    return min(measured, key=measured.__getitem__) if measured else None


def _headline(title: str, report: Report) -> str:
    score = "no score" if report["score"] is None else f"score {report['score']:.2f} bpm"
    return f"{title}: {score} over {report['test_workouts']} test workouts"


def _draw_example(axes: Axes, example: Report, baseline: str | None) -> None:
    minutes, gaps = _with_gaps(np.array(example["minutes"], dtype=np.float64))

    def values(name: str) -> Array:
        return np.insert(np.array(example[name], dtype=np.float64), gaps, np.nan)

    lower, upper = values("lower"), values("upper")
    axes.fill_between(minutes, lower, upper, color=BLIND, alpha=0.15, linewidth=0, label="90 % band, blind")
    axes.plot(minutes, values("measured"), color=INK, linewidth=1.2, label="measured")
    axes.plot(minutes, values("predicted"), color=BLIND, linewidth=1.8, label="predicted blind")
    axes.plot(minutes, values("after_180_s"), color=FORECAST, linewidth=1.5, linestyle=(0, (5, 1.5)),
              label="predicted after 180 s of heart rate")  # fmt: skip
    axes.set_title(_example_title(example, baseline), loc="left", color=INK, fontsize=10)
    axes.set_ylabel("heart rate (bpm)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
    axes.margins(x=0)


def _example_title(example: Report, baseline: str | None) -> str:
    parts = []
    for protocol in ("P1", "P2-180"):
        if example[protocol] is not None:
            baseline_error = example["baselines"][baseline][protocol] if baseline else None
            beside = "" if baseline_error is None else f" ({_plain(baseline)}: {baseline_error:.1f})"
            parts.append(f"{PROTOCOLS[protocol][0]} {example[protocol]:.1f} bpm{beside}")
    return f"{example['which'].capitalize()} workout, mean absolute error: {', '.join(parts)}"


def _with_gaps(minutes: Array) -> tuple[Array, NDArray[np.int64]]:
    """Times with a NaN wherever the recording paused, and the places of these NaNs: no line crosses a pause."""
    steps = np.diff(minutes)
    usual = np.median(steps) if len(steps) else 0.0
    gaps = np.flatnonzero(steps > 1.5 * usual) + 1
    return np.insert(minutes, gaps, np.nan), gaps.astype(np.int64)


def _draw_reliability(axes: Axes, protocols: Report) -> None:
    axes.plot([45, 100], [45, 100], color=INK, linewidth=1, linestyle=":", label="ideal")
    for name, (label, color, marker) in PROTOCOLS.items():
        bands = {float(c): row for c, row in protocols.get(name, {}).get("reliability", {}).items()}
        points = [(100 * c, 100 * row["measured"]) for c, row in bands.items() if row["measured"] is not None]
        if points:
            width = bands[0.9]["half_width"]
            axes.plot(*zip(*points, strict=True), color=color, marker=marker, markersize=5, linewidth=1.5,
                      label=f"{label} (90 %: ± {width:.1f} bpm)")  # fmt: skip
    axes.set(xlabel="nominal coverage of the band (%)", ylabel="measured coverage (%)", xlim=(45, 100), ylim=(0, 102))
    axes.set_title("Do the bands hold what they promise?", loc="left", color=INK, fontsize=10)
    axes.legend(frameon=False, fontsize=9, loc="lower right")


def _draw_zones(axes: Axes, report: Report, baseline: str | None) -> None:
    means = {name: report["protocols"].get(name, {}).get("mean", {}) for name in ("P1", "P2-180")}
    bars = [(PROTOCOLS[name][0], PROTOCOLS[name][1], table) for name, table in means.items()]
    if baseline:
        bars.append((f"{_plain(baseline)}, blind", EASY, report["baselines"][baseline]["P1"]))
    zones = range(1, len(ZONES) + 1)
    for place, (label, color, table) in enumerate(bars):
        heights = np.array([table.get(f"mae_zone_{zone}") for zone in zones], dtype=np.float64)
        offset = (place - (len(bars) - 1) / 2) * 0.27
        axes.bar(np.array(zones) + offset, heights, width=0.25, color=color, label=label)
    axes.set_xticks(zones, labels=[_zone_label(zone, means["P1"]) for zone in zones], fontsize=8)
    axes.set(ylabel="mean absolute error (bpm)", xlabel="heart rate in % of the highest one", xlim=(0.5, 5.5))
    axes.set_title("Error by heart-rate zone", loc="left", color=INK, fontsize=10)
    axes.margins(y=0.15)  # room for the legend above the bars
    axes.legend(frameon=False, fontsize=9, ncols=len(bars), loc="upper center")


def _zone_label(zone: int, means: Mapping[str, float | None]) -> str:
    low, high = ZONES[zone - 1]
    share = means.get(f"share_zone_{zone}")
    limits = f"{100 * low:.0f}–{100 * high:.0f} %" if np.isfinite(high) else f"over {100 * low:.0f} %"
    if share is None:
        return f"zone {zone}\n{limits}"
    return f"zone {zone}\n{limits}\n{'< 1' if 0 < share < 0.01 else f'{100 * share:.0f}'} % of steps"


def _plain(name: str | None) -> str:
    return (name or "").replace("_", " ")
