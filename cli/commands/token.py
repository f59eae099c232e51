"""`reactorcide token`: create tokens, show, revoke, rotate and check them."""

from typing import Any, Final

import click

from reactorcide.cli.client import Client, segment
from reactorcide.cli.commands.user import role_option
from reactorcide.cli.options import (
    DURATION,
    client_command,
    database_options,
    output_option,
    page_options,
    read_settings,
)
from reactorcide.cli.output import note, show_list, show_record
from reactorcide.eventstore.domain.access import SCOPES

COLUMNS: Final = (
    "token_id",
    "name",
    "prefix",
    "is_active",
    "expires_at",
    "last_used_at",
    "revoked_at",
)


@click.group()
def token() -> None:
    """Create tokens, show, revoke, rotate and check them."""


@token.command()
@click.option("--user", "username", required=True, metavar="NAME", help="Made when missing.")
@role_option
@click.option("--name", default="command line", show_default=True, help="What it is for.")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(SCOPES),
    multiple=True,
    metavar="SCOPE",
    help="Repeatable. [default: all that the user's roles allow]",
)
@click.option("--expires-in", type=DURATION, metavar="30d", help="[default: 90d]")
@output_option
@database_options
def create(
    username: str,
    roles: tuple[str, ...],
    name: str,
    scopes: tuple[str, ...],
    expires_in: int | None,
    output: str,
    **flags: str | None,
) -> None:
    """Make a token, straight in the database, and print it: this once and never again."""
    from pydantic_core import to_jsonable_python

    from reactorcide.cli import accounts

    settings = read_settings(**flags)
    asked = accounts.checked(
        accounts.TokenFields,
        username=username,
        roles=list(roles) or ["user"],
        name=name,
        scopes=list(scopes) or None,
    )
    made = accounts.in_database(
        settings, lambda connection: accounts.create_token(connection, asked, expires_in)
    )
    if roles and set(roles) != set(made.user.roles):
        note(f"user {username} was there already, with: {', '.join(made.user.roles)}")
    if output == "table":
        click.echo(made.made.text)
        return
    shown = {
        "token_id": made.made.token.token_id,
        "token": made.made.text,
        "user_id": made.user.user_id,
        "name": made.made.token.name,
        "expires_at": made.made.token.expires_at,
    }
    show_record(output, to_jsonable_python(shown))


@token.command("list")
@click.option("--user", "user_id", metavar="USER_ID", help="Of another user (admins).")
@page_options
@output_option
@client_command
def list_tokens(client: Client, output: str, **query: Any) -> None:
    """List your tokens, newest first, also those that no longer hold."""
    show_list(output, client.get("/tokens", query), "tokens", COLUMNS)


@token.command()
@click.argument("token_id")
@client_command
def revoke(client: Client, token_id: str) -> None:
    """Let a token open nothing any more."""
    client.call("DELETE", f"/tokens/{segment(token_id)}")


@token.command()
@click.argument("token_id")
@click.option("--overlap", type=DURATION, metavar="15m", help="How long the old one lives on.")
@output_option
@client_command
def rotate(client: Client, token_id: str, overlap: int | None, output: str) -> None:
    """Replace a token by a new one, and print it: this once and never again."""
    body = {} if overlap is None else {"overlap_seconds": overlap}
    made = client.call("POST", f"/tokens/{segment(token_id)}/rotate", body=body).json()
    if output == "table":
        click.echo(made["token"])
    else:
        show_record(output, made)


@token.command()
@output_option
@client_command
def check(client: Client, output: str) -> None:
    """Show whose token is in use, and what it opens; exit 4 when it opens nothing."""
    mine = client.get("/me")
    if output != "table":
        show_record(output, mine)
        return
    show_record(
        output,
        {
            "username": mine["user"]["username"],
            "roles": mine["user"]["roles"],
            **mine["token"],
        },
    )
