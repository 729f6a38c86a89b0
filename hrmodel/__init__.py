"""Personal heart-rate models: train one from a person's workouts, measure it, and predict with it.

    import hrmodel

    workouts = hrmodel.split(hrmodel.load_workouts("export.zip"))
    base = hrmodel.load_base()
    stage1 = hrmodel.train_stage1(base, workouts)
    stage2 = hrmodel.train_stage2(stage1, workouts)
    report = hrmodel.evaluate(stage2, workouts)
    prediction = hrmodel.predict(stage2, workouts[-1])

A model is a `Checkpoint`: `stage2.write(path)` keeps it, `hrmodel.Checkpoint.read(path)` reads it again, and
`stage2.build()` is its network (a `torch.nn.Module`). A workout is a `Workout`: arrays with units, which
`Workout.from_dataframe` makes from a pandas table and `to_dataframe` gives back. The commands of `python -m hrmodel` do
the same with files.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hrmodel.api import evaluate, load_base, load_workouts, predict, split, train_stage1, train_stage2
    from hrmodel.network.checkpoint import Checkpoint
    from hrmodel.workouts.workout import Workout

__all__ = [
    "Checkpoint",
    "Workout",
    "evaluate",
    "load_base",
    "load_workouts",
    "predict",
    "split",
    "train_stage1",
    "train_stage2",
]
_MODULES = {"Checkpoint": "hrmodel.network.checkpoint", "Workout": "hrmodel.workouts.workout"}


def __getattr__(name: str) -> Any:
    """Import a name at its first use (lazily): the readers of the sandbox import this package and need no torch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES.get(name, "hrmodel.api")), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
