"""The command line of `python -m hrmodel`."""

import argparse
import sys
from pathlib import Path
from typing import Any, NoReturn, get_args

from hrmodel.network.architectures import ARCHITECTURES
from hrmodel.offline.paths import SHIPPED_FOLDER
from hrmodel.training.stages import BOUNDS, RECIPES, STAGES, personal_stages, recipe_name
from hrmodel.workouts.formats.source import SaidSport
from hrmodel.workouts.units import SpeedUnit

HYPERPARAMETERS = tuple(BOUNDS)
WHOLE = ("batch_size", "epochs", "patience", "seed")
DATA_HELP = "folder with train.pt, val.pt, test.pt, or a file or folder of any known format"
BASE_DATA_HELP = "file of many people with a split (train or val) per workout"


class _Parser(argparse.ArgumentParser):
    """Reports an error in one line instead of a page of usage."""

    def error(self, message: str) -> NoReturn:
        print(f"error: {message}; see {self.prog} --help", file=sys.stderr)
        raise SystemExit(2)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the arguments; `command` is the command's name. Exits with 2 and one line on stderr for invalid ones."""
    parser = _Parser(prog="python -m hrmodel", description="Train and evaluate a personal heart-rate model offline.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in personal_stages():
        stage = STAGES[name]
        _add_stage(commands.add_parser(name, help=f"train from a {stage.starts_from} model: {stage.summary}"))
    _add_evaluate(commands.add_parser("evaluate", help=f"{', '.join(STAGES)} beside four baselines"))
    _add_predict(commands.add_parser("predict", help="heart rate of workouts, from a model that was trained"))
    _add_parameters(commands.add_parser("parameters", help="which parameters train in which stage"))
    _add_base(commands.add_parser("base", help="train the base model on many people"))
    return parser.parse_args(argv)


def hyperparameters(args: argparse.Namespace) -> dict[str, Any]:
    """The hyperparameters that the arguments set explicitly."""
    return {name: value for name in HYPERPARAMETERS if (value := getattr(args, name)) is not None}


def _add_stage(parser: argparse.ArgumentParser) -> None:
    _add_data(parser)
    _add_models(parser)
    _add_device(parser)
    text = "go on after the last finished epoch of an interrupted training with the same settings"
    parser.add_argument("--resume", action="store_true", help=text)
    parser.add_argument("--recipe", type=recipe_name, choices=list(RECIPES), default="auto", help="default %(default)s")
    _add_hyperparameters(parser)
    _add_out(parser)


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    _add_data(parser)
    _add_models(parser)
    _add_device(parser)
    _add_out(parser)


def _add_predict(parser: argparse.ArgumentParser) -> None:
    _add_data(parser)
    text = "the model (default: the last stage's best below --out, else an earlier one's, else the base model)"
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help=text)
    text = "read the first seconds of each workout's heart rate; default 0: none"
    parser.add_argument("--observed", type=_seconds, default=0.0, metavar="SECONDS", help=text)
    _add_device(parser)
    _add_out(parser)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not seconds >= 0:
        raise ValueError(text)
    return seconds


def _add_parameters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, metavar="DIR", help="ignored; accepted so that all commands take it")
    _add_models(parser)
    parser.add_argument("--stage", choices=personal_stages(), help="default: all, side by side")
    parser.add_argument("--freeze-layers", type=int, nargs="*", metavar="LAYER", help="instead of the stage's own")


def _add_base(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, metavar="FILE", help=BASE_DATA_HELP)
    parser.add_argument("--out", type=Path, default=SHIPPED_FOLDER, metavar="FOLDER", help="default %(default)s")
    parser.add_argument("--architecture", choices=sorted(ARCHITECTURES), default="lstm", help="default %(default)s")
    _add_hyperparameters(parser)


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help=DATA_HELP)
    parser.add_argument("--person", metavar="ID", help="whose workouts, where the data holds those of several people")
    parser.add_argument(
        "--units",
        choices=get_args(SpeedUnit),
        help="speed in train.pt, val.pt, test.pt (default km/h); others fix theirs",
    )
    text = "what the files are that name no sport (default: they are left out unless name, speed and steps tell a run)"
    parser.add_argument("--sport", choices=get_args(SaidSport), help=text)


def _add_models(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pretrained", type=Path, metavar="FILE", help="base model (default: the shipped one)")
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="model of an earlier stage")


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="default %(default)s")


def _add_out(parser: argparse.ArgumentParser) -> None:
    text = "where checkpoints/, results/ and logs/ are (default: here)"
    parser.add_argument("--out", type=Path, default=Path(), metavar="DIR", help=text)


def _add_hyperparameters(parser: argparse.ArgumentParser) -> None:
    for name in HYPERPARAMETERS:
        option = f"--{name.replace('_', '-')}"
        low, high = BOUNDS[name]
        if name == "freeze_layers":
            text = "layers that do not train; none when nothing follows"
            parser.add_argument(option, type=int, nargs="*", metavar="LAYER", help=text)
        else:
            kind = int if name in WHOLE else float
            parser.add_argument(option, type=kind, metavar="N", help=f"{low:g}..{high:g}; default: the recipe's")
