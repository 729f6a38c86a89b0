"""Commands about model versions."""

from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from service.cli.common import JsonOption, LimitOption, connected, fail, show_json, table, whole_id

app = typer.Typer()

VersionArgument = Annotated[str, typer.Argument(help="The version's id, or the first characters of it.")]


@app.command()
def models(
    subject: Annotated[str | None, typer.Option(help="Only this person's.")] = None,
    stage: Annotated[str | None, typer.Option(help="Only of this stage.")] = None,
    limit: LimitOption = 20,
    as_json: JsonOption = False,
) -> None:
    """List the newest model versions and their errors."""
    with connected() as api:
        found = list(islice(api.list_models(subject=subject, stage=stage), limit))
    if as_json:
        show_json(found)
        return
    rows = table("version", "stage", "of", "error", "serves", "made (UTC)")
    for version in found:
        error = "" if version["score"] is None else f"{version['score']:.2f} bpm"
        whose = version["subject"] or ("shipped" if version["shipped"] else "")
        made = version["created_at"][:16].replace("T", " ")
        rows.add_row(version["id"][:8], version["stage"], whose, error, "yes" if version["champion"] else "", made)
    rows.show("There are no such versions.")


@app.command()
def promote(
    version: VersionArgument,
    force: Annotated[bool, typer.Option("--force", help="Also when it is not better.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Promote a version, if it is better than the champion of its subject."""
    with connected() as api:
        champion = api.promote_model(whole_id(version, api.list_models(), "version"), force=force)
    if as_json:
        show_json(champion)
    else:
        typer.echo(f"{champion['stage']} ({champion['model_version_id']}) serves {champion['subject']} now.")


@app.command()
def export(
    version: VersionArgument,
    form: Annotated[str, typer.Option("--format", help="safetensors, pt or onnx.")] = "safetensors",
    out: Annotated[Path | None, typer.Option(help="The file to write; - for standard output.")] = None,
) -> None:
    """Write a version's file to this machine."""
    with connected() as api:
        whole = whole_id(version, api.list_models(), "version")
        content = api.download_model(whole, format=form)
    target = out or Path(f"stagewise-{whole[:8]}.{form}")
    if str(target) == "-":
        typer.get_binary_stream("stdout").write(content)
        return
    try:
        target.write_bytes(content)
    except OSError as error:
        fail(f"{target} cannot be written: {error.strerror}.")
    typer.echo(f"Wrote {target} ({len(content):,} bytes).", err=True)
