"""Base, stage 1 and stage 2 side by side on one person's test workouts, beside what is easy."""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hrmodel.evaluation.baselines import BASELINES
from hrmodel.evaluation.calibration import calibrate
from hrmodel.evaluation.contenders import EvaluationData
from hrmodel.evaluation.protocols import PROTOCOLS
from hrmodel.evaluation.report import SCORE_PROTOCOLS, Report, evaluate
from hrmodel.offline.console import progress_bar
from hrmodel.offline.data import training_digest
from hrmodel.offline.errors import UserError
from hrmodel.offline.paths import Folders, shipped_base
from hrmodel.offline.start import Found, read_base, read_checkpoint
from hrmodel.prediction.predictor import Predictor

VERSIONS = ("base", "stage1", "stage2")
EXTRA = "checkpoint"  # the column of --checkpoint
MISSING = "-"
log = logging.getLogger("hrmodel.evaluate")


def evaluate_versions(
    data: EvaluationData,
    folders: Folders,
    device: str,
    *,
    pretrained: Path | None = None,
    checkpoint: Path | None = None,
) -> None:
    """Score every version that exists, print the table and write results/evaluation.json.

    `checkpoint` is scored in a column of its own. Without test workouts the file says so and holds no numbers. Raises
    UserError when no version exists or a named file is missing.
    """
    found = _versions(folders, pretrained, checkpoint) if data.test else {}
    if not data.test:
        log.warning("there are no test workouts: nothing can be scored")
    reports = _score(found, data, device)
    for line in table(reports, [*VERSIONS, EXTRA] if checkpoint else list(VERSIONS)):
        log.info("%s", line)
    _write(folders.evaluation, data, found, reports)
    log.info("wrote %s", folders.evaluation)


def table(reports: Mapping[str, Report], versions: list[str]) -> list[str]:
    """The lines of the table: mean absolute error in bpm by protocol, mean over test workouts, and the score."""
    if not reports:
        return []
    columns = {version: _errors(reports.get(version, {}).get("protocols", {}), "mean") for version in versions}
    baselines = next(iter(reports.values()))["baselines"]
    columns |= {name: _errors(baselines[name]) for name in BASELINES}
    rows = [*PROTOCOLS, "score"]
    lines = ["".join([f"{'MAE, bpm':10}", *(f"{name:>15}" for name in columns)])]
    for row in rows:
        cells = (_cell(errors.get(row)) for errors in columns.values())
        lines.append("".join([f"{row:10}", *(f"{cell:>15}" for cell in cells)]))
    return lines


def _versions(folders: Folders, pretrained: Path | None, checkpoint: Path | None) -> dict[str, Found]:
    """The versions that can be scored, each note about a missing one logged."""
    found: dict[str, Found] = {}
    if pretrained or shipped_base().exists():
        found["base"] = read_base(pretrained)
    else:
        log.info("base %s: %s is missing; name another file with --pretrained FILE", MISSING, shipped_base())
    for stage in VERSIONS[1:]:
        path = folders.best(stage)
        if path.exists():
            found[stage] = read_checkpoint(path)
        else:
            log.info("%s %s: %s is missing; run `python -m hrmodel %s --data DIR`", stage, MISSING, path, stage)
    if checkpoint is not None:
        if not checkpoint.exists():
            raise UserError(f"--checkpoint {checkpoint} does not exist.")
        found[EXTRA] = read_checkpoint(checkpoint)
    for name in [name for name, version in found.items() if version.warning]:
        log.warning("%s %s: not scored. %s", name, MISSING, found.pop(name).warning)
    if not found:
        raise UserError("There is no model to evaluate: run `python -m hrmodel stage1 --data DIR` first.")
    return found


def _score(found: Mapping[str, Found], data: EvaluationData, device: str) -> dict[str, Report]:
    """Each version's report, under its own level, tracked from 0, with bands of the validation workouts."""
    reports: dict[str, Report] = {}
    with progress_bar("evaluate") as show:
        for name, version in found.items():
            _warn_of_other_data(name, version, data)
            done = len(reports)

            def show_share(share: float, done: int = done) -> None:
                show((done + share) / len(found))

            reports[name] = _report(version, data, device, show_share)
    return reports


def _report(version: Found, data: EvaluationData, device: str, on_progress: Callable[[float], None]) -> Report:
    checkpoint = version.checkpoint
    own = replace(data, level=checkpoint.level or data.level)
    bands = calibrate(Predictor(checkpoint, device), own.val, level=own.level, fallback=checkpoint.intervals)
    return evaluate(Predictor(replace(checkpoint, intervals=bands), device), own, on_progress=on_progress)


def _warn_of_other_data(name: str, version: Found, data: EvaluationData) -> None:
    personal = version.checkpoint.level is not None
    if personal and version.checkpoint.data_digest != training_digest(data):
        log.warning("%s was trained on other data than this: it may know some of these test workouts", name)


def _errors(protocols: Mapping[str, Any], part: str | None = None) -> dict[str, float | None]:
    """Mean absolute error by protocol, and the score."""
    tables = {name: table[part] if part else table for name, table in protocols.items()}
    errors: dict[str, float | None] = {name: values.get("mae") for name, values in tables.items()}
    scored = [error for name in SCORE_PROTOCOLS if (error := errors.get(name)) is not None]
    errors["score"] = sum(scored) / len(scored) if len(scored) == len(SCORE_PROTOCOLS) else None
    return errors


def _cell(error: float | None) -> str:
    return MISSING if error is None else f"{error:.2f}"


def _write(path: Path, data: EvaluationData, found: Mapping[str, Found], reports: Mapping[str, Report]) -> None:
    content = {
        "data_digest": training_digest(data),
        "workouts": {"train": len(data.train), "val": len(data.val), "test": len(data.test)},
        "files": {name: str(version.path) for name, version in found.items()},
        "versions": {name: reports.get(name) for name in (*VERSIONS, *(EXTRA,) * (EXTRA in found))},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")
