"""Output of the demo: a table of errors, and a picture of a measured and predicted workout."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.table import Table

Array = NDArray[np.float64]
Report = Mapping[str, Any]
MEASURED, PREDICTED, GRID = "#1a202c", "#c05621", "#e2e8f0"

PROTOCOLS = {
    "P1": "blind",
    "P2-60": "after 60 s",
    "P2-180": "after 180 s",
    "P2-600": "after 600 s",
    "P3-30": "30 s ahead",
}


def error_table(reports: Mapping[str, Report]) -> Table:
    """Mean absolute error by protocol: one row per model, then one per baseline."""
    first = next(iter(reports.values()))
    table = Table(title=f"Mean absolute error in bpm, {first['test_workouts']} test workouts", title_justify="left")
    table.add_column("")
    for protocol, meaning in PROTOCOLS.items():
        table.add_column(f"{protocol}\n{meaning}", justify="right")
    for name, report in reports.items():
        table.add_row(name, *(_number(report["protocols"].get(protocol, {}).get("mean", {})) for protocol in PROTOCOLS))
    table.add_section()
    for name, errors in first["baselines"].items():
        table.add_row(name.replace("_", " "), *(_number(errors.get(protocol, {})) for protocol in PROTOCOLS))
    return table


def _number(means: Mapping[str, float | None]) -> str:
    error = means.get("mae")
    return "-" if error is None else f"{error:.2f}"


def name_of(version: str, versions: Mapping[str, str]) -> str:
    """What we call a model version."""
    return next((name for name, known in versions.items() if known == version), version)


def error_of(answer: Mapping[str, Any], t: Array, measured: Array) -> float:
    """Mean absolute error in bpm over the samples whose heart rate was not given. t: (N,) s; measured: (N,) bpm."""
    unknown = t >= (answer["observed_until"] or 0.0)
    return float(np.nanmean(np.abs(np.array(answer["heart_rate"]) - measured)[unknown]))


def draw_prediction(t: Array, measured: Array, answers: Mapping[str, Mapping[str, Any]], target: Path) -> None:
    """Write a PNG. t: (N,) s; measured: (N,) bpm, NaN where missing; answers of POST /predict by their title."""
    figure = Figure(figsize=(9, 3.4 * len(answers)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(answers), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for axes, (title, answer) in zip(panels, answers.items(), strict=True):
        _draw(axes, t / 60.0, measured, answer)
        off = f": off by {error_of(answer, t, measured):.1f} bpm" if np.isfinite(measured).any() else ""
        axes.set_title(f"{title}{off}", loc="left", fontweight="bold")
    panels[-1].set_xlabel("minutes")
    figure.legend(*panels[-1].get_legend_handles_labels(), frameon=False, ncols=4, loc="outside lower center")
    figure.savefig(target, format="png", dpi=120)


def _draw(axes: Axes, minutes: Array, measured: Array, answer: Mapping[str, Any]) -> None:
    observed = (answer["observed_until"] or 0.0) / 60.0
    if observed:
        axes.axvspan(0, observed, color=GRID, label="heart rate given")
    axes.fill_between(
        minutes, answer["lower"], answer["upper"], color=PREDICTED, alpha=0.18, linewidth=0, label="90 % band"
    )
    axes.plot(minutes, measured, color=MEASURED, linewidth=1.2, label="measured")
    axes.plot(minutes, answer["heart_rate"], color=PREDICTED, linewidth=1.8, label="predicted")
    axes.set_ylabel("heart rate (bpm)")
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.margins(x=0)
    axes.spines[["top", "right"]].set_visible(False)
