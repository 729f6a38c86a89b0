"""The `stagewise` command."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.settings import get_settings

if TYPE_CHECKING:
    from service.registry.session import Database

# The commands import what they need themselves: `stagewise --help` should not load SQLAlchemy, let alone torch.
app = typer.Typer(
    help="Learn one person's heart-rate response from their workouts, and predict it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # they show local variables, which can be keys
)
keys = typer.Typer(help="API keys.", no_args_is_help=True)
app.add_typer(keys, name="keys")

AccountOption = Annotated[str, typer.Option(help="Whose key: accounts see nothing of each other.")]


@app.command()
def up() -> None:
    """Run the whole service on this machine until Ctrl-C: a broker, the API and a worker."""
    from service.embedded import StartError, supervise

    try:
        supervise(get_settings())
    except StartError as error:
        fail(str(error))


@app.command()
def migrate(
    key_file: Annotated[Path | None, typer.Option(help="Also write an admin key here, unless it holds one.")] = None,
) -> None:
    """Bring the database up to date and put the shipped base model into the artifact folder."""
    from importlib.resources import files

    from service.registry import migrations
    from service.registry.artifacts import ArtifactStore
    from service.registry.shipped import install_shipped_base
    from service.secret_files import ensure_key

    settings = get_settings()
    settings.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    migrations.upgrade(settings.database_url)
    with opened() as database:
        install_shipped_base(database, ArtifactStore(settings.artifact_dir), Path(str(files("hrmodel.pretrained"))))
        if key_file is not None:
            ensure_key(database, key_file)


@app.command()
def api() -> None:
    """Run the HTTP API in this process."""
    from service.embedded import API

    settings = get_settings()
    os.execv(API[0], [*API, "--host", settings.host, "--port", str(settings.port)])


@app.command()
def worker() -> None:
    """Run a worker in this process: it trains what is queued, one job per GPU or core."""
    from service.embedded import WORKER

    os.execv(WORKER[0], WORKER)


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
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON and nothing else.")] = False,
) -> None:
    """Upload workouts of one person as a dataset to a service that runs, and show what became of them."""
    from service.import_files import ImportFailed, import_files
    from service.import_show import show

    given = {"subject": subject, "name": name, "kind": kind, "min_hr_per_minute": min_hr_per_minute}
    given |= {"speed_unit": speed_unit, "altitude_unit": altitude_unit}
    query = {option: value for option, value in given.items() if value is not None}
    try:
        imported = import_files(files, query, get_settings(), quiet=as_json)
    except ImportFailed as error:
        fail(str(error))
    show(imported, get_settings(), as_json=as_json)
    if imported.failure:
        fail(imported.failure)


@app.command()
def backup(file: Annotated[Path, typer.Argument(help="The file to write; - for standard output.")]) -> None:
    """Write everything into one file, also while the service runs. It holds heart rates: keep it private."""
    from service.archive import back_up

    with opened() as database:
        try:
            said = back_up(database, get_settings(), file)
        except OSError as error:
            fail(f"The backup could not be written to {file}: {error.strerror}.")
    typer.echo(said, err=True)


@app.command()
def restore(file: Annotated[Path, typer.Argument(help="A backup; - for standard input.")]) -> None:
    """Bring a backup back into an empty database and artifact folder, while no service runs on them."""
    from service.archive import bring_back
    from service.embedded import StartError
    from service.registry.restore import RestoreError

    try:
        typer.echo(bring_back(get_settings(), file), err=True)
    except (RestoreError, StartError) as error:
        fail(str(error))
    except OSError as error:
        fail(f"The backup {file} could not be restored: {error.strerror}.")


@app.command()
def demo(
    data: Annotated[Path | None, typer.Option(help="Your own export: a file or a folder.", exists=True)] = None,
) -> None:
    """Run the main job from upload to prediction on a service of its own, and show what came out."""
    from service.demo import DemoFailed, play
    from service.embedded import StartError

    try:
        play(data, get_settings().state_dir / "demo")
    except (DemoFailed, StartError) as error:
        fail(str(error))


@app.command()
def init_secrets(folder: Annotated[Path, typer.Argument(help="Where the secrets lie, one folder per reader.")]) -> None:
    """Make the random secrets that docker-compose.yml needs; those already there stay."""
    from service.secret_files import write_compose_secrets

    write_compose_secrets(folder)


@keys.command("create")
def create_key(
    name: Annotated[str, typer.Option(help="What the key is for.")] = "",
    account: AccountOption = "default",
    scopes: Annotated[str, typer.Option(help="Some of read, train, predict, admin.")] = "read,train,predict",
) -> None:
    """Make a key and print it. It is shown only here."""
    from service.registry import accounts

    with opened() as database, database.unit_of_work() as session:
        try:
            wanted = [scope.strip() for scope in scopes.split(",") if scope.strip()]
            text = accounts.create_key(session, accounts.ensure_account(session, account), name, wanted)
        except ValueError as error:
            fail(str(error))
    typer.echo(text)


@keys.command("list")
def list_keys() -> None:
    """Show all keys: their public part, never the secret."""
    from rich.console import Console
    from rich.table import Table
    from sqlalchemy import select

    from service.registry import accounts
    from service.registry.tables import Account

    table = Table("public part", "account", "name", "scopes", "made", "revoked")
    with opened() as database, database.reading() as session:
        names = {account.id: account.name for account in session.scalars(select(Account))}
        for key in accounts.list_keys(session):
            revoked = f"{key.revoked_at:%Y-%m-%d}" if key.revoked_at else ""
            made = f"{key.created_at:%Y-%m-%d}"
            table.add_row(key.public, names[key.account_id], key.name, " ".join(key.scopes), made, revoked)
    Console().print(table)


@keys.command("revoke")
def revoke_key(public: Annotated[str, typer.Argument(help="The key's public part: sw_<public part>_...")]) -> None:
    """Let a key open nothing any more."""
    from service.errors import NotFound
    from service.registry import accounts

    with opened() as database, database.unit_of_work() as session:
        try:
            accounts.revoke_key(session, public)
        except NotFound as error:
            fail(error.detail)
    typer.echo(f"Key {public} is revoked; a running API notices within a minute.")


@contextmanager
def opened() -> Iterator["Database"]:
    """The database of the settings; a missing or old schema ends the command with a sentence."""
    from sqlalchemy.exc import OperationalError

    from service.registry.migrations import schema_is_behind
    from service.registry.session import Database

    database = Database(get_settings().database_url)
    try:
        if schema_is_behind(database):
            fail("The database is not up to date: run `stagewise migrate` first.")
        yield database
    except OperationalError as error:
        fail(f"The database does not answer: {error.orig}. Is DATABASE_URL or STAGEWISE_STATE_DIR right?")
    finally:
        database.dispose()


def fail(sentence: str) -> None:
    """Say why on standard error, and end with status 1."""
    typer.echo(sentence, err=True)
    raise typer.Exit(1)


if __name__ == "__main__":
    app()
