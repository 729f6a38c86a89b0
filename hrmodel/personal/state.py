"""The state of a person beside the network's weights, and its update by each workout."""

import base64
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

import numpy as np

from hrmodel.personal.bands import Intervals
from hrmodel.personal.kalman import ResponseFilter
from hrmodel.personal.response import NAMES, Response
from hrmodel.signals.grid import GriddedWorkout
from hrmodel.signals.steps import measured_heart_rate
from hrmodel.workouts.workout import EPOCH, Array

USUAL_DAYS = 1.0  # from the last workout to the next, where the time of one is not known


def no_progress() -> None:
    """Do nothing: the default of `on_workout`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class BlindTerms:
    """A workout's prediction without any of its heart rate, as a function of the person's weights."""

    features: Array  # (S, F) that the weights are multiplied with
    rest: Array  # (S,) bpm: what does not depend on the weights
    bounds: tuple[float, float] = (-np.inf, np.inf)  # bpm, of a prediction

    def predict(self, weights: Array) -> Array:
        """(S,) bpm, with the person's (F,) weights right before the workout."""
        return np.clip(self.rest + self.features @ weights, *self.bounds)


class BlindForecaster(Protocol):
    """Predicts workouts without any of their heart rate, under a person's state."""

    @property
    def size(self) -> int:
        """F: the number of weights of a state under this forecaster; 0: without a person's scale."""

    def blind_terms(self, workouts: Iterable[GriddedWorkout]) -> Iterator[BlindTerms]:
        """Those of each workout, many computed at once. Of size 0 they are not asked for."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PersonState:
    """A person after their last known workout, under one network and one scale."""

    filter: ResponseFilter  # after that workout; see `before`
    intervals: Intervals | None = None  # the person's own bands; None: the network's
    last_workout: datetime | None = None  # UTC, when the latest known workout began; None: not known, or none yet
    workouts: int = 0  # how many are known

    @staticmethod
    def start(size: int) -> "PersonState":
        """Before any workout, for `size` weights."""
        return PersonState(filter=ResponseFilter.start(size))

    @staticmethod
    def known(
        filter: ResponseFilter, intervals: Intervals | None, last_workout: str | None, workouts: int
    ) -> "PersonState":
        """A state from its parts; the time as ISO 8601 says it. Raises ValueError for another."""
        until = None if last_workout is None else datetime.fromisoformat(last_workout)
        return PersonState(filter=filter, intervals=intervals, last_workout=until, workouts=workouts)

    def before(self, when: datetime | None) -> ResponseFilter:
        """The weights right before a workout that begins at `when`: the longer the pause, the less sure.

        Where this or the last workout's time is not known: as after a day. Before the first workout time changes
        nothing.
        """
        if not self.workouts:
            return self.filter
        if self.last_workout in (None, EPOCH) or when in (None, EPOCH):
            return self.filter.predict(USUAL_DAYS)
        return self.filter.predict((when - self.last_workout) / timedelta(days=1))

    def response_at(self, when: datetime | None) -> Response | None:
        """The response in a workout that begins at `when`; None without the response's weights."""
        return self.before(when).response if self.filter.size >= len(NAMES) else None

    def advance(
        self,
        forecaster: BlindForecaster,
        workouts: Iterable[GriddedWorkout],
        on_workout: Callable[[], None] = no_progress,
    ) -> list["PersonState"]:
        """The state after each of some more workouts in time order, which are later than all before.

        Each workout is predicted blind with the weights before it, and only then observed: one prediction and one
        filter update for each, however many came before. `on_workout` is called after each of them, and may raise.
        Raises ValueError as `update`.
        """
        states, ordered = [self], list(workouts)
        if not forecaster.size:  # nothing is followed
            for workout in ordered:
                states.append(states[-1]._after(workout, self.filter))
                on_workout()
            return states[1:]
        for workout, terms in zip(ordered, forecaster.blind_terms(ordered), strict=True):
            states.append(states[-1].update(workout, terms))
            on_workout()
        return states[1:]

    def update(self, workout: GriddedWorkout, terms: BlindTerms) -> "PersonState":
        """The same for one workout with its blind terms.

        The bands stay: they are weighted quantiles over the residuals of the last 50 workouts, which a state does not
        hold. `hrmodel.evaluation.calibration` computes them anew. Raises ValueError for a workout that is earlier than
        the latest known one: replay all of them then.
        """
        before = self.before(workout.started_at)
        residuals = measured_heart_rate(workout) - terms.predict(before.mean)
        return self._after(workout, before.update(terms.features, residuals))

    def _after(self, workout: GriddedWorkout, filter: ResponseFilter) -> "PersonState":
        if self.last_workout is not None and workout.sort_key < self.last_workout:
            raise ValueError(f"a workout of {workout.sort_key} is earlier than the latest known, {self.last_workout}")
        return replace(self, filter=filter, last_workout=workout.sort_key, workouts=self.workouts + 1)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; numbers come back exactly. Raises ValueError without the response's weights."""
        if self.filter.size < len(NAMES):
            raise ValueError(f"a stored state has at least {len(NAMES)} weights, not {self.filter.size}")
        known = self.filter.response.to_dict()
        return {
            "weights": known["weights"],
            "last_layer": known.get("last_layer", []),
            "covariance": _packed(self.filter.covariance),
            "intervals": self.intervals,
            "until": self.last_workout.isoformat() if self.last_workout else None,
            "workouts": self.workouts,
        }

    @staticmethod
    def from_dict(values: dict[str, Any]) -> "PersonState":
        """The inverse of `to_dict`, also of what earlier versions wrote: then the likelier of two filters.

        Raises ValueError for other weights than NAMES or a covariance of another size, KeyError for a missing entry.
        """
        known = _likelier(values) if "filters" in values else _one_filter(values)
        return PersonState.known(known, values["intervals"], values["until"], int(values["workouts"]))


