"""Stages and recipes as data. Imports no torch: the API resolves configurations too."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from hrmodel.network.config import NetworkConfig

BOUNDS: dict[str, tuple[float, float]] = {
    "freeze_layers": (0, NetworkConfig.num_layers - 1),  # each index
    "learning_rate": (1e-6, 1e-1),
    "batch_size": (1, 256),
    "epochs": (1, 500),
    "patience": (1, 200),
    "dropout": (0.0, 0.6),
    "weight_decay": (0.0, 0.1),
    "gradient_clip": (0.01, 100.0),
    "seed": (0, 2**31 - 1),
}
_WHOLE = ("batch_size", "epochs", "patience", "seed")


class InvalidHyperparameter(ValueError):
    """A hyperparameter that does not exist or is out of its bounds; `field` names it."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """How one stage trains. The defaults are the common values of the original's two stages."""

    stage: str = "stage2"
    freeze_layers: tuple[int, ...] = ()
    learning_rate: float = 1e-4
    batch_size: int = 32
    epochs: int = 50
    patience: int = 10  # epochs without improvement before early stopping
    dropout: float = 0.2
    weight_decay: float = 1e-4
    gradient_clip: float = 1.0
    seed: int = 0
    ema: float | None = None  # share of the old average kept at each optimiser step; None: no weight averaging
    early_stopping_min_workouts: int = 0  # with fewer training workouts every epoch is trained
    scheduler_factor: float = 0.5
    scheduler_patience: int = 3

    def to_dict(self) -> dict[str, Any]:
        """Give JSON-ready fields."""
        return {**asdict(self), "freeze_layers": list(self.freeze_layers)}

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> "StageConfig":
        """Rebuild from `to_dict`. Raises TypeError for a field that does not exist."""
        return StageConfig(**{**values, "freeze_layers": tuple(values["freeze_layers"])})


@dataclass(frozen=True, kw_only=True)
class TrainingStage:
    """The properties of a stage. Code that depends on a stage reads these, not the stage's name."""

    personal: bool  # trains on one person's workouts; else on many people's
    starts_from: str | None  # the stage that gives the start model; None: a new network
    summary: str  # the trainable layers, for the help of the commands
    original: StageConfig  # the original's numbers, however many workouts there are
    auto_rate: float = 1.0  # of the learning rate of the recipe `auto`


STAGES: dict[str, TrainingStage] = {
    "base": TrainingStage(
        personal=False,
        starts_from=None,
        summary="everything trains, on many people",
        original=StageConfig(stage="base", learning_rate=2e-3, epochs=24, patience=8, ema=0.995),
    ),
    "stage1": TrainingStage(
        personal=True,
        starts_from="base",
        summary="layer 0 is frozen, layer 1 and the output train",
        original=StageConfig(stage="stage1", freeze_layers=(0,), learning_rate=5e-4),
    ),
    "stage2": TrainingStage(
        personal=True,
        starts_from="stage1",
        summary="everything trains",
        original=StageConfig(stage="stage2", learning_rate=1e-4),
        auto_rate=0.5,
    ),
}
FEW_WORKOUTS = 15  # to train on; below, validation is a handful of workouts and its best epoch is luck


def personal_stages() -> list[str]:
    """The stages that train on one person's workouts, in the order in which they follow each other."""
    return [name for name, stage in STAGES.items() if stage.personal]


def stages_after(name: str | None) -> list[str]:
    """The stages that start from the model of this one; None: the stages that start from a new network."""
    return [after for after, stage in STAGES.items() if stage.starts_from == name]


def way_to(name: str) -> list[str]:
    """The personal stages from a base model to this one: each starts from the stage before."""
    stage = STAGES[name]
    if not stage.personal:
        return []
    return [*(way_to(stage.starts_from) if stage.starts_from else []), name]


def _original(stage: TrainingStage, workouts: int) -> StageConfig:
    return stage.original


def _auto(stage: TrainingStage, workouts: int) -> StageConfig:
    """Small batches and averaged weights; careful steps from few workouts (benchmarks/bench_accuracy.py --dev)."""
    if not stage.personal:
        return stage.original
    few = workouts < FEW_WORKOUTS
    return replace(
        stage.original,
        learning_rate=(3e-4 if few else 1e-3) * stage.auto_rate,
        batch_size=8,
        epochs=8 if few else 20,
        ema=0.97,
        early_stopping_min_workouts=FEW_WORKOUTS,
    )


RECIPES: dict[str, Callable[[TrainingStage, int], StageConfig]] = {"original": _original, "auto": _auto}
DEPRECATED_RECIPES = {"seed": "original"}  # deprecated since 2.0; stored jobs and checkpoints may hold them for ever


def recipe_name(text: str) -> str:
    """The recipe's present name: a deprecated name is replaced, any other text is unchanged."""
    return DEPRECATED_RECIPES.get(text, text)


def resolve(stage: str, recipe: str, hyperparameters: Mapping[str, Any], *, workouts: int) -> StageConfig:
    """Give the recipe's configuration of a stage for so many training workouts; explicit hyperparameters come first.

    Raises InvalidHyperparameter (a ValueError) naming the field and its bounds, ValueError for an unknown stage or
    recipe.
    """
    recipe = recipe_name(recipe)
    if recipe not in RECIPES:
        raise ValueError(f"unknown recipe {recipe!r}; known: {', '.join(RECIPES)}")
    if stage not in STAGES:
        raise ValueError(f"unknown stage {stage!r}; known: {', '.join(STAGES)}")
    checked = {name: _checked(name, value) for name, value in hyperparameters.items()}
    return replace(RECIPES[recipe](STAGES[stage], workouts), **checked)


def _checked(name: str, value: Any) -> Any:
    """Give the value in the type of its field, inside its bounds."""
    if name not in BOUNDS:
        raise InvalidHyperparameter(name, f"unknown hyperparameter {name!r}; known: {', '.join(BOUNDS)}")
    if name == "freeze_layers":
        return _checked_layers(value)
    low, high = BOUNDS[name]
    kinds = int if name in _WHOLE else int | float
    if not isinstance(value, kinds) or isinstance(value, bool) or not low <= value <= high:
        kind = "a whole number" if name in _WHOLE else "a number"
        raise InvalidHyperparameter(name, f"{name} must be {kind} from {_text(low)} to {_text(high)}, not {value!r}")
    return value if name in _WHOLE else float(value)


def _checked_layers(value: Any) -> tuple[int, ...]:
    low, high = BOUNDS["freeze_layers"]
    ok = isinstance(value, list | tuple) and all(
        isinstance(layer, int) and not isinstance(layer, bool) and low <= layer <= high for layer in value
    )
    if not ok:
        message = f"freeze_layers must be a list of layer indexes from {low} to {high}, not {value!r}"
        raise InvalidHyperparameter("freeze_layers", message)
    return tuple(sorted(set(value)))


def _text(bound: float) -> str:
    return str(int(bound)) if math.floor(bound) == bound else f"{bound:g}"
