"""The `stagewise` command. Its commands import what they need themselves: `stagewise --help` loads no SQLAlchemy."""

import typer

from service.cli import jobs, keys, models, people, predicting, running, training
from service.cli.common import fail
from service.settings import WrongSettings, get_settings

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # they show local variables, which can be keys
)
for group in (running, people, training, jobs, models, predicting):
    app.registered_commands += group.app.registered_commands
app.add_typer(keys.app, name="keys")


@app.callback()
def checked(context: typer.Context) -> None:
    """Learn one person's heart-rate response from their workouts, and predict it."""
    if context.invoked_subcommand in ("doctor", "init-secrets"):  # report or write it
        return
    try:
        settings = get_settings()
        _ = settings.database_url, settings.broker_url
    except WrongSettings as error:
        fail(f"{error} Correct the variable: docs/reference/settings.md says what it may be.")
