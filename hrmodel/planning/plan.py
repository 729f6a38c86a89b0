"""The fastest pace plan for a route whose predicted heart rate stays under a cap."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hrmodel.planning.pacing import MAX_SECONDS, TOLERANCE, Blind, ByPrediction, Predict, fastest_speeds
from hrmodel.planning.route import Passage, Route, run
from hrmodel.prediction.predictor import Prediction
from hrmodel.signals.scale import SubjectScale
from hrmodel.workouts.running import FASTEST, MEDIAN_BOUNDS, SLOWEST
from hrmodel.workouts.workout import Array

CAPS = (80.0, 220.0)  # bpm
KNOWN_SPREADS = 2.0  # beyond, the shipped base has hardly seen a speed: its answer stops rising, and falls from 2.5 on


class PlanTooLong(ValueError):
    """Under this cap the route takes more than 16 h."""


@dataclass(frozen=True, kw_only=True)
class PlannedSegment:
    """A piece of the route that is run at one speed."""

    begins: float  # m
    ends: float  # m
    climb: float  # m, from its beginning to its end
    speed: float  # m/s
    seconds: float
    heart_rate: float  # bpm, mean
    highest: float  # bpm
    over_cap: bool  # by more than 0.5 bpm


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """Speeds by segment, and the predicted passage on the 10 s grid."""

    segments: tuple[PlannedSegment, ...]
    passage: Passage  # S steps
    prediction: Prediction  # one value per step: the whole plan predicted at once, blind
    over_cap_seconds: float  # by more than 0.5 bpm

    @property
    def seconds(self) -> float:
        """How long it takes."""
        return float(self.passage.seconds.sum())


def known_speeds(scale: SubjectScale) -> tuple[float, float]:
    """The slowest and the fastest speed (m/s) to plan with for a person with this scale."""
    fastest = scale.speed + KNOWN_SPREADS * scale.speed_spread
    return SLOWEST, float(np.clip(fastest, SLOWEST + 0.5, FASTEST))


def plan_route(
    predict: Predict,
    route: Route,
    cap: float,
    *,
    slowest: float = SLOWEST,
    fastest: float = FASTEST,
    blind: Blind | None = None,
) -> Plan:
    """The fastest speeds (m/s) by segment whose predicted mean heart rate stays under `cap` (bpm), within 0.5.

    A segment where even `slowest` is over the cap is run at `slowest` and marked `over_cap`. `blind` predicts the same
    as `predict`, but faster (`Predictor.tries`). Raises ValueError for a cap or speeds out of bounds, and PlanTooLong
    over 16 h.
    """
    if not CAPS[0] <= cap <= CAPS[1]:
        raise ValueError(f"a heart-rate cap must be within {CAPS[0]:g}..{CAPS[1]:g} bpm, not {cap}")
    if not MEDIAN_BOUNDS[0] <= slowest < fastest <= MEDIAN_BOUNDS[1]:
        raise ValueError(f"speeds must increase within {MEDIAN_BOUNDS} m/s, not {slowest}..{fastest}")
    edges = route.edges()
    speeds = fastest_speeds(blind or ByPrediction(predict), route, edges, cap, slowest=slowest, fastest=fastest)
    passage = run(route, edges, speeds)
    if passage.seconds.sum() > MAX_SECONDS:
        raise PlanTooLong(f"under {cap:g} bpm it takes more than 16 h")
    prediction = predict(passage.workout)
    over = prediction.heart_rate > cap + TOLERANCE
    return Plan(
        segments=_segments(route, edges, speeds, passage, prediction.heart_rate, over),
        passage=passage,
        prediction=prediction,
        over_cap_seconds=float(passage.seconds[over].sum()),
    )


def _segments(
    route: Route, edges: Array, speeds: Array, passage: Passage, heart_rate: Array, over: NDArray[np.bool_]
) -> tuple[PlannedSegment, ...]:
    first, last = passage.touched(edges)
    segments = []
    for number, (speed, climb) in enumerate(zip(speeds.tolist(), route.climbs(edges).tolist(), strict=True)):
        begins, ends = edges[number : number + 2].tolist()
        inside = (first <= number) & (number <= last)
        segments.append(
            PlannedSegment(
                begins=begins,
                ends=ends,
                climb=climb,
                speed=speed,
                seconds=(ends - begins) / speed,
                heart_rate=float(heart_rate[inside].mean()),
                highest=float(heart_rate[inside].max()),
                over_cap=bool(over[inside].any()),
            )
        )
    return tuple(segments)
