"""An `EvaluatedHistory` as bytes and back: arrays in safetensors, the rest as JSON in its metadata. Numbers come back
exactly, so that going on from stored bytes gives the same report as going on from memory.
"""  # fmt: skip

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from hrmodel.evaluation.baselines import Baseline, restored
from hrmodel.evaluation.forecasters import COVERAGES
from hrmodel.evaluation.history import EvaluatedHistory
from hrmodel.evaluation.metrics import METRICS, Measured
from hrmodel.evaluation.protocols import PROTOCOLS
from hrmodel.evaluation.scores import FittedBaselines, Measures, TestedWorkout
from hrmodel.personal.band_fitting import Residuals
from hrmodel.personal.bands import REGIMES
from hrmodel.personal.kalman import ResponseFilter
from hrmodel.personal.response import Response
from hrmodel.personal.state import PersonState
from hrmodel.workouts.workout import Array

VERSION = 2
METADATA_KEY = "history"
BANDS = tuple(str(coverage) for coverage in COVERAGES)
# another metric, protocol or coverage makes stored measures incomparable: then the history is evaluated anew
NAMES = [list(METRICS), list(PROTOCOLS), list(BANDS), list(REGIMES)]

Arrays = dict[str, NDArray[Any]]


def to_bytes(history: EvaluatedHistory) -> bytes:
    """About 10 kB for each test workout, and 1 MB for the residuals."""
    state, responses = history.state, [test.response for test in history.tested]
    facts = {
        "version": VERSION,
        "names": NAMES,
        "digests": [test.digest for test in history.tested],
        "intervals": [state.intervals, *(test.intervals for test in history.tested)],
        "until": state.last_workout and state.last_workout.isoformat(),
        "workouts": state.workouts,
        "baselines": list(history.baselines.forecasters),
        "offsets": [baseline.offset for baseline in history.baselines.forecasters.values()],
    }
    arrays: Arrays = {
        "minutes": np.array([test.minutes for test in history.tested]),
        "heart_rate": np.array([test.heart_rate for test in history.tested]),
        "max_heart_rate": np.array([history.baselines.max_heart_rate]),
        "network": _table([test.network for test in history.tested], bands=True),
        **_filter("state", state.filter),
        "tests.weights": np.array([response.weights for response in responses]),
        "tests.variance": np.array([response.variance for response in responses]),
        **_residuals(history.residuals),
    }
    for name, baseline in history.baselines.forecasters.items():
        arrays |= {f"fit.{name}.{key}": np.asarray(value) for key, value in vars(baseline.blind).items()}
        arrays |= _filter(f"follow.{name}", history.baselines.states[name].filter)
        arrays[f"tests.{name}"] = _table([test.baselines[name] for test in history.tested], bands=False)
    return save(arrays, metadata={METADATA_KEY: json.dumps(facts)})


def from_bytes(data: bytes) -> EvaluatedHistory:
    """The inverse. Raises ValueError for other bytes, and for a history that was evaluated by other measures."""
    try:
        arrays: Arrays = load(data)
        (header_size,) = struct.unpack_from("<Q", data)
        facts = json.loads(json.loads(data[8 : 8 + header_size])["__metadata__"][METADATA_KEY])
        if (facts["version"], facts["names"]) != (VERSION, NAMES):
            raise ValueError("this history was evaluated by other measures than today's")
        return _history(arrays, facts)
    except (SafetensorError, KeyError, TypeError, struct.error) as error:
        raise ValueError(f"these {len(data)} bytes are not an evaluated history: {error}") from error


