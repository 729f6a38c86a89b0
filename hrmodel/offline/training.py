"""Training one stage for one person, in memory: the commands write files, the Python API returns the model."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from hrmodel.evaluation.calibration import state_after
from hrmodel.evaluation.forecasters import EvaluationData
from hrmodel.evaluation.scores import ignore
from hrmodel.evaluation.targets import personal_targets
from hrmodel.network.checkpoint import Checkpoint
from hrmodel.network.config import NetworkConfig
from hrmodel.network.network import HeartRateNetwork
from hrmodel.offline.data import training_digest
from hrmodel.training.fit import fit
from hrmodel.training.stages import StageConfig
from hrmodel.training.state import Entry, TrainingState
from hrmodel.training.views import TrainingViews, ValidationViews
from hrmodel.version import CODE_VERSION


@dataclass(frozen=True, kw_only=True, eq=False)
class Training:
    """A stage, the model that it starts from, and the person's workouts."""

    stage: StageConfig
    recipe: str
    start: Checkpoint
    data: EvaluationData
    device: str

    def run(self) -> Checkpoint:
        """Train to the end; the best epoch's model. Raises NonFiniteLoss, ValueError for a layer that does not exist.

        On a GPU also torch.OutOfMemoryError.
        """
        model = self.build()
        train, val = self.views()
        return self.best(fit(model, train, val, self.stage))

    def build(self) -> HeartRateNetwork:
        """The network with its start weights, frozen as the stage requires. Raises ValueError for an unknown layer."""
        model = self.start.build()
        model.freeze_layers(self.stage.freeze_layers)  # fit does it too: here a wrong layer costs nothing yet
        return model.to(self.device)

    def views(self, on_progress: Callable[[float], None] = ignore) -> tuple[TrainingViews, ValidationViews]:
        """The training and the validation views of the stage."""
        contract = self.start.contract
        train, val = personal_targets(self.start, self.data, on_progress)
        return (
            TrainingViews(train, contract, self.stage.seed, self.stage.batch_size),
            ValidationViews(val, contract),
        )

    def best(self, state: TrainingState, on_progress: Callable[[float], None] = ignore) -> Checkpoint:
        """The best epoch's model, with the person's response as it follows it through training and validation."""
        best = self.checkpoint(state.model.config, state.best_weights, state.history)
        return replace(best, followed=state_after(best, self.data, on_progress))

    def checkpoint(
        self, network: NetworkConfig, weights: Mapping[str, torch.Tensor], history: Sequence[Entry]
    ) -> Checkpoint:
        """A model of this training with these weights."""
        return Checkpoint(
            network=network,
            contract=self.start.contract,
            weights=dict(weights),
            stage=self.stage.stage,
            configuration={**self.stage.to_dict(), "recipe": self.recipe},
            history=list(history),
            level=self.data.level,
            intervals=self.start.intervals,
            last_layer=self.start.last_layer,
            data_digest=training_digest(self.data),
            code_version=CODE_VERSION,
        )
