"""The benchmark as text."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Table = dict[str, Any]
PER_RUNNER = ("P1", "P2-180")
SHORT = {"base": "b", "stage1": "1", "stage2": "2"}


def as_text(content: Table) -> str:
    """All tables of what `bench_accuracy` writes as JSON."""
    protocols = content["protocols"]
    lines = [*_head(content)]
    for size, table in content["sizes"].items():
        lines += ["", *_size(size, table, protocols)]
    for size in ("40", "all"):
        if size in content["sizes"]:
            for name in PER_RUNNER:
                lines += ["", *_runners(size, content["sizes"][size], name)]
            lines += ["", *_bands(size, content["sizes"][size], protocols)]
    lines += ["", *_choices(content["sizes"])]
    lines += ["", *_strangers(content)]
    lines += ["", *_goals(content["goals"])]
    return "\n".join(lines)


def _head(content: Table) -> Iterator[str]:
    if content["dev"]:
        yield "FOR TUNING ONLY: scored on the last 15 % of train + val; no test workout was used."
    tests = ", ".join(f"{name} {count}" for name, count in content["test_workouts"].items())
    yield f"Mean absolute error in bpm on later workouts ({tests}), mean of seeds {content['seeds']}."
    yield "In brackets the standard error over runners. Base " + content["base"][:12] + "."
    yield "Baselines learn from all n workouts, trees from all but inner validation, stages from inner training alone."


def _size(size: str, table: Table, protocols: Sequence[str]) -> Iterator[str]:
    known = sorted(set(table["workouts"].values()))
    counts = str(known[0]) if len(known) == 1 else f"{known[0]}..{known[-1]}"
    yield f"{len(table['workouts'])} runners, {'all their' if size == 'all' else 'their last'} {counts} workouts"
    yield f"{'':28}" + "".join(f"{name:>14}" for name in protocols) + f"{'median P1':>14}{'(pooled)':>10}"
    for row, errors in table["errors"].items():
        median = table["median"][row]
        cells = "".join(f"{_with_error(errors[name]):>14}" for name in protocols)
        yield f"{row:28}{cells}{_with_error(median):>14}{_number(median['pooled']):>10}"
    for rival, differences in table["chosen_minus"].items():
        for over in ("runners", "pooled"):
            cells = "".join(f"{_with_error(differences[name][over], sign=True):>14}" for name in protocols)
            count = differences[protocols[0]][over]["count"]
            what = f"{count} runners" if over == "runners" else f"{count} pairs"
            yield f"{f'- {rival}, {what}':28}{cells}"


def _runners(size: str, table: Table, protocol: str) -> Iterator[str]:
    names = list(table["workouts"])
    yield f"{protocol} by runner, {_workouts(size)}"
    yield f"{'':28}" + "".join(f"{name:>8}" for name in names)
    for row, errors in table["errors"].items():
        yield f"{row:28}" + "".join(f"{_number(errors[protocol]['runners'][name]):>8}" for name in names)


def _bands(size: str, table: Table, protocols: Sequence[str]) -> Iterator[str]:
    names = list(table["workouts"])
    yield f"bands, {_workouts(size)}: share of the steps inside (half width in bpm), mean and by runner"
    yield f"{'':28}{'mean':>13}" + "".join(f"{name:>13}" for name in names)
    for protocol in protocols:
        for row, bands in table["bands"].items():
            for level, band in bands[protocol].items():
                cells = [_band(band["measured"]["mean"], band["half_width"]["mean"])]
                cells += [
                    _band(band["runners"][name]["measured"], band["runners"][name]["half_width"]) for name in names
                ]
                yield f"{f'{row} {protocol} {float(level):.0%}':28}" + "".join(f"{cell:>13}" for cell in cells)


def _choices(sizes: Mapping[str, Table]) -> Iterator[str]:
    names = list(dict.fromkeys(name for table in sizes.values() for name in table["choices"]))
    yield "chosen by seed: b base, 1 stage 1, 2 stage 2"
    yield f"{'':28}" + "".join(f"{name:>8}" for name in names)
    for size, table in sizes.items():
        cells = [" ".join(SHORT[choice] for choice in table["choices"].get(name, [])) or "-" for name in names]
        yield f"{_workouts(size):28}" + "".join(f"{cell:>8}" for cell in cells)


def _strangers(content: Table) -> Iterator[str]:
    yield "base, no workout known: no level, no response"
    for what, table in content["strangers"].items():
        for name, errors in table.items():
            own = ", ".join(f"{runner} {_number(value)}" for runner, value in errors["runners"].items())
            yield f"{f'{what}, {name}':28}{_with_error(errors):>14}   {own}"


def _goals(goals: Sequence[Table]) -> Iterator[str]:
    yield "goals"
    for goal in goals:
        verdict = {True: "reached", False: "MISSED" if goal["gate"] else "missed", None: "not measured"}
        gate = "" if goal["gate"] else " (reported, no gate)"
        yield f"{verdict[goal['reached']]:13} {goal['measured'] or '-':22} {goal['goal']}{gate}"


def _workouts(size: str) -> str:
    return "all workouts" if size == "all" else f"{size} workouts"


def _number(value: float | None, sign: bool = False) -> str:
    return "-" if value is None else f"{value:+.2f}" if sign else f"{value:.2f}"


def _with_error(values: Table, sign: bool = False) -> str:
    error = "" if values["se"] is None else f" ({values['se']:.2f})"
    return _number(values["mean"], sign) + error


def _band(measured: float | None, half_width: float | None) -> str:
    return "-" if measured is None or half_width is None else f"{measured:.1%} ({half_width:.1f})"
