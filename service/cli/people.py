"""Commands about people and their workouts."""

from pathlib import Path
from typing import Annotated

import typer

from service.cli.common import JsonOption, SubjectArgument, connected, fail, show_json, table

app = typer.Typer()


@app.command("import")
def import_(
    files: Annotated[list[Path], typer.Argument(help="Exports as they are: files, zips of them, folders.")],
    subject: Annotated[str | None, typer.Option(help="Whose workouts they are; `me` unless told otherwise.")] = None,
    name: Annotated[str | None, typer.Option(help="A name for the dataset; else that of the file.")] = None,
    kind: Annotated[str, typer.Option(help="personal, or population for workouts of many people.")] = "personal",
    min_hr_per_minute: Annotated[
        float | None, typer.Option(help="Workouts with fewer heart-rate readings a minute are dropped; 6 if not given.")
    ] = None,
    speed_unit: Annotated[str | None, typer.Option(help="m/s, km/h, mi/h or min/km, if the files do not say.")] = None,
    altitude_unit: Annotated[str | None, typer.Option(help="m or ft, if the files do not say.")] = None,
    sport: Annotated[str | None, typer.Option(help="running: what the files are that name no sport.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Upload workouts of one person as a dataset to a service that runs, and show what became of them."""
    from service.cli.import_files import ImportFailed, import_files
    from service.cli.import_show import show
    from service.settings import get_settings

    given = {"subject": subject, "name": name, "kind": kind, "min_hr_per_minute": min_hr_per_minute}
    given |= {"speed_unit": speed_unit, "altitude_unit": altitude_unit, "sport": sport}
    query = {option: value for option, value in given.items() if value is not None}
    try:
        imported = import_files(files, query, get_settings(), quiet=as_json)
    except ImportFailed as error:
        fail(str(error))
    show(imported, get_settings(), as_json=as_json)
    if imported.failure:
        fail(imported.failure)


@app.command()
def subjects(as_json: JsonOption = False) -> None:
    """List all people, and the model that serves each."""
    with connected() as api:
        found = list(api.list_subjects())
    if as_json:
        show_json(found)
        return
    rows = table("subject", "usual heart rate", "workouts", "served by", "since")
    for each in found:
        level, champion = each["level"] or {}, each["champion"]
        rate = f"{level['heart_rate']:.0f} bpm" if level else ""
        served = (champion["stage"], champion["since"][:10]) if champion else ("", "")
        rows.add_row(each["name"], rate, str(level.get("workouts", "")), *served)
    rows.show("No people yet: stagewise import FILE")


@app.command()
def rollback(subject: SubjectArgument = "me", as_json: JsonOption = False) -> None:
    """Roll a person back to the previous champion."""
    with connected() as api:
        champion = api.roll_champion_back(subject)
    if as_json:
        show_json(champion)
    else:
        typer.echo(f"{champion['stage']} ({champion['model_version_id']}) serves {subject} again.")