def _history(arrays: Arrays, facts: dict[str, Any]) -> EvaluatedHistory:
    own_intervals, *intervals = facts["intervals"]
    state = PersonState.known(_read_filter("state", arrays), own_intervals, facts["until"], facts["workouts"])
    networks = _read_table(arrays["network"], bands=True)
    others = {name: _read_table(arrays[f"tests.{name}"], bands=False) for name in facts["baselines"]}
    tested = [
        TestedWorkout(
            digest=digest,
            minutes=float(arrays["minutes"][i]),
            heart_rate=float(arrays["heart_rate"][i]),
            network=networks[i],
            baselines={name: measures[i] for name, measures in others.items()},
            response=Response(weights=arrays["tests.weights"][i], variance=float(arrays["tests.variance"][i])),
            intervals=intervals[i],
        )
        for i, digest in enumerate(facts["digests"])
    ]
    baselines = FittedBaselines(
        forecasters=dict(_read_baselines(arrays, facts)),
        states={
            name: replace(state, filter=_read_filter(f"follow.{name}", arrays), intervals=None)
            for name in facts["baselines"]
        },
        max_heart_rate=float(arrays["max_heart_rate"][0]),
    )
    return EvaluatedHistory(baselines=baselines, state=state, residuals=_read_residuals(arrays), tested=tested)


def _read_baselines(arrays: Arrays, facts: dict[str, Any]) -> list[tuple[str, Baseline]]:
    found = []
    for name, offset in zip(facts["baselines"], facts["offsets"], strict=True):
        prefix = f"fit.{name}."
        fit = {key.removeprefix(prefix): values for key, values in arrays.items() if key.startswith(prefix)}
        found.append((name, restored(name, fit, offset=offset)))
    return found


def _table(results: Sequence[Measures], *, bands: bool) -> Array:
    """(N, P, M): the measures of N workouts by P protocols, after a 1 where the workout has the protocol, else a 0."""
    width = 1 + len(METRICS) + (2 * len(BANDS) if bands else 0)
    table = np.zeros((len(results), len(PROTOCOLS), width))
    for row, result in zip(table, results, strict=True):
        for place, name in enumerate(PROTOCOLS):
            if own := result.get(name):
                shares = [*map(own.covered.get, BANDS), *map(own.half_widths.get, BANDS)] if bands else []
                row[place] = [1.0, *map(own.metrics.get, METRICS), *shares]
    return table


def _read_table(table: Array, *, bands: bool) -> list[Measures]:
    width, names = 1 + len(METRICS), BANDS if bands else ()

    def one(values: list[float]) -> Measured:
        return Measured(
            metrics=dict(zip(METRICS, values[1:width], strict=True)),
            covered=dict(zip(names, values[width : width + len(names)], strict=True)),
            half_widths=dict(zip(names, values[width + len(names) :], strict=True)),
        )

    rows: list[list[list[float]]] = table.tolist()
    return [{name: one(values) for name, values in zip(PROTOCOLS, row, strict=True) if values[0]} for row in rows]


def _filter(name: str, state: ResponseFilter) -> Arrays:
    return {f"{name}.mean": state.mean, f"{name}.covariance": state.covariance}


def _read_filter(name: str, arrays: Mapping[str, NDArray[Any]]) -> ResponseFilter:
    return ResponseFilter(mean=arrays[f"{name}.mean"], covariance=arrays[f"{name}.covariance"])


def _residuals(workouts: Sequence[Residuals]) -> Arrays:
    """All residuals one after the other, and how many each workout has in each regime; -1 where it has no task."""
    lengths = [[len(own[regime][0]) if regime in own else -1 for regime in REGIMES] for own in workouts]
    pairs = [own[regime] for own in workouts for regime in REGIMES if regime in own]
    return {
        "residuals.lengths": np.array(lengths, dtype=np.int64).reshape(-1, len(REGIMES)),
        "residuals.minutes": np.concatenate([np.empty(0), *(minutes for minutes, _ in pairs)]),
        "residuals.bpm": np.concatenate([np.empty(0), *(values for _, values in pairs)]),
    }


def _read_residuals(arrays: Mapping[str, NDArray[Any]]) -> list[Residuals]:
    minutes, values, place = arrays["residuals.minutes"], arrays["residuals.bpm"], 0
    workouts = list[Residuals]()
    for lengths in arrays["residuals.lengths"].tolist():
        own: Residuals = {}
        for regime, length in zip(REGIMES, lengths, strict=True):
            if length >= 0:
                own[regime] = (minutes[place : place + length], values[place : place + length])
                place += length
        workouts.append(own)
    return workouts
