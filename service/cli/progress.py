"""Progress bars of the commands. Commands import this module when they need it: `rich` takes a while to load."""

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn


def progress_bars(console: Console, *, quiet: bool = False) -> Progress:
    """Bars whose tasks have a field `state`: a few words beside the bar."""
    name, state = TextColumn("{task.description:8}"), TextColumn("{task.fields[state]:9}")
    return Progress(name, BarColumn(), TaskProgressColumn(), state, TimeElapsedColumn(), console=console, disable=quiet)
