"""The picture of a training: losses and learning rate per epoch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

TRAIN, VAL, RATE, INK = "#2b6cb0", "#c05621", "#4a5568", "#1a202c"


def draw_curves(
    history: Sequence[Mapping[str, float | int | None]], target: Path | BinaryIO, title: str = "Training"
) -> None:
    """Write a PNG: training and validation loss above, learning rate below, the best epoch marked.

    `history` is that of `fit`, one entry per epoch; epochs without a validation loss leave its curve out. Uses no
    pyplot, so any thread may call it.
    """
    figure = Figure(figsize=(8, 6))  # with places that are fixed: looking for them takes as long as drawing
    FigureCanvasAgg(figure)
    places = {"left": 0.11, "right": 0.98, "top": 0.94, "bottom": 0.09, "hspace": 0.08}
    losses, rates = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1], gridspec_kw=places)
    _draw_losses(losses, history)
    if history:
        _draw_rates(rates, history)
    losses.set_title(title, loc="left", color=INK, fontweight="bold")
    for axes in (losses, rates):
        axes.grid(color="#e2e8f0", linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(target, format="png", dpi=120)


def _draw_losses(axes: Axes, history: Sequence[Mapping[str, float | int | None]]) -> None:
    marker = "o" if len(history) < 40 else None
    axes.set_ylabel("loss (mean squared error, scaled)")
    for name, label, color in (("train_loss", "training", TRAIN), ("val_loss", "validation", VAL)):
        points = [(entry["epoch"], entry[name]) for entry in history if entry.get(name) is not None]
        if points:
            axes.plot(*zip(*points, strict=True), color=color, label=label, marker=marker, markersize=3, linewidth=1.8)
    best = best_entry(history)
    if best is not None:
        epoch, loss = best
        axes.axvline(epoch, color=VAL, linewidth=1, linestyle=":")
        axes.plot([epoch], [loss], color=VAL, marker="*", markersize=14, linestyle="none", label=f"best: epoch {epoch}")
    if history:
        axes.legend(frameon=False)


def _draw_rates(axes: Axes, history: Sequence[Mapping[str, float | int | None]]) -> None:
    epochs = [int(entry["epoch"] or 0) for entry in history]
    values = [float(entry["learning_rate"] or 0.0) for entry in history]
    marks = sorted(set(values))[-6:]
    axes.step(epochs, values, where="mid", color=RATE, linewidth=1.8, marker=".", markersize=4)
    axes.set(xlabel="epoch", ylabel="learning rate", xlim=(0.5, len(history) + 0.5), yscale="log")
    axes.set_yticks(marks, labels=[f"{mark:.3g}" for mark in marks])
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def best_entry(history: Sequence[Mapping[str, float | int | None]]) -> tuple[int, float] | None:
    """(epoch, loss) of the lowest validation loss, the first of equals; None without any."""
    measured = [(loss, int(entry["epoch"] or 0)) for entry in history if (loss := entry.get("val_loss")) is not None]
    if not measured:
        return None
    loss, epoch = min(measured)
    return epoch, loss
