"""Which parameters train in which stage."""

from collections.abc import Mapping, Sequence

from hrmodel.network.network import HeartRateNetwork
from hrmodel.offline.errors import UserError

NAME, SHAPE, COUNT, TRAINS = 20, 12, 10, 10  # column widths


def parameter_table(model: HeartRateNetwork, frozen: Mapping[str, Sequence[int]]) -> list[str]:
    """One line per parameter tensor: name, shape, count and, under each heading of `frozen`, whether it trains.

    `frozen`: heading -> layers that are frozen. The last lines are the totals. Raises UserError for a layer that
    the network does not have.
    """
    trains = {heading: _trains(model, layers) for heading, layers in frozen.items()}
    shapes = {name: "x".join(map(str, parameter.shape)) for name, parameter in model.named_parameters()}
    counts = {name: parameter.numel() for name, parameter in model.named_parameters()}
    lines = [_line("parameter", "shape", "count", list(frozen))]
    for name, count in counts.items():
        cells = ["trains" if of_stage[name] else "frozen" for of_stage in trains.values()]
        lines.append(_line(name, shapes[name], f"{count:,}", cells))
    totals = [sum(count for name, count in counts.items() if of_stage[name]) for of_stage in trains.values()]
    whole = sum(counts.values())
    lines.append(_line("total", "", f"{whole:,}", [""] * len(trains)))
    lines.append(_line("trainable", "", "", [f"{total:,}" for total in totals]))
    lines.append(_line("frozen", "", "", [f"{whole - total:,}" for total in totals]))
    return lines


def _trains(model: HeartRateNetwork, layers: Sequence[int]) -> dict[str, bool]:
    try:
        model.freeze_layers(layers)
    except ValueError as error:
        raise UserError(f"--freeze-layers: {error}.") from error
    return {name: trains for name, _, trains in model.parameter_report()}


def _line(name: str, shape: str, count: str, cells: Sequence[str]) -> str:
    columns = "".join(f"{cell:>{TRAINS}}" for cell in cells)
    return f"{name:{NAME}}{shape:>{SHAPE}}{count:>{COUNT}}{columns}".rstrip()
