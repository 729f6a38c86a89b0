"""Output of `stagewise import`: the verdict on each file and workout, and the next command."""

import json
import shlex
from collections.abc import Iterator
from datetime import datetime

from rich.console import Console
from rich.table import Table

from hrmodel.training.stages import personal_stages
from service.cli.import_files import Imported
from service.client.client import Json
from service.settings import Settings

MAX_FILES, MAX_WORKOUTS = 20, 40  # that are shown one by one
FIRST_YEAR = 1990  # before it: no clock, or one that was never set
VERDICTS = ("kept", "repaired", "dropped")


def show(imported: Imported, settings: Settings, *, as_json: bool) -> None:
    """Print the report on standard output."""
    if as_json:
        print(json.dumps(imported.report, indent=2))
        return
    # no markup: a file's name may look like markup
    console = Console(markup=False, emoji=False, highlight=False)
    report = imported.report
    if report["files"]:
        console.print(_files(report["files"], report["summary"]["files"]))
    if 0 < len(report["workouts"]) <= MAX_WORKOUTS:
        console.print(_workouts(report["workouts"]))
    if report["workouts"]:
        console.print(_reasons(report["summary"]))
    for line in _end(imported, settings):
        console.print(line, soft_wrap=True)


def _files(files: list[Json], every: int) -> Table:
    """Those with a problem first."""
    table = Table("file", "format", "workouts", "problem", title="Files", title_justify="left")
    shown = sorted(files, key=lambda file: file["problem"] is None)[:MAX_FILES]
    for file in shown:
        table.add_row(file["name"], file["format"] or "", str(file["workouts"]), file["problem"] or "")
    if every > len(shown):
        table.add_row(f"and {every - len(shown):,} more")
    return table


def _workouts(workouts: list[Json]) -> Table:
    table = Table("start (UTC)", "minutes", "verdict", "why", title="Workouts", title_justify="left")
    for workout in workouts:
        repaired = workout["verdict"] == "repaired"
        reasons = "; ".join(reason["message"] + (_samples(reason) if repaired else "") for reason in workout["reasons"])
        minutes = f"{workout['duration_s'] / 60:.0f}"
        table.add_row(_instant(workout["started_at"]), minutes, workout["verdict"], reasons)
    return table


def _samples(reason: Json) -> str:
    return f" ({reason['samples']:,} samples)" if reason["samples"] else ""


def _instant(text: str | None) -> str:
    """Without a clock the instants only give the order."""
    instant = datetime.fromisoformat(text) if text else None
    return f"{instant:%Y-%m-%d %H:%M}" if instant and instant.year >= FIRST_YEAR else ""


def _reasons(summary: Json) -> Table:
    """Every verdict with the reasons for it."""
    table = Table("verdict", "workouts", "why", title="In short", title_justify="left")
    for verdict in VERDICTS:
        table.add_row(verdict, f"{summary['verdicts'][verdict]:,}", "")
        for reason in summary["reasons"]:
            if reason["verdict"] == verdict:
                sports = summary["other_sports"] if reason["code"] == "not_running" else {}
                named = ", ".join(f"{sport} {number:,}" for sport, number in sports.items())
                why = reason["sentence"] + (f" ({named})" if named else "")
                why += _samples(reason) if verdict == "repaired" else ""
                table.add_row("", f"{reason['workouts']:,}", why)
    return table


def _end(imported: Imported, settings: Settings) -> Iterator[str]:
    """The split and the command that comes next, if the dataset is ready."""
    if imported.failure:
        return
    dataset, splits = imported.dataset, imported.report["summary"]["splits"]
    whose = dataset["subject"] or "many people"
    counts = ", ".join(f"{splits[split]:,} {split}" for split in ("train", "val", "test"))
    yield f"Dataset {dataset['id']} of {whose} is ready: {counts}."
    population = dataset["kind"] == "population"
    if not splits["val"]:
        yield "The base model follows these workouts. To train a model of your own it takes 8 usable ones."
        return
    if not population:
        yield "Next, train both stages:"
        subject = shlex.quote(dataset["subject"] or "")
        yield " && ".join(f"stagewise {stage} --subject {subject} --watch" for stage in personal_stages())
        return
    key = "$STAGEWISE_API_KEY" if settings.api_key else f"$(cat {shlex.quote(str(settings.key_file))})"
    body = json.dumps({"dataset_id": dataset["id"]})
    yield "Next, train a base model on them:"
    headers = f'-H "Authorization: Bearer {key}" -H "Content-Type: application/json"'
    yield f"curl -sS {headers} {settings.api_url}/jobs/base -d '{body}'"
