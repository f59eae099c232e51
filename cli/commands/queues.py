"""`reactorcide queues`: how many jobs of each queue have not ended."""

from typing import Any, Final

import click

from reactorcide.cli.client import Client
from reactorcide.cli.options import client_command, output_option, page_options
from reactorcide.cli.output import show_list

COLUMNS: Final = ("queue_name", "submitted", "queued", "claimed", "running")


@click.group()
def queues() -> None:
    """Count the jobs of each queue that have not ended."""


@queues.command("list")
@page_options
@click.option("--at", metavar="MOMENT", help="As of a past time (RFC 3339) or position.")
@output_option
@client_command
def list_queues(client: Client, output: str, **query: Any) -> None:
    """List queues, by name; with --at as they were (operator, auditor, admin)."""
    show_list(output, client.get("/queues", query), "queues", COLUMNS)