def in_time(workouts: Iterable[GriddedWorkout]) -> list[GriddedWorkout]:
    """In the order in which they were done."""
    return sorted(workouts, key=lambda workout: workout.sort_key)


def replay(
    forecaster: BlindForecaster, workouts: Iterable[GriddedWorkout], on_workout: Callable[[], None] = no_progress
) -> list[PersonState]:
    """The state before each of n workouts in time order, and last the state after all: n + 1 states, without bands.

    See `PersonState.advance`.
    """
    start = PersonState.start(forecaster.size)
    return [start, *start.advance(forecaster, workouts, on_workout)]


def _one_filter(values: dict[str, Any]) -> ResponseFilter:
    mean = Response.from_dict({**values, "variance": 0.0}).weights
    return ResponseFilter(mean=mean, covariance=_unpacked(values["covariance"], len(mean)))


def _likelier(stored: dict[str, Any]) -> ResponseFilter:
    """Of the filters that earlier versions mixed."""
    if stored["weights"] != list(NAMES):
        raise ValueError(f"a response has weights for {', '.join(NAMES)}, not {', '.join(stored['weights'])}")
    if not stored["filters"]:
        raise ValueError("a person's state has at least one filter")
    values = max(stored["filters"], key=lambda each: float(each["log_likelihood"]))
    mean, covariance = np.array(values["mean"], dtype=float), np.array(values["covariance"], dtype=float)
    if mean.shape != (len(NAMES),) or covariance.shape != (len(NAMES), len(NAMES)):
        raise ValueError(f"a filter has {len(NAMES)} weights, not arrays of {mean.shape} and {covariance.shape}")
    return ResponseFilter(mean=mean, covariance=covariance)


def _packed(covariance: Array) -> str:
    """(F, F) symmetric -> base64 of its lower triangle, row by row, as little-endian float64."""
    return base64.b64encode(covariance[np.tril_indices(len(covariance))].astype("<f8").tobytes()).decode()


def _unpacked(text: str, size: int) -> Array:
    """The inverse: (F, F). Raises ValueError for another size."""
    triangle = np.frombuffer(base64.b64decode(text, validate=True), dtype="<f8")
    if len(triangle) != math.comb(size + 1, 2):
        raise ValueError(f"a covariance of {size} weights has {math.comb(size + 1, 2)} numbers, not {len(triangle)}")
    covariance = np.empty((size, size))
    rows, columns = np.tril_indices(size)
    covariance[rows, columns] = covariance[columns, rows] = triangle
    return covariance
