"""The picture of a training: losses and learning rate per epoch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

TRAIN, VAL, RATE, INK = "#2b6cb0", "#c05621", "#4a5568", "#1a202c"


def draw_curves(
    history: Sequence[Mapping[str, float | int | None]], target: Path | BinaryIO, title: str = "Training"
) -> None:
    """Write a PNG: training and validation loss above, learning rate below, the best epoch marked.

    `history` is that of `fit`, one entry per epoch; epochs without a validation loss leave its curve out. Uses no
    pyplot, so any thread may call it.
    """
    figure = Figure(figsize=(8, 6), layout="constrained")
    FigureCanvasAgg(figure)
    losses, rates = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    epochs = [entry["epoch"] for entry in history]
    _draw_losses(losses, history)
    rates.step(epochs, [entry["learning_rate"] for entry in history], where="mid", color=RATE, linewidth=1.8)
    rates.set(xlabel="epoch", ylabel="learning rate", yscale="log")
    rates.xaxis.set_major_locator(MaxNLocator(integer=True))
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


def best_entry(history: Sequence[Mapping[str, float | int | None]]) -> tuple[int, float] | None:
    """(epoch, loss) of the lowest validation loss, the first of equals; None without any."""
    measured = [(loss, int(entry["epoch"] or 0)) for entry in history if (loss := entry.get("val_loss")) is not None]
    if not measured:
        return None
    loss, epoch = min(measured)
    return epoch, loss
