"""From the scores of every workout to means over runners with standard errors. JSON-ready: None instead of NaN."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from accuracy.experiment import Plan, Result
from accuracy.scoring import COVERAGES, Scores
from hrmodel.workouts.workout import Array

RIVALS = ("ridge", "boosted_trees")
BANDED = ("base", "stage1", "stage2", "chosen")
Table = dict[str, Any]


def summarise(results: Sequence[Result], plan: Plan) -> Table:
    """size -> the tables of that size; the results' order does not matter."""
    return {size: _of_size(_those_of(results, size), plan.protocols) for size in plan.sizes if _those_of(results, size)}


def summarise_strangers(results: Sequence[Result], plan: Plan) -> Table:
    """The base on people of whom nothing is known, by protocol."""
    ordered = _those_of(results, "0")
    return {name: _errors(ordered, "base", name) for name in plan.protocols if name != "P3-30"} if ordered else {}


def per_seed(scores: Sequence[Sequence[Scores]], protocol: str, key: str = "mae") -> Array:
    """(seeds, workouts); NaN where a workout is too short for the protocol."""
    return np.array([[own.get(protocol, {}).get(key, np.nan) for own in of_seed] for of_seed in scores])


def mean_and_error(values: Iterable[float]) -> Table:
    """Mean and standard error of the finite ones."""
    known = np.array([value for value in values if np.isfinite(value)])
    error = known.std(ddof=1) / np.sqrt(len(known)) if len(known) > 1 else np.nan
    return {"mean": number(known.mean() if len(known) else np.nan), "se": number(error), "count": len(known)}


def number(value: float) -> float | None:
    """Four decimals are enough; None for NaN."""
    return round(float(value), 4) if np.isfinite(value) else None


def _those_of(results: Sequence[Result], size: str) -> list[Result]:
    return sorted((result for result in results if result.size == size), key=lambda result: result.runner)


def _of_size(results: list[Result], protocols: Sequence[str]) -> Table:
    names = list(results[0].rows)
    return {
        "workouts": {result.runner: result.workouts for result in results},
        "errors": {row: {name: _errors(results, row, name) for name in protocols} for row in names},
        "median": {row: _median(results, row) for row in names},
        "chosen_minus": {row: {name: _difference(results, row, name) for name in protocols} for row in RIVALS},
        "bands": {row: {name: _bands(results, row, name) for name in protocols} for row in BANDED},
        "choices": {result.runner: result.choices for result in results},
    }


def _workouts(result: Result, row: str, protocol: str, key: str = "mae") -> Array:
    """(workouts,) means over the seeds."""
    means: Array = per_seed(result.rows[row], protocol, key).mean(axis=0)
    return means


def _mean(values: Array) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else float("nan")


def _errors(results: list[Result], row: str, protocol: str) -> Table:
    """Over runners, whose workouts are averaged first, and over all workouts alike (`pooled`)."""
    own = {result.runner: _workouts(result, row, protocol) for result in results}
    runners = {name: _mean(values) for name, values in own.items()}
    return {
        **mean_and_error(runners.values()),
        "runners": {name: number(value) for name, value in runners.items()},
        "pooled": mean_and_error(np.concatenate(list(own.values()))),
    }


def _difference(results: list[Result], row: str, protocol: str) -> Table:
    """Chosen minus `row`, pair by pair of workouts: negative is better."""
    pairs = [_workouts(result, "chosen", protocol) - _workouts(result, row, protocol) for result in results]
    return {"runners": mean_and_error(map(_mean, pairs)), "pooled": mean_and_error(np.concatenate(pairs))}


def _median(results: list[Result], row: str) -> Table:
    """Median over workouts of the blind error, mean over seeds: of each runner, and of everybody's workouts at once."""
    blind = [per_seed(result.rows[row], "P1") for result in results]
    own = {r.runner: float(np.nanmedian(v, axis=1).mean()) for r, v in zip(results, blind, strict=True)}
    pooled = float(np.nanmedian(np.concatenate(blind, axis=1), axis=1).mean())
    return {
        **mean_and_error(own.values()),
        "runners": {name: number(value) for name, value in own.items()},
        "pooled": number(pooled),
    }


def _bands(results: list[Result], row: str, protocol: str) -> Table:
    """By nominal coverage: the share of a workout's steps inside and the half width in bpm, means over workouts."""
    table: Table = {}
    for level in COVERAGES:
        inside = {r.runner: _mean(_workouts(r, row, protocol, f"covered_{level}")) for r in results}
        widths = {r.runner: _mean(_workouts(r, row, protocol, f"half_width_{level}")) for r in results}
        table[level] = {
            "measured": mean_and_error(inside.values()),
            "half_width": mean_and_error(widths.values()),
            "runners": {n: {"measured": number(inside[n]), "half_width": number(widths[n])} for n in inside},
        }
    return table
