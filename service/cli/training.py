"""Commands that train."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hrmodel.training.stages import STAGES, personal_stages, way_to
from service.cli.common import JsonOption, connected, fail, whole_id
from service.cli.jobs import Watch, accepted

if TYPE_CHECKING:
    from service.client.client import Client

app = typer.Typer()

DatasetOption = Annotated[str | None, typer.Option(help="An upload's id; else the subject's newest that is ready.")]
Whose = Annotated[str, typer.Option("--subject", help="The person.")]
Recipe = Annotated[str, typer.Option(help="auto, or original: the original's hyperparameters.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A hyperparameter, such as epochs=30; may be given again."),
]


def _add_command(stage: str) -> None:
    """Add the command that has the name of a personal stage."""
    about = STAGES[stage]
    start = f"the newest {about.starts_from}, waited for while it trains" if len(way_to(stage)) > 1 else "a base model"
    text = f"Train {stage} of a person from {start}: {about.summary}."

    @app.command(stage, help=text)
    def train(
        subject: Whose = "me",
        dataset: DatasetOption = None,
        recipe: Recipe = "auto",
        settings: Set = None,
        watch: Watch = False,
        as_json: JsonOption = False,
    ) -> None:
        hyperparameters = dict(_setting(text) for text in settings or [])
        with connected() as api:
            chosen = _dataset(api, subject, dataset)
            job = api.submit_stage(stage, chosen, recipe=recipe, hyperparameters=hyperparameters)
            accepted(api, job, watch, as_json)


for _stage in personal_stages():
    _add_command(_stage)


@app.command()
def fleet(
    subjects: Annotated[list[str] | None, typer.Argument(help="People; all by default.")] = None,
    recipe: Recipe = "auto",
    watch: Watch = False,
    as_json: JsonOption = False,
) -> None:
    """Personalise many people: a job per person and stage, all under one parent."""
    with connected() as api:
        job = api.submit_fleet(subjects=subjects or "all", recipe=recipe)
        if job["fleet"] and job["fleet"]["unchanged"] and not as_json:
            count = job["fleet"]["unchanged"]
            people = "1 person has" if count == 1 else f"{count} people have"
            said = f"{people} no new workouts since the last training: skipped."
            typer.echo(f"{said} Who is named is trained all the same.", err=True)
        accepted(api, job, watch, as_json)


def _setting(text: str) -> tuple[str, Any]:
    """epochs=30 -> ("epochs", 30)."""
    import json

    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except ValueError:
        fail(f"--set {text}: write NAME=NUMBER, such as epochs=30 or freeze_layers=[0].")


def _dataset(api: "Client", subject: str, dataset: str | None) -> str:
    """The upload's id, which may be shortened; without one, the subject's newest that is ready."""
    if dataset:
        return whole_id(dataset, api.list_datasets(), "upload")
    ready = (each["id"] for each in api.list_datasets(subject=subject) if each["state"] == "ready")
    found = next(ready, None)
    if found is None:
        fail(f"No upload of {subject} is ready: stagewise import FILE --subject {subject}")
    return found
