"""Commands that run the service, keep it and bring it back."""

import os
from pathlib import Path
from typing import Annotated

import typer

from service.cli.common import JsonOption, fail, opened, show_json

app = typer.Typer()


@app.command()
def up() -> None:
    """Run the whole service on this machine until Ctrl-C: a broker, the API and a worker."""
    from service.local.embedded import StartError, supervise
    from service.local.preparing import said
    from service.registry.starting import NotPrepared
    from service.settings import get_settings

    settings = get_settings()
    try:
        with said(settings):
            supervise(settings)
    except (StartError, NotPrepared) as error:
        fail(str(error))


@app.command()
def migrate(
    key_file: Annotated[Path | None, typer.Option(help="Also write an admin key here, unless it holds one.")] = None,
) -> None:
    """Bring the database up to date and put the shipped base model into the artifact folder."""
    from service.local.preparing import prepare
    from service.registry.starting import NotPrepared
    from service.settings import get_settings

    try:
        prepare(get_settings(), key_file)
    except NotPrepared as error:
        fail(str(error))


@app.command()
def adopt(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Let the artifact folder belong to this database from now on, whatever database it belonged to before."""
    from service.local.embedded import StartError, only_one
    from service.local.preparing import said
    from service.registry import identity, migrations
    from service.registry.artifacts import ArtifactStore
    from service.registry.session import Database
    from service.registry.starting import NotPrepared
    from service.settings import get_settings

    settings = get_settings()
    store = ArtifactStore(settings.artifact_dir)
    try:
        with said(settings):
            settings.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            with only_one(settings.state_dir.resolve()):
                migrations.upgrade(settings.database_url)
                database = Database(settings.database_url)
                try:
                    typer.echo(identity.describe(database, store), err=True)
                    if not yes:
                        typer.confirm("No other database comes to this folder then. Go on?", abort=True, err=True)
                    identity.adopt(database, store)
                    typer.echo(identity.describe(database, store), err=True)
                finally:
                    database.dispose()
    except (StartError, NotPrepared) as error:
        fail(str(error))


@app.command()
def sweep(
    yes: Annotated[bool, typer.Option("--yes", help="Remove them.")] = False,
) -> None:
    """Show how many files of the artifact folder belong to no row for a day, and remove them if you say so."""
    from service.registry import identity, sweep
    from service.registry.artifacts import ArtifactStore
    from service.settings import get_settings

    store = ArtifactStore(get_settings().artifact_dir)
    with opened() as database:
        try:
            found = sweep.old_files(database, store, confirmed=True) if yes else sweep.plan(database, store)
        except identity.OtherStore as error:
            fail(str(error))
    typer.echo(f"{found}{' They are removed.' if yes else ' `stagewise sweep --yes` removes them.'}", err=True)


@app.command()
def api() -> None:
    """Run the HTTP API, a process for each core."""
    from service.local.embedded import API

    os.execv(API[0], API)


@app.command()
def worker() -> None:
    """Run a worker in this process: it trains what is queued, one job per GPU or core."""
    from service.local.embedded import WORKER
    from service.registry.artifacts import ArtifactStore
    from service.registry.starting import NotPrepared, check_start
    from service.settings import get_settings

    settings = get_settings()
    try:
        check_start(settings.database_url, ArtifactStore(settings.artifact_dir))
    except NotPrepared as error:  # Celery would say it as a line of JSON
        fail(str(error))
    os.execv(WORKER[0], WORKER)


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(help="The file to write; - for standard output.")],
    incomplete: Annotated[
        bool, typer.Option("--incomplete", help="Also when files are missing or damaged: without them.")
    ] = False,
) -> None:
    """Write everything into one file, also while the service runs. It holds heart rates: keep it private."""
    from service.cli.archive import back_up
    from service.registry.backup import IncompleteBackup
    from service.registry.identity import OtherStore
    from service.settings import get_settings

    with opened() as database:
        try:
            said = back_up(database, get_settings(), file, incomplete=incomplete)
        except OSError as error:
            fail(f"The backup could not be written to {file}: {error.strerror}.")
        except OtherStore as error:
            fail(str(error))
        except IncompleteBackup as error:
            fail(f"There is no backup: {error}. With --incomplete everything else is backed up.")
    typer.echo(said, err=True)


@app.command()
def restore(file: Annotated[Path, typer.Argument(help="A backup; - for standard input.")]) -> None:
    """Bring a backup back into an empty database and artifact folder, while no service runs on them."""
    from service.cli.archive import bring_back
    from service.local.embedded import StartError
    from service.local.preparing import said
    from service.registry.restore import RestoreError
    from service.registry.starting import NotPrepared
    from service.settings import get_settings

    try:
        with said(get_settings()):
            typer.echo(bring_back(get_settings(), file), err=True)
    except (RestoreError, StartError, NotPrepared) as error:
        fail(str(error))


@app.command()
def doctor(as_json: JsonOption = False) -> None:
    """Look for what is wrong with this installation, and say what to do. Changes nothing."""
    from dataclasses import asdict

    from rich.console import Console

    from service.cli.doctor import diagnose

    console = Console(markup=False, emoji=False, highlight=False, soft_wrap=True)
    colors = {"ok": "green", "warning": "yellow", "fault": "bold red", "skipped": "dim"}
    found = []
    for each in diagnose():
        found.append(each)
        if not as_json:
            console.print(f"{each.state:8}", style=colors[each.state], end="")
            console.print(f"{each.check}: {each.message}" + (f"\n        {each.help}" if each.help else ""))
    if as_json:
        show_json([asdict(each) for each in found])
    if any(each.state == "fault" for each in found):
        raise typer.Exit(1)


@app.command()
def demo(
    data: Annotated[Path | None, typer.Option(help="Your own export: a file or a folder.", exists=True)] = None,
) -> None:
    """Run the main job from upload to prediction on a service of its own, and show what came out."""
    from service.cli.demo import DemoFailed, play
    from service.local.embedded import StartError
    from service.local.preparing import said
    from service.registry.starting import NotPrepared
    from service.settings import get_settings

    try:
        with said(get_settings()):
            play(data, get_settings().state_dir / "demo")
    except (DemoFailed, StartError, NotPrepared) as error:
        fail(str(error))


@app.command()
def init_secrets(folder: Annotated[Path, typer.Argument(help="Where the secrets lie, one folder per reader.")]) -> None:
    """Make the random secrets that docker-compose.yml needs; those already there stay."""
    from service.local.secret_files import write_compose_secrets

    write_compose_secrets(folder)
