"""The `stagewise` command. Its commands import what they need themselves: `stagewise --help` loads no SQLAlchemy."""

import typer

from service.cli import jobs, keys, models, people, predicting, running, training

app = typer.Typer(
    help="Learn one person's heart-rate response from their workouts, and predict it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # they show local variables, which can be keys
)
for group in (running, people, training, jobs, models, predicting):
    app.registered_commands += group.app.registered_commands
app.add_typer(keys.app, name="keys")
