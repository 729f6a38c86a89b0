"""A model's bands for one subject, from residuals on workouts that it was not trained on, predicted as in serving."""

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count

from hrmodel.evaluation.forecasters import EvaluationData, NetworkForecaster
from hrmodel.evaluation.protocols import Task, after_prefix, blind, fully_observed
from hrmodel.evaluation.report import Report, evaluate
from hrmodel.evaluation.scores import ignore
from hrmodel.network.checkpoint import Checkpoint
from hrmodel.personal.band_fitting import WINDOW, Residuals, rolling_intervals
from hrmodel.personal.bands import REGIMES
from hrmodel.personal.state import PersonState
from hrmodel.prediction.predictor import Predictor
from hrmodel.prediction.prepared import ObservedView, StepQuery
from hrmodel.signals.grid import GriddedWorkout
from hrmodel.signals.steps import measured_heart_rate

# which residuals make which band: the nowcast's come from the fully observed workout alone, whose gaps would otherwise
# pass for forecasts of a few seconds
SOURCES = {
    "blind": blind,
    "forecast_60": after_prefix(60.0),
    "forecast_180": after_prefix(180.0),
    "forecast_600": after_prefix(600.0),
    "nowcast": fully_observed,
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Followed:
    """A person followed through their workouts, and what later workouts go on from."""

    states: list[PersonState]  # before each test workout and, last, after all workouts; with the person's own bands
    residuals: list[Residuals]  # of the last workouts that the bands learn from: a window of them, in time order


def person_states(
    network: NetworkForecaster, data: EvaluationData, on_progress: Callable[[float], None] = ignore
) -> list[PersonState]:
    """The state before each test workout and, last, after them all, with the person's own bands: see `follow`."""
    return follow(network, data, on_progress).states


def follow(
    network: NetworkForecaster,
    data: EvaluationData,
    on_progress: Callable[[float], None] = ignore,
    *,
    before: Followed | None = None,
) -> Followed:
    """Follow a person through all workouts of the data, which are later than those of `before`.

    The response learns from all workouts. The bands start from the checkpoint's and learn only from workouts that the
    network was not trained on: for a base all of them, else validation and test. `on_progress` gets the share done.
    """
    workouts, known = data.workouts, before.residuals if before else []
    start = before.states[-1] if before else PersonState.start(network.size)
    learned = set() if network.predictor.checkpoint.level is None else {id(workout) for workout in data.train}
    fresh = [i for i, workout in enumerate(workouts) if id(workout) not in learned]
    places = data.before_tests(range(len(workouts) + 1))
    earlier = [bisect_left(fresh, place) for place in places]  # the number of fresh workouts before each
    first = max(0, earlier[0] - WINDOW)
    parts, done = len(workouts) + len(fresh) - first + len(places), count(1)

    def tell() -> None:
        on_progress(next(done) / parts)

    states = [start, *start.advance(network, workouts, tell)]
    past = list(known)
    for residuals in residuals_of(network, [(workouts[i], states[i]) for i in fresh[first:]]):
        past.append(residuals)
        tell()
    counts = [len(known) + number - first for number in earlier]
    own = []
    bands = rolling_intervals(network.predictor.intervals, past, counts)
    for place, intervals in zip(places, bands, strict=True):
        own.append(replace(states[place], intervals=intervals))
        tell()
    return Followed(states=own, residuals=past[-WINDOW:])


def states_and_report(
    network: NetworkForecaster, data: EvaluationData, on_progress: Callable[[float], None] = ignore
) -> tuple[list[PersonState], Report]:
    """`person_states`, and the report of `evaluate` with them, which takes about as long."""
    states = person_states(network, data, lambda share: on_progress(share / 2))
    return states, evaluate(network, data, states, on_progress=lambda share: on_progress((1 + share) / 2))


def state_after(
    checkpoint: Checkpoint, data: EvaluationData, on_progress: Callable[[float], None] = ignore
) -> PersonState:
    """The person's state under the checkpoint after all training and validation workouts."""
    network = NetworkForecaster(predictor=Predictor(checkpoint), level=checkpoint.level)
    return person_states(network, replace(data, test=[], level=checkpoint.level), on_progress)[-1]


def residuals_of(
    network: NetworkForecaster, workouts: Sequence[tuple[GriddedWorkout, PersonState]]
) -> Iterator[Residuals]:
    """Of each workout under the state before it: residuals (bpm) and lead times by information regime, over the scored
    steps that serving puts there.
    """  # fmt: skip
    asked: deque[tuple[GriddedWorkout, dict[str, Task]]] = deque()  # not answered yet

    def queries() -> Iterator[StepQuery]:
        for workout, state in workouts:
            tasks = {regime: task for regime in REGIMES if (task := SOURCES[regime](workout))}
            asked.append((workout, tasks))
            views = [ObservedView(heart_rate=task.view) for task in tasks.values()]
            yield StepQuery(
                gridded=workout, views=views, level=network.level, response=state.response_at(workout.started_at)
            )

    for predictions in network.predictor.predict_steps(queries()):
        workout, tasks = asked.popleft()
        truth = measured_heart_rate(workout)
        residuals = {}
        for (regime, task), steps in zip(tasks.items(), predictions, strict=True):
            scored = task.scored & (steps.regimes == REGIMES.index(regime))
            residuals[regime] = (steps.lead_minutes[scored], (truth - steps.heart_rate)[scored])
        yield residuals
