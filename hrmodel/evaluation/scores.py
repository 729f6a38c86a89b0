"""Scores test workouts: the measures of the network and of the baselines on each, from which a report is made."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from hrmodel.evaluation.baselines import BASELINES, Baseline
from hrmodel.evaluation.forecasters import EvaluationData, Forecaster, NetworkForecaster, Question, score
from hrmodel.evaluation.metrics import Measured, measured
from hrmodel.evaluation.protocols import PROTOCOLS
from hrmodel.personal.bands import Intervals
from hrmodel.personal.response import Response
from hrmodel.personal.state import PersonState
from hrmodel.signals.grid import STEP_SECONDS
from hrmodel.signals.steps import elapsed_steps

Measures = Mapping[str, Measured]  # of one workout by protocol; protocols that it is too short for are missing


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedBaselines:
    """The baselines of one person, with their states after the workouts so far, and where heart-rate zones begin."""

    forecasters: Mapping[str, Baseline]
    states: Mapping[str, PersonState]
    max_heart_rate: float  # bpm, for the zones; NaN: unknown


@dataclass(frozen=True, kw_only=True, eq=False)
class TestedWorkout:
    """What a report says of one test workout."""

    digest: str
    minutes: float
    heart_rate: float  # mean, bpm; NaN without any
    network: Measures
    baselines: Mapping[str, Measures]
    response: Response  # right before it
    intervals: Intervals | None


def ignore(_: float) -> None:
    """Take a progress and do nothing."""


def fit_baselines(data: EvaluationData, on_progress: Callable[[float], None] = ignore) -> FittedBaselines:
    """Fit each baseline on the training and validation workouts. `on_progress` gets the share done."""
    forecasters = {}
    for done, (name, fit) in enumerate(BASELINES.items()):
        forecasters[name] = fit(data, partial(on_progress, done / len(BASELINES)))
        on_progress((done + 1) / len(BASELINES))
    return FittedBaselines(
        forecasters=forecasters,
        states={name: PersonState.start(baseline.size) for name, baseline in forecasters.items()},
        max_heart_rate=data.max_heart_rate,
    )


def score_tests(
    network: NetworkForecaster,
    baselines: FittedBaselines,
    data: EvaluationData,
    states: Sequence[PersonState],
    on_progress: Callable[[float], None] = ignore,
) -> tuple[list[TestedWorkout], FittedBaselines]:
    """The measures of each test workout, and the baselines after all workouts of the data.

    `states`: those of the network before each test workout; more are ignored. `on_progress` gets the share done, at
    least once in every workout.
    """
    parts = len(baselines.forecasters) + 1

    def part(done: int, share: float) -> None:
        on_progress((done + share) / parts)

    highest = baselines.max_heart_rate
    own = _measures(network, data, states, highest, partial(part, 0))
    others, after = dict[str, list[Measures]](), dict[str, PersonState]()
    for done, (name, baseline) in enumerate(baselines.forecasters.items(), start=1):
        before = baselines.states[name]
        followed = [before, *before.advance(baseline, data.workouts, partial(part, done, 0.0))]
        others[name] = _measures(baseline, data, data.before_tests(followed), highest, partial(part, done))
        after[name] = followed[-1]
        part(done, 1.0)
    tested = [
        TestedWorkout(
            digest=workout.digest,
            minutes=round(float(elapsed_steps(workout)[-1] + 1) * STEP_SECONDS / 60.0, 1),
            heart_rate=workout.mean_heart_rate,
            network=own[i],
            baselines={name: measures[i] for name, measures in others.items()},
            response=states[i].before(workout.started_at).response,
            intervals=states[i].intervals,
        )
        for i, workout in enumerate(data.test)
    ]
    return tested, replace(baselines, states=after)


def _measures(
    forecaster: Forecaster,
    data: EvaluationData,
    states: Sequence[PersonState],
    max_heart_rate: float,
    on_progress: Callable[[float], None],
) -> list[Measures]:
    """The measures of every test workout by protocol. Protocols that a workout is too short for are left out."""
    tasks = [{name: task for name, make in PROTOCOLS.items() if (task := make(workout))} for workout in data.test]
    questions = [
        Question.of(workout, state, list(own.values()))
        for workout, state, own in zip(data.test, states, tasks, strict=False)
    ]
    results = list[Measures]()
    for own, scored in zip(tasks, score(forecaster, questions, max_heart_rate), strict=True):
        results.append({name: measured(one) for name, one in zip(own, scored, strict=True)})
        on_progress(len(results) / len(data.test))
    return results
