"""An evaluation as lines of text."""

from collections.abc import Mapping, Sequence
from typing import Any

from hrmodel.evaluation.baselines import BASELINES
from hrmodel.evaluation.protocols import PROTOCOLS
from hrmodel.evaluation.report import SCORE_PROTOCOLS, Report
from hrmodel.personal.zones import ZONES

MISSING = "-"


def error_table(reports: Mapping[str, Report], versions: Sequence[str]) -> list[str]:
    """Mean absolute error in bpm by protocol, the score, and blind by heart-rate zone; means over test workouts."""
    if not reports:
        return []
    columns = {version: _errors(reports.get(version, {}).get("protocols", {}), "mean") for version in versions}
    baselines = next(iter(reports.values()))["baselines"]
    columns |= {name: _errors(baselines[name]) for name in BASELINES}
    rows = [*PROTOCOLS, "score", *_zones()]
    cells = [[_cell(errors.get(row)) for errors in columns.values()] for row in rows]
    return _lines("MAE, bpm", list(columns), dict(zip(rows, cells, strict=True)), 15)


def reliability_table(name: str, report: Report) -> list[str]:
    """By protocol and nominal coverage: measured coverage in % and the band's mean half width in bpm."""
    tables = {protocol: table["reliability"] for protocol, table in report["protocols"].items()}
    coverages = sorted({coverage for table in tables.values() for coverage in table})
    rows = {protocol: [_band(table.get(coverage)) for coverage in coverages] for protocol, table in tables.items()}
    lines = _lines("in band of", [f"{100 * float(coverage):.0f} %" for coverage in coverages], rows, 15)
    return [f"{name}: measured coverage of the bands, and their mean half widths in bpm", *lines]


def workout_table(name: str, report: Report) -> list[str]:
    """One line per test workout: length, mean heart rate, error by protocol, blind bias and coverage at 90 %."""
    columns = {"minutes": 1, "heart_rate": 1, **dict.fromkeys(PROTOCOLS, 2), "bias": 2}
    rows = {}
    for row in report["per_workout"]:
        covered = MISSING if row["coverage"] is None else f"{100 * row['coverage']:.0f} %"
        rows[row["digest"][:8]] = [*(_cell(row[column], digits) for column, digits in columns.items()), covered]
    lines = _lines("workout", [*(column.replace("_", " ") for column in columns), "inside 90 %"], rows, 13)
    return [f"{name}: test workouts in time order; MAE by protocol and blind bias in bpm", *lines]


def prediction_table(summary: Mapping[str, Any]) -> list[str]:
    """One line per predicted workout: start, length, mean heart rates, errors (bpm); then means over new workouts."""
    seconds = summary["observed_seconds"]
    after = [f"after {seconds:g} s"] if seconds else []
    rows = {}
    for outcome in summary["workouts"]:
        errors = [_cell(outcome["blind_error"]), *([_cell(outcome["error"])] if seconds else [])]
        means = [_cell(outcome[name], 1) for name in ("minutes", "measured", "predicted")]
        started = (outcome["started_at"] or MISSING)[:16].replace("T", " ")
        rows[outcome["digest"][:8]] = [started, *means, *errors, outcome["use"]]
    columns = ["started", "minutes", "measured", "predicted", "blind", *after, "the model"]
    mean = summary["mean"]
    lines = _lines("workout", columns, rows, 18)
    if mean["workouts"]:
        parts = [f"blind {_cell(mean['blind_error'])}", *([f"{after[0]} {_cell(mean['error'])}"] if seconds else [])]
        lines.append(f"mean absolute error over {mean['workouts']} new workouts, bpm: {', '.join(parts)}")
    return lines


def _zones() -> dict[str, str]:
    """The metric of each line about a zone."""
    return {f"zone {zone} P1": f"mae_zone_{zone}" for zone in range(1, len(ZONES) + 1)}


def _errors(protocols: Mapping[str, Any], part: str | None = None) -> dict[str, float | None]:
    """Mean absolute error by protocol, the score, and blind by zone."""
    tables = {name: table[part] if part else table for name, table in protocols.items()}
    errors: dict[str, float | None] = {name: values.get("mae") for name, values in tables.items()}
    scored = [error for name in SCORE_PROTOCOLS if (error := errors.get(name)) is not None]
    errors["score"] = sum(scored) / len(scored) if len(scored) == len(SCORE_PROTOCOLS) else None
    return errors | {row: tables.get("P1", {}).get(metric) for row, metric in _zones().items()}


def _band(row: Mapping[str, float | None] | None) -> str:
    if row is None or row["measured"] is None:
        return MISSING
    return f"{100 * row['measured']:.0f} % ± {row['half_width']:.1f}"


def _cell(value: float | None, digits: int = 2) -> str:
    return MISSING if value is None else f"{value:.{digits}f}"


def _lines(corner: str, columns: Sequence[str], rows: Mapping[str, Sequence[str]], width: int) -> list[str]:
    table = {corner: columns, **rows}
    return ["".join([f"{name:10}", *(f"{cell:>{width}}" for cell in cells)]) for name, cells in table.items()]
