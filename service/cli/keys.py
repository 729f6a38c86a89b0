"""`stagewise keys`: API keys, straight in the database."""

from typing import Annotated, Any

import typer

from service.cli.common import JsonOption, fail, opened, show_json, table

app = typer.Typer(help="API keys.", no_args_is_help=True)
AccountOption = Annotated[str, typer.Option(help="Whose key: accounts see nothing of each other.")]


@app.command("create")
def create_key(
    name: Annotated[str, typer.Option(help="What the key is for.")] = "",
    account: AccountOption = "default",
    scopes: Annotated[str, typer.Option(help="Some of read, train, predict, metrics, admin.")] = "read,train,predict",
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


@app.command("list")
def list_keys(as_json: JsonOption = False) -> None:
    """Show all keys: their public part, never the secret."""
    from service.registry import accounts

    with opened() as database, database.reading() as session:
        found: list[dict[str, Any]] = [
            {
                "public": key.public,
                "account": account,
                "name": key.name,
                "scopes": list(key.scopes),
                "created_at": key.created_at.isoformat(),
                "revoked_at": key.revoked_at.isoformat() if key.revoked_at else None,
            }
            for key, account in accounts.list_keys(session)
        ]
    if as_json:
        show_json(found)
        return
    rows = table("public part", "account", "name", "scopes", "made", "revoked")
    for key in found:
        made, revoked = key["created_at"][:10], (key["revoked_at"] or "")[:10]
        rows.add_row(key["public"], key["account"], key["name"], " ".join(key["scopes"]), made, revoked)
    rows.show("There are no keys yet: stagewise keys create")


@app.command("revoke")
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
