"""`reactorcide events`: follow all that happens, as far as the token may see it."""

import json
import sys
from collections.abc import Mapping
from typing import Any, Final

import click

from reactorcide.cli.client import Client
from reactorcide.cli.options import client_command, output_option
from reactorcide.cli.output import cell, show_document
from reactorcide.cli.tailing import Tail

COLUMNS: Final = ("recorded_at", "type", "stream_id", "actor")


@click.group()
def events() -> None:
    """Follow all that happens."""


@events.command()
@click.option("--after", type=click.IntRange(min=0), metavar="POSITION", help="What stands behind.")
@click.option("--from-beginning", is_flag=True, help="The whole log, then what happens.")
@output_option
@client_command
def tail(client: Client, output: str, after: int | None, *, from_beginning: bool) -> None:
    """Print each event as it happens, one a line: when, what, to which stream, by whom.

    Jobs of one's own; an operator sees every job, an auditor and an admin everything. In JSON
    too an event is one line. Goes on until it is interrupted.
    """
    if from_beginning and after is not None:
        message = "give either --after or --from-beginning, not both"
        raise click.UsageError(message)
    for event in Tail(client, 0 if from_beginning else after, _tell_beginning):
        _show(output, event)
        sys.stdout.flush()


def _tell_beginning(position: int) -> None:
    click.echo(f"following all that happens behind position {position}", err=True)


def _show(output: str, event: Mapping[str, Any]) -> None:
    if output == "json":
        click.echo(json.dumps(event, ensure_ascii=False))
    elif output == "yaml":
        click.echo("---")
        show_document(output, event)
    else:
        actor = event["actor"]
        who = " ".join(str(part) for part in (actor["type"], actor["id"]) if part)
        click.echo("\t".join(cell({**event, "actor": who}[column]) for column in COLUMNS))
