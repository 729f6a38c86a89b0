"""The commands of `python -m hrmodel`."""

import argparse
import sys
from datetime import datetime
from pathlib import Path

import torch

from hrmodel.network.architectures import build_network
from hrmodel.network.config import NetworkConfig
from hrmodel.offline.arguments import hyperparameters
from hrmodel.offline.base import train_base
from hrmodel.offline.console import logging_to
from hrmodel.offline.data import load_data, read_person
from hrmodel.offline.errors import USER_ERRORS, Interrupted, UserError, sentence
from hrmodel.offline.evaluating import evaluate_versions
from hrmodel.offline.parameters import parameter_table
from hrmodel.offline.paths import Folders
from hrmodel.offline.predicting import find_model, predict_workouts
from hrmodel.offline.stages import StageRun, train_stage
from hrmodel.offline.start import announce, choose_device, read_checkpoint, read_start
from hrmodel.training.stages import STAGES, personal_stages, resolve
from hrmodel.workouts.units import Units

INTERRUPTED, USER_ERROR = 130, 2  # exit codes


def run(args: argparse.Namespace) -> int:
    """Run one command; returns its exit code. User errors are one sentence on stderr, never a traceback."""
    torch.set_num_threads(1)  # one LSTM step is too little to share: a second thread mostly waits, and slows a batch
    try:
        COMMANDS.get(args.command, train)(args)
    except KeyboardInterrupt:
        return _say("Interrupted.", INTERRUPTED)
    except Interrupted as error:
        return _say(str(error), INTERRUPTED)
    except USER_ERRORS as error:
        return _say(f"error: {sentence(error)}", USER_ERROR)
    return 0


def train(args: argparse.Namespace) -> None:
    """Train a personal stage."""
    resolve(args.command, args.recipe, hyperparameters(args), workouts=0)  # reports a wrong value before files are read
    device, folders = choose_device(args.device), Folders(args.out)
    start = read_start(args.command, args.pretrained, args.checkpoint, folders)
    with logging_to(folders.new_log(args.command)):
        announce(start)
        data = load_data(args.data, person=args.person, units=_units(args), sport=args.sport)
        config = resolve(args.command, args.recipe, hyperparameters(args), workouts=len(data.train))
        train_stage(
            StageRun(
                stage=config,
                recipe=args.recipe,
                start=start.checkpoint,
                data=data,
                device=device,
                folders=folders,
                resume=args.resume,
            )
        )


def evaluate(args: argparse.Namespace) -> None:
    """Score every version that exists."""
    device = choose_device(args.device)
    with logging_to(None):
        data = load_data(args.data, person=args.person, units=_units(args), sport=args.sport)
        evaluate_versions(data, Folders(args.out), device, pretrained=args.pretrained, checkpoint=args.checkpoint)


def predict(args: argparse.Namespace) -> None:
    """Predict workouts with a model that was trained."""
    device, folders = choose_device(args.device), Folders(args.out)
    with logging_to(None):
        model = find_model(folders, args.checkpoint)
        workouts = read_person(args.data, args.person, _units(args), args.sport)
        predict_workouts(workouts, model, folders, device, observed=args.observed)


def parameters(args: argparse.Namespace) -> None:
    """Print which parameters train."""
    file = args.checkpoint or args.pretrained
    model = read_checkpoint(file).checkpoint.build() if file else build_network(NetworkConfig())
    stages = [args.stage] if args.stage else personal_stages()
    frozen = {stage: STAGES[stage].original.freeze_layers for stage in stages}
    if args.freeze_layers is not None:
        frozen = {args.stage or "chosen": args.freeze_layers}
    print("\n".join(parameter_table(model, frozen)))


def base(args: argparse.Namespace) -> None:
    """Train the base model."""
    with logging_to(Path("logs") / f"training_base_{datetime.now():%Y%m%d_%H%M%S}.log"):
        try:
            train_base(args.data, args.out, hyperparameters(args), args.architecture)
        except ValueError as error:
            raise UserError(str(error)) from error


COMMANDS = {  # all others train the personal stage of their name
    "evaluate": evaluate,
    "predict": predict,
    "parameters": parameters,
    "base": base,
}


def _units(args: argparse.Namespace) -> Units | None:
    return Units(speed=args.units) if args.units else None


def _say(message: str, code: int) -> int:
    print(message, file=sys.stderr)
    return code
