"""`reactorcide user`: create users, show them, change their roles."""

from collections.abc import Mapping
from typing import Any, Final

import click

from reactorcide.cli.client import Client, segment
from reactorcide.cli.options import (
    client_command,
    database_options,
    output_option,
    page_options,
    read_settings,
)
from reactorcide.cli.output import show_list, show_record
from reactorcide.eventstore.domain.access import ROLES

COLUMNS: Final = ("user_id", "username", "email", "roles", "is_active", "created_at")

role_option: Final = click.option(
    "--role", "roles", type=click.Choice(ROLES), multiple=True, help="Repeatable. [default: user]"
)


@click.group()
def user() -> None:
    """Create users, show them, change their roles."""


@user.command()
@click.argument("username")
@click.option("--email")
@role_option
@output_option
@database_options
def create(
    username: str, email: str | None, roles: tuple[str, ...], output: str, **flags: str | None
) -> None:
    """Make a user, straight in the database."""
    from pydantic_core import to_jsonable_python

    from reactorcide.api.users import render
    from reactorcide.cli import accounts

    settings = read_settings(**flags)
    asked = accounts.checked(
        accounts.UserFields, username=username, email=email, roles=list(roles) or ["user"]
    )
    made = accounts.in_database(
        settings, lambda connection: accounts.create_user(connection, asked)
    )
    _show(output, to_jsonable_python(render(made)))


@user.command("list")
@page_options
@output_option
@client_command
def list_users(client: Client, output: str, **query: Any) -> None:
    """List users, newest first."""
    show_list(output, client.get("/users", query), "users", COLUMNS)


@user.command()
@click.argument("user_id")
@output_option
@client_command
def get(client: Client, user_id: str, output: str) -> None:
    """Show one user."""
    show_record(output, client.get(f"/users/{segment(user_id)}"))


@user.command("set-roles")
@click.argument("user_id")
@click.argument("roles", nargs=-1, required=True, type=click.Choice(ROLES))
@output_option
@client_command
def set_roles(client: Client, user_id: str, roles: tuple[str, ...], output: str) -> None:
    """Give a user these ROLES, and no others."""
    path = f"/users/{segment(user_id)}/roles"
    _show(output, client.call("PUT", path, body={"roles": list(roles)}).json())


@user.command()
@click.argument("user_id")
@output_option
@client_command
def deactivate(client: Client, user_id: str, output: str) -> None:
    """Let a user do nothing any more; none of its tokens holds."""
    _show(output, client.call("POST", f"/users/{segment(user_id)}/deactivate").json())


def _show(output: str, record: Mapping[str, Any]) -> None:
    if output == "table":
        show_list(output, {"users": [record]}, "users", COLUMNS)
    else:
        show_record(output, record)
