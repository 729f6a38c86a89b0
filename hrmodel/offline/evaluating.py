"""The models of all stages side by side on one person's test workouts, beside the baselines."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hrmodel.evaluation.calibration import states_and_report
from hrmodel.evaluation.forecasters import EvaluationData, NetworkForecaster
from hrmodel.evaluation.picture import draw_evaluation
from hrmodel.evaluation.report import Report
from hrmodel.evaluation.scores import ignore
from hrmodel.network.checkpoint import Checkpoint
from hrmodel.offline.console import progress_bar
from hrmodel.offline.data import training_digest
from hrmodel.offline.errors import UserError
from hrmodel.offline.paths import Folders, shipped_base
from hrmodel.offline.start import ModelFile, read_base, read_checkpoint
from hrmodel.offline.tables import MISSING, error_table, reliability_table, workout_table
from hrmodel.prediction.predictor import Predictor
from hrmodel.training.stages import STAGES, personal_stages

EXTRA = "checkpoint"  # the column of --checkpoint
log = logging.getLogger("hrmodel.evaluate")


def evaluate_versions(
    data: EvaluationData,
    folders: Folders,
    device: str,
    *,
    pretrained: Path | None = None,
    checkpoint: Path | None = None,
) -> None:
    """Score every version that exists, print tables and write results/evaluation.json and results/evaluation.png.

    `checkpoint` is scored in a column of its own. The picture and the tables of bands and workouts are of the version
    with the lowest score. Without test workouts the file holds no numbers, and there is no picture. Raises UserError
    when no version exists or a named file is missing.
    """
    versions = _versions(folders, pretrained, checkpoint) if data.test else {}
    if not data.test:
        log.warning("there are no test workouts: nothing can be scored")
    reports = _score(versions, data, device)
    _say(error_table(reports, [*STAGES, EXTRA] if checkpoint else list(STAGES)))
    _write(folders.evaluation, data, versions, reports)
    log.info("wrote %s", folders.evaluation)
    _show_best(folders.evaluation.with_suffix(".png"), reports)


def _show_best(picture: Path, reports: Mapping[str, Report]) -> None:
    """Draw and print the version with the lowest score, of equals the earlier one. Without a score, no picture."""
    errors = {name: report["score"] for name, report in reports.items() if report["score"] is not None}
    picture.unlink(missing_ok=True)  # a picture of an earlier evaluation would lie beside the new numbers
    if not errors:
        return
    best = min(errors, key=errors.__getitem__)
    _say(reliability_table(best, reports[best]))
    _say(workout_table(best, reports[best]))
    draw_evaluation(reports[best], picture, f"{best}, the best of {', '.join(errors)}" if len(errors) > 1 else best)
    log.info("wrote %s, of %s", picture, best)


def _say(lines: Sequence[str]) -> None:
    for line in lines:
        log.info("%s", line)


def _versions(folders: Folders, pretrained: Path | None, checkpoint: Path | None) -> dict[str, ModelFile]:
    """The versions that can be scored, each note about a missing one logged."""
    versions: dict[str, ModelFile] = {}
    if pretrained or shipped_base().exists():
        versions["base"] = read_base(pretrained)
    else:
        log.info("base %s: %s is missing; name another file with --pretrained FILE", MISSING, shipped_base())
    for stage in personal_stages():
        path = folders.best(stage)
        if path.exists():
            versions[stage] = read_checkpoint(path)
        else:
            log.info("%s %s: %s is missing; run `python -m hrmodel %s --data DIR`", stage, MISSING, path, stage)
    if checkpoint is not None:
        if not checkpoint.exists():
            raise UserError(f"--checkpoint {checkpoint} does not exist.")
        versions[EXTRA] = read_checkpoint(checkpoint)
    for name in [name for name, version in versions.items() if version.warning]:
        log.warning("%s %s: not scored. %s", name, MISSING, versions.pop(name).warning)
    if not versions:
        first = f"run `python -m hrmodel {personal_stages()[0]} --data DIR` first"
        raise UserError(f"There is no model to evaluate: {first}.")
    return versions


def _score(versions: Mapping[str, ModelFile], data: EvaluationData, device: str) -> dict[str, Report]:
    """Each version's report, under its own level; response and bands are followed from the first workout on."""
    reports: dict[str, Report] = {}
    with progress_bar("evaluate") as show:
        for name, version in versions.items():
            _warn_of_other_data(name, version, data)
            done = len(reports)

            def show_share(share: float, done: int = done) -> None:
                show((done + share) / len(versions))

            reports[name] = report_of(version.checkpoint, data, device, show_share)
    return reports


def report_of(
    model: Checkpoint, data: EvaluationData, device: str = "cpu", on_progress: Callable[[float], None] = ignore
) -> Report:
    """The model's report on a person's test workouts, in the scale that it was trained in; a base in theirs."""
    own = replace(data, level=model.level or data.level)
    network = NetworkForecaster(predictor=Predictor(model, device), level=own.level)
    _, report = states_and_report(network, own, on_progress)
    return report


def _warn_of_other_data(name: str, version: ModelFile, data: EvaluationData) -> None:
    personal = version.checkpoint.level is not None
    if personal and version.checkpoint.data_digest != training_digest(data):
        log.warning("%s was trained on other data than this: it may know some of these test workouts", name)


def _write(path: Path, data: EvaluationData, versions: Mapping[str, ModelFile], reports: Mapping[str, Report]) -> None:
    content = {
        "data_digest": training_digest(data),
        "workouts": {"train": len(data.train), "val": len(data.val), "test": len(data.test)},
        "files": {name: str(version.path) for name, version in versions.items()},
        "versions": {name: reports.get(name) for name in (*STAGES, *(EXTRA,) * (EXTRA in versions))},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")
