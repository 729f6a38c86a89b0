"""A person's history as one version was evaluated on it, from which later workouts go on: none is scored twice.

The scale, the baselines and the zones are fitted when a history begins, and stay. What is kept beside the person's
state: the measures of each test workout, the state before it (for the report's examples), the residuals of the last
workouts (for the bands), the baselines and their states.
"""

from collections.abc import Callable
from dataclasses import dataclass

from hrmodel.evaluation.calibration import Followed, follow
from hrmodel.evaluation.forecasters import EvaluationData, NetworkForecaster
from hrmodel.evaluation.report import Report, report_of
from hrmodel.evaluation.scores import FittedBaselines, TestedWorkout, fit_baselines, ignore, score_tests
from hrmodel.personal.band_fitting import Residuals
from hrmodel.personal.state import PersonState
from hrmodel.signals.grid import GriddedWorkout

FITTING, FOLLOWING = 0.1, 0.5  # of the progress; the rest is scoring


@dataclass(frozen=True, kw_only=True, eq=False)
class EvaluatedHistory:
    """One version on one person's workouts so far."""

    baselines: FittedBaselines
    state: PersonState  # after all workouts
    residuals: list[Residuals]  # see `Followed`
    tested: list[TestedWorkout]  # in time order

    @staticmethod
    def start(
        network: NetworkForecaster, data: EvaluationData, on_progress: Callable[[float], None] = ignore
    ) -> "EvaluatedHistory":
        """Before any workout, with what is fitted on the training and validation workouts of the data."""
        baselines = fit_baselines(data, on_progress)
        return EvaluatedHistory(baselines=baselines, state=PersonState.start(network.size), residuals=[], tested=[])

    @staticmethod
    def of(
        network: NetworkForecaster, data: EvaluationData, on_progress: Callable[[float], None] = ignore
    ) -> "EvaluatedHistory":
        """All workouts of the data."""
        start = EvaluatedHistory.start(network, data, lambda share: on_progress(FITTING * share))
        return start.go_on(network, data, lambda share: on_progress(FITTING + (1 - FITTING) * share))

    def go_on(
        self, network: NetworkForecaster, data: EvaluationData, on_progress: Callable[[float], None] = ignore
    ) -> "EvaluatedHistory":
        """With the workouts of the data, too, all later than those so far; the level is the one of those so far.

        The same as `start` and then all of them at once. Raises ValueError for an earlier workout.
        """
        before = Followed(states=[self.state], residuals=self.residuals)
        followed = follow(network, data, lambda share: on_progress(FOLLOWING * share), before=before)
        tested, baselines = score_tests(
            network,
            self.baselines,
            data,
            followed.states,
            lambda share: on_progress(FOLLOWING + (1 - FOLLOWING) * share),
        )
        return EvaluatedHistory(
            baselines=baselines,
            state=followed.states[-1],
            residuals=followed.residuals,
            tested=[*self.tested, *tested],
        )

    def report(self, network: NetworkForecaster, find: Callable[[str], GriddedWorkout]) -> Report:
        """The report on all test workouts; `find` gives a workout by its digest, which is called for the examples."""
        return report_of(network, self.tested, find)
