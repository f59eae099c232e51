"""`reactorcide audit`: what happened, of all that happened."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import click

from reactorcide.cli.client import Client
from reactorcide.cli.options import client_command, output_option
from reactorcide.cli.output import note, show_list

COLUMNS: Final = (
    "position",
    "recorded_at",
    "type",
    "stream_id",
    "actor",
    "ip",
    "request_id",
)

TREE_COLUMNS: Final = ("type", "recorded_at", "stream_id", "actor", "request_id", "position")
_DEEPEST: Final = 30


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


@audit.command()
@click.argument("request_id")
@click.option("--limit", type=click.IntRange(1, 200), help="Beginnings of one page [default: 50]")
@click.option("--cursor", help="The last page's next_cursor.")
@output_option
@client_command
def tree(client: Client, request_id: str, output: str, **query: Any) -> None:
    """Show what a request did, and below it what followed (auditor, admin)."""
    envelope = client.get(f"/audit/requests/{quote(request_id, safe='')}", query)
    if output == "table":
        shown = {"events": [_in_tree(event) for event in envelope["events"]]}
        show_list(output, shown, "events", TREE_COLUMNS)
    else:
        show_list(output, envelope, "events", TREE_COLUMNS)
    if not envelope["events"]:
        note(f"no event carries the request id {request_id}")
    if envelope["is_cut"]:
        note("more follows from these than is shown; ask for fewer with --limit")
    if envelope["next_cursor"]:
        note(f"there is more: --cursor {envelope['next_cursor']}")


def _in_tree(event: Mapping[str, Any]) -> dict[str, Any]:
    indent = "  " * min(event["depth"], _DEEPEST)
    return {**_shown(event), "type": indent + event["type"]}


def _shown(event: Mapping[str, Any]) -> dict[str, Any]:
    actor = event["actor"]
    return {**event, "actor": " ".join(str(part) for part in (actor["type"], actor["id"]) if part)}
