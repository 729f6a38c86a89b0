"""The `stagewise` command. Commands import what they need when they run: `stagewise --help` loads Typer only, and a
command that asks the API loads neither SQLAlchemy nor torch.
"""  # fmt: skip

import atexit
import gc

import typer

from service.cli import jobs, keys, models, people, predicting, running, training
from service.cli.common import fail

RARELY = 50_000  # objects between two garbage collections
app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,  # plain text: loading rich takes longer than all else
    context_settings={"max_content_width": 120},
    pretty_exceptions_enable=False,  # they show local variables, which can be keys
)
for group in (running, people, training, jobs, models, predicting):
    app.registered_commands += group.app.registered_commands
app.add_typer(keys.app, name="keys")


@app.callback()
def checked(context: typer.Context) -> None:
    """Learn one person's heart-rate response from their workouts, and predict it."""
    if context.invoked_subcommand != "up":
        _collect_rarely()
    if context.invoked_subcommand in ("doctor", "init-secrets"):  # report or write it
        return
    from service.settings import WrongSettings, get_settings

    try:
        settings = get_settings()
        _ = settings.database_url, settings.broker_url
    except WrongSettings as error:
        fail(f"{error} Correct the variable: docs/reference/settings.md says what it may be.")


def _collect_rarely() -> None:
    """Save a quarter of a short command's time: most of it is loading libraries, which leave no garbage."""
    gc.set_threshold(RARELY)
    atexit.register(gc.freeze)  # the end of the process frees everything
