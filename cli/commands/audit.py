"""`reactorcide audit`: what happened, of all that happened."""

from collections.abc import Mapping
from typing import Any, Final

import click

from reactorcide.cli.client import Client
from reactorcide.cli.options import client_command, output_option
from reactorcide.cli.output import show_list

COLUMNS: Final = (
    "position",
    "recorded_at",
    "type",
    "stream_id",
    "actor",
    "ip",
    "request_id",
)


@click.group()
def audit() -> None:
    """List what happened: who, what, from where."""


@audit.command("list")
@click.option("--actor", metavar="ID|system|anonymous", help="By this user, worker or token only.")
@click.option("--type", metavar="NAME", help="Of this type only, as in token.revoked.")
@click.option("--stream-id", metavar="ID", help="Of this job, token, user or worker only.")
@click.option(
    "--stream-type", metavar="KIND", help="Of jobs, tokens, users, workers or access only."
)
@click.option("--ip", metavar="ADDRESS", help="From this address only.")
@click.option("--request-id", metavar="ID", help="By this request only.")
@click.option("--outcome", metavar="WORD", help="success, denied or refused.")
@click.option("--job-id", metavar="ID", help="Reads of this job's log and artifacts only.")
@click.option("--since", metavar="TIME", help="RFC 3339, as in 2026-01-31T12:00:00Z.")
@click.option("--until", metavar="TIME", help="Before this time.")
@click.option("--limit", type=click.IntRange(1, 200), help="[default: 50]")
@click.option("--cursor", help="The last page's next_cursor.")
@output_option
@client_command
def list_events(client: Client, output: str, **query: Any) -> None:
    """List events of all streams, newest first (auditor, admin)."""
    envelope = client.get("/audit/events", query)
    if output == "table":
        envelope = {"events": [_shown(event) for event in envelope["events"]]}
    show_list(output, envelope, "events", COLUMNS)


def _shown(event: Mapping[str, Any]) -> dict[str, Any]:
    actor = event["actor"]
    return {**event, "actor": " ".join(str(part) for part in (actor["type"], actor["id"]) if part)}
