"""What the first good version was to reach, and whether it does."""

from collections.abc import Iterator, Sequence
from typing import Any

Table = dict[str, Any]
AT = "40"  # workouts, where nothing else is said
ERRORS = (("P1", 6.0), ("P2-180", 5.2), ("P2-600", 4.4))  # bpm
BANDS = {"0.8": ((0.78, 0.82), (0.72, 0.88)), "0.9": ((0.88, 0.92), (0.83, 0.96))}  # mean, each runner
REPORTED = (("P1", 4.6), ("P2-180", 4.0), ("P3-30", 2.2))  # p004: not gates
EACH = "p004"


def goals(sizes: Table, strangers: Table, protocols: Sequence[str]) -> list[Table]:
    """Each goal with what was measured and whether it is reached (None: not measured)."""
    return [
        {"goal": goal, "measured": measured, "reached": reached, "gate": gate}
        for goal, measured, reached, gate in _all(sizes, strangers, protocols)
    ]


Line = tuple[str, str | None, bool | None, bool]


def _all(sizes: Table, strangers: Table, protocols: Sequence[str]) -> Iterator[Line]:
    at = sizes.get(AT)
    for name, bound in ERRORS:
        yield _below(f"chosen, {AT} workouts: {name} <= {bound}", _error(at, "chosen", name), bound)
    yield _below("chosen, 10 workouts: P1 <= 6.4", _error(sizes.get("10"), "chosen", "P1"), 6.4)
    yield _below(f"base, level of {AT} workouts: P1 <= 6.8", _error(at, "base", "P1"), 6.8)
    median = at["median"]["chosen"]["mean"] if at else None
    yield _below(f"chosen, {AT} workouts: median P1 of a runner's workouts <= 5.6", median, 5.6)
    yield _below("base, no workout known, held-out people: P2-180 <= 8", strangers.get("P2-180", {}).get("mean"), 8.0)
    yield _choice(at, protocols)
    for rival in ("ridge", "boosted_trees"):
        yield _beaten(at, rival, protocols)
    for name in protocols:
        for level in BANDS:
            yield _band(at, name, level)
    for name, bound in REPORTED:
        own = at["errors"]["chosen"][name]["runners"].get(EACH) if at and name in protocols else None
        goal, measured, reached, _ = _below(f"{EACH}, chosen, {AT} workouts: {name} <= {bound}", own, bound)
        yield goal, measured, reached, False


def _error(table: Table | None, row: str, protocol: str) -> float | None:
    return table["errors"][row][protocol]["mean"] if table and protocol in table["errors"][row] else None


def _below(goal: str, value: float | None, bound: float) -> Line:
    return goal, None if value is None else f"{value:.2f}", None if value is None else value <= bound, True


def _choice(table: Table | None, protocols: Sequence[str]) -> Line:
    goal = f"chosen, {AT} workouts: within 0.1 of the better of stage 1 and stage 2 in every column"
    if not table:
        return goal, None, None, True
    errors = {row: [_error(table, row, name) for name in protocols] for row in ("chosen", "stage1", "stage2")}
    behind = [own - min(one, two) for own, one, two in zip(*errors.values(), strict=True)]
    return goal, f"{max(behind):+.2f} at most", max(behind) <= 0.1, True


def _beaten(table: Table | None, rival: str, protocols: Sequence[str]) -> Line:
    goal = f"chosen, {AT} workouts: below {rival} in every column"
    if not table:
        return goal, None, None, True
    worst = max(table["chosen_minus"][rival][name]["runners"]["mean"] for name in protocols)
    return goal, f"{worst:+.2f} at most", worst < 0, True


def _band(table: Table | None, protocol: str, level: str) -> Line:
    (low, high), (least, most) = BANDS[level]
    goal = f"chosen, {AT} workouts, {protocol}: {float(level):.0%} band holds {low:.0%}..{high:.0%}"
    goal += f", of each runner {least:.0%}..{most:.0%}"
    if not table:
        return goal, None, None, True
    band = table["bands"]["chosen"][protocol][level]
    mean, own = band["measured"]["mean"], [runner["measured"] for runner in band["runners"].values()]
    reached = low <= mean <= high and least <= min(own) and max(own) <= most
    return goal, f"{mean:.1%}, {min(own):.1%}..{max(own):.1%}", reached, True
