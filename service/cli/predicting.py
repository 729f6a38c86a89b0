"""`stagewise predict`: a workout from a file, predicted by the API."""

from pathlib import Path
from typing import Annotated

import typer

from service.cli.common import JsonOption, SubjectOption, connected, fail, show_json

app = typer.Typer()


@app.command()
def predict(
    file: Annotated[Path, typer.Argument(help="A workout of any known format, or a CSV of t, speed, altitude.")],
    subject: SubjectOption = "me",
    number: Annotated[
        int | None, typer.Option("--workout", min=1, help="Which one of the file, from 1; else the newest.")
    ] = None,
    observed: Annotated[float, typer.Option(min=0.0, help="Seconds of the file's heart rate that are told.")] = 0.0,
    plot: Annotated[Path | None, typer.Option(help="Draw measured and predicted into this PNG.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the prediction into this CSV.")] = None,
    sport: Annotated[str | None, typer.Option(help="running: what the file is if it names no sport.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Predict the heart rate of a workout: before it (blind), or after its first minutes (--observed 180)."""
    from service.cli.workout_files import UnreadableWorkout, ask, draw, read, summary, write_csv

    try:
        workout = read(file, number, sport)
    except UnreadableWorkout as error:
        fail(str(error))
    with connected() as api:
        answer = api.predict(**ask(workout, subject, observed))
    try:
        if plot is not None:
            draw(workout, answer, observed, plot)
        if out is not None:
            write_csv(workout, answer, out)
    except OSError as error:
        fail(f"{error.filename} cannot be written: {error.strerror}.")
    if as_json:
        show_json(answer)
        return
    typer.echo(summary(workout, answer))
    for written in (plot, out):
        if written is not None:
            typer.echo(f"Wrote {written}.", err=True)
