"""The targets of a personal stage: heart rate less the person's response under the start model."""

from collections.abc import Callable

from hrmodel.evaluation.forecasters import EvaluationData, NetworkForecaster
from hrmodel.evaluation.scores import ignore
from hrmodel.network.checkpoint import Checkpoint
from hrmodel.personal.state import PersonState, in_time
from hrmodel.prediction.predictor import Predictor
from hrmodel.training.batches import ScaledWorkout


def personal_targets(
    start: Checkpoint, data: EvaluationData, on_progress: Callable[[float], None] = ignore
) -> tuple[list[ScaledWorkout], list[ScaledWorkout]]:
    """Training and validation workouts in the person's scale, each with the person's response before it.

    The network then learns beside the response that it will serve beside; trained on the whole heart rate it learns the
    same response a second time. Raises ValueError without a level.
    """
    if data.level is None:
        raise ValueError("a person without a level has no targets: fit the level on their workouts first")
    network = NetworkForecaster(predictor=Predictor(start), level=data.level)
    workouts = in_time([*data.train, *data.val])
    state, scaled = PersonState.start(network.size), {}
    for done, (workout, terms) in enumerate(zip(workouts, network.blind_terms(workouts), strict=True), start=1):
        response = terms.features @ state.before(workout.started_at).mean
        scaled[id(workout)] = ScaledWorkout(gridded=workout, level=data.level, response=response)
        state = state.update(workout, terms)
        on_progress(done / len(workouts))
    return [scaled[id(workout)] for workout in data.train], [scaled[id(workout)] for workout in data.val]
