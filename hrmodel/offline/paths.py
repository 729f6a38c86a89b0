"""Where the offline commands read and write: the original's folders."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

SHIPPED_FOLDER = Path(__file__).resolve().parent.parent / "pretrained"


@dataclass(frozen=True)
class Folders:
    """The files below the folder that `--out` names."""

    out: Path

    @property
    def evaluation(self) -> Path:
        """The report of `evaluate`."""
        return self.out / "results" / "evaluation.json"

    @property
    def predictions(self) -> Path:
        """The output of `predict`, one row per step; beside it a `.json` with one entry per workout."""
        return self.out / "results" / "predictions.csv"

    def best(self, stage: str) -> Path:
        """The weights with the lowest validation loss."""
        return self.out / "checkpoints" / stage / "best_model.pt"

    def latest(self, stage: str) -> Path:
        """The weights of the last finished epoch."""
        return self.out / "checkpoints" / stage / "latest_model.pt"

    def curves(self, stage: str) -> Path:
        """The picture of the training."""
        return self.out / "results" / stage / "training_curves.png"

    def history(self, stage: str) -> Path:
        """The numbers of the training."""
        return self.out / "results" / stage / "training_history.json"

    def new_log(self, stage: str) -> Path:
        """A log of this moment."""
        return self.out / "logs" / f"training_{stage}_{datetime.now():%Y%m%d_%H%M%S}.log"


def shipped_base() -> Path:
    """The base model that comes with the code."""
    return SHIPPED_FOLDER / "base.safetensors"
