"""The state of a person beside the network's weights, and its update by each workout."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

import numpy as np

from hrmodel.personal.bands import Intervals
from hrmodel.personal.kalman import FilterState, NoiseModel, ResponseFilter
from hrmodel.personal.response import NAMES, Response
from hrmodel.signals.grid import GriddedWorkout
from hrmodel.signals.steps import measured_heart_rate
from hrmodel.workouts.workout import Array


def no_progress() -> None:
    """Do nothing: the default of `on_workout`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class BlindTerms:
    """A workout's prediction without any of its heart rate, as a function of the person's weights."""

    features: Array  # (S, F) that the weights are multiplied with
    rest: Array  # (S,) bpm: what does not depend on the weights
    bounds: tuple[float, float] = (-np.inf, np.inf)  # bpm, of a prediction

    def predict(self, state: "PersonState") -> Array:
        """(S,) bpm."""
        return np.clip(self.rest + self.features @ state.filter.mean, *self.bounds)


class BlindForecaster(Protocol):
    """Predicts workouts without any of their heart rate, under a person's state."""

    @property
    def size(self) -> int:
        """F: the number of weights of a state under this forecaster; 0: without a person's scale."""

    def blind_terms(self, workouts: Iterable[GriddedWorkout]) -> Iterator[BlindTerms]:
        """Those of each workout, many computed at once. Of size 0 they are not asked for."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PersonState:
    """A person before their next workout, under one network and one scale."""

    filter: ResponseFilter
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

    @property
    def response(self) -> Response | None:
        """The response in the next workout; None without the response's weights."""
        return self.filter.response if self.filter.size == len(NAMES) else None

    def advance(
        self,
        forecaster: BlindForecaster,
        workouts: Iterable[GriddedWorkout],
        on_workout: Callable[[], None] = no_progress,
    ) -> list["PersonState"]:
        """The state after each of some more workouts in time order, which are later than all before.

        Each workout is predicted blind with the state before it, and only then observed: one prediction and one filter
        update for each, however many came before. `on_workout` is called after each of them, and may raise. Raises
        ValueError as `update`.
        """
        states, ordered = [self], list(workouts)
        if not forecaster.size:  # nothing is followed
            for workout in ordered:
                states.append(states[-1]._after(workout, self.filter))
                on_workout()
            return states[1:]
        for workout, terms in zip(ordered, forecaster.blind_terms(ordered), strict=True):
            states.append(states[-1].update(workout, terms.features, terms.predict(states[-1])))
            on_workout()
        return states[1:]

    def update(self, workout: GriddedWorkout, features: Array, blind: Array) -> "PersonState":
        """The same for a workout that was predicted with this state: (S, F) features, (S,) prediction in bpm.

        The bands stay: they are weighted quantiles over the residuals of the last 50 workouts, which a state does not
        hold. `hrmodel.evaluation.calibration` computes them anew. Raises ValueError for a workout that is earlier than
        the latest known one: replay all of them then.
        """
        return self._after(workout, self.filter.update(features, measured_heart_rate(workout) - blind))

    def _after(self, workout: GriddedWorkout, filter: ResponseFilter) -> "PersonState":
        if self.last_workout is not None and workout.sort_key < self.last_workout:
            raise ValueError(f"a workout of {workout.sort_key} is earlier than the latest known, {self.last_workout}")
        return replace(self, filter=filter, last_workout=workout.sort_key, workouts=self.workouts + 1)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; numbers come back exactly. Raises ValueError without the response's weights."""
        if self.filter.size != len(NAMES):
            raise ValueError(f"a stored state has {len(NAMES)} weights, not {self.filter.size}")
        return {
            "filters": [_filter_to_dict(state) for state in self.filter.filters],
            "weights": list(NAMES),
            "intervals": self.intervals,
            "until": self.last_workout.isoformat() if self.last_workout else None,
            "workouts": self.workouts,
        }

    @staticmethod
    def from_dict(values: dict[str, Any]) -> "PersonState":
        """The inverse of `to_dict`. Raises ValueError for other weights than NAMES, KeyError for a missing one."""
        if values["weights"] != list(NAMES):
            raise ValueError(f"a response has weights for {', '.join(NAMES)}, not {', '.join(values['weights'])}")
        filters = tuple(_filter_from_dict(state) for state in values["filters"])
        if not filters:
            raise ValueError("a person's state has at least one filter")
        mixture = ResponseFilter(size=len(NAMES), filters=filters)
        return PersonState.known(mixture, values["intervals"], values["until"], int(values["workouts"]))


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


def _filter_to_dict(state: FilterState) -> dict[str, Any]:
    noise = state.noise
    return {
        "days": {"wander": noise.process, "own": noise.day, "before": noise.log_prior},
        "mean": state.mean.tolist(),
        "covariance": state.covariance.tolist(),
        "log_likelihood": float(state.log_likelihood),
    }


def _filter_from_dict(values: dict[str, Any]) -> FilterState:
    mean, covariance = np.array(values["mean"], dtype=float), np.array(values["covariance"], dtype=float)
    if mean.shape != (len(NAMES),) or covariance.shape != (len(NAMES), len(NAMES)):
        raise ValueError(f"a filter has {len(NAMES)} weights, not arrays of {mean.shape} and {covariance.shape}")
    days = values["days"]
    noise = NoiseModel(process=days["wander"], day=days["own"], log_prior=days["before"])
    return FilterState(noise=noise, mean=mean, covariance=covariance, log_likelihood=float(values["log_likelihood"]))
