"""What commands share: a connection to the API, ids that may be shortened, tables, JSON, and how they end."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from service.settings import get_settings

if TYPE_CHECKING:
    from rich.table import Table

    from service.client.client import Client
    from service.registry.session import Database

SHORTEST_ID, LOOKED_AT = 6, 500
JsonOption = Annotated[bool, typer.Option("--json", help="Print the API's JSON and nothing else.")]
SubjectArgument = Annotated[str, typer.Argument(help="The person.")]
SubjectOption = Annotated[str, typer.Option(help="The person.")]


@contextmanager
def connected() -> "Iterator[Client]":
    """A client of the API that the settings name; an error ends the command with a sentence."""
    from service.cli.import_files import ImportFailed, key_of
    from service.client.client import Client, NoAnswer, RequestFailed

    settings = get_settings()
    try:
        with Client(settings.api_url, key_of(settings)) as client:
            yield client
    except NoAnswer as error:
        start = "Start it with `stagewise up`, or say with STAGEWISE_URL where it is; `stagewise doctor` looks closer."
        fail(f"{error} ({settings.api_url}). {start}")
    except (RequestFailed, ImportFailed) as error:
        fail(str(error))


def whole_id(given: str, found: Iterable[Any], what: str) -> str:
    """A whole id, or the id in `found` with this prefix; else the command ends."""
    if len(given) == 36:
        return given
    fits = sorted({each["id"] for each in islice(found, LOOKED_AT) if each["id"].startswith(given)})
    if len(given) < SHORTEST_ID or not fits:
        fail(f"There is no {what} {given!r}. Give its id, or at least {SHORTEST_ID} characters of one of the newest.")
    if len(fits) > 1:
        fail(f"{given!r} fits {len(fits)} {what}s: {', '.join(fits[:5])}. Give more of it.")
    return str(fits[0])


def show_json(value: Any) -> None:
    """On standard output, nothing else."""
    print(json.dumps(value, indent=2))


LimitOption = Annotated[int, typer.Option(min=1, max=1_000_000, help="How many at most.")]


class TextTable:
    """A table that is collected, then printed."""

    def __init__(self, table: "Table") -> None:
        self._table = table

    def add_row(self, *cells: str) -> None:
        """One row."""
        self._table.add_row(*cells)

    def show(self, empty: str) -> None:
        """Print it, or `empty` when there is no row."""
        from rich.console import Console

        # no markup: a name may look like markup
        console = Console(markup=False, emoji=False, highlight=False)
        console.print(self._table if self._table.row_count else empty, soft_wrap=not self._table.row_count)


def table(*columns: str) -> TextTable:
    """An empty table."""
    from rich.table import Table

    made = Table()
    for column in columns:
        made.add_column(column, overflow="fold")  # what is cut cannot be copied
    return TextTable(made)


@contextmanager
def opened() -> Iterator["Database"]:
    """The database of the settings; a missing or old schema ends the command with a sentence."""
    from service.local.preparing import said
    from service.registry.migrations import schema_is_behind
    from service.registry.session import Database
    from service.registry.starting import NotPrepared

    database = Database(get_settings().database_url)
    try:
        with said(get_settings()):
            if schema_is_behind(database):
                fail("The database is not up to date: run `stagewise migrate` first.")
            yield database
    except NotPrepared as error:
        fail(str(error))
    finally:
        database.dispose()


def fail(sentence: str) -> NoReturn:
    """Say why on standard error, and end with status 1."""
    typer.echo(sentence, err=True)
    raise typer.Exit(1)
