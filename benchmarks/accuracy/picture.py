"""The learning curve: error against the number of workouts."""

from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

PROTOCOLS = {"P1": "blind (P1)", "P2-180": "180 s observed (P2-180)"}
# Colours of Okabe and Ito, which the colour-blind tell apart
ROWS = {
    "boosted_trees": ("boosted trees", "#E69F00", "v", "--"),
    "ridge": ("ridge", "#8c8c8c", "^", "--"),
    "response_alone": ("response alone", "#CC79A7", "D", "--"),
    "base": ("base", "#56B4E9", "o", "-"),
    "stage1": ("stage 1", "#009E73", "s", "-"),
    "stage2": ("stage 2", "#D55E00", "P", "-"),
    "chosen": ("chosen", "#000000", "*", "-"),
}
DODGE = 0.06  # of a place: error bars beside each other


def draw(content: dict[str, Any], target: Path) -> None:
    """Write a PNG: means over runners with standard errors over runners, a panel per protocol."""
    figure = Figure(figsize=(11, 5), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(PROTOCOLS), squeeze=False)[0]
    for axes, (protocol, title) in zip(panels, PROTOCOLS.items(), strict=True):
        sizes = [size for size, table in content["sizes"].items() if protocol in table["errors"]["base"]]
        for place, (row, (label, colour, marker, line)) in enumerate(ROWS.items()):
            points = [content["sizes"][size]["errors"][row][protocol] for size in sizes]
            x = [i + DODGE * (place - len(ROWS) / 2) for i in range(len(sizes))]
            look = {"color": colour, "marker": marker, "linestyle": line, "markersize": 10 if marker == "*" else 6}
            errors = [point["se"] or 0.0 for point in points]
            axes.errorbar(x, [p["mean"] for p in points], errors, label=label, elinewidth=0.8, alpha=0.9, **look)
        axes.set_xticks(range(len(sizes)), labels=sizes)
        axes.set(title=title, xlabel="workouts before the test", ylabel="mean absolute error (bpm)")
        axes.grid(color="#e2e8f0", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    panels[-1].legend(frameon=False)
    split = "a split inside train + val, for tuning" if content["dev"] else "their test workouts"
    figure.suptitle(
        f"{len(content['test_workouts'])} runners whom the base never saw, on {split}; bars: standard errors"
    )
    figure.savefig(target, format="png", dpi=110)
