"""`reactorcide audit`: what happened, of all that happened, and the proof of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click

from reactorcide.cli import exits
from reactorcide.cli.client import Client
from reactorcide.cli.commands.audit_export import check_export, export, filters
from reactorcide.cli.exits import Stop
from reactorcide.cli.options import client_command, output_option
from reactorcide.cli.output import note, show_list, show_record

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
    """List what happened, take it along, and seal the log that says so."""


audit.add_command(export)
audit.add_command(check_export)


@audit.command("list")
@filters
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
@click.option(
    "--directory",
    metavar="DIR",
    help="Bring a copy of the tree there up to date: checkpoint and tiles, as C2SP lays them out.",
)
@output_option
@client_command
def checkpoint(client: Client, output: str, directory: str | None) -> None:
    """Seal the log up to now, and print the signed checkpoint (auditor, admin).

    Keep it where nobody can change it: it proves all events before it. The key that verifies it
    goes to standard error.
    """
    sealed = client.call("POST", "/audit/checkpoints").json()
    if output == "table":
        click.echo(sealed["note"], nl=False)
    else:
        show_record(output, sealed)
    if directory is not None:
        tiles = _copy_tree(client, Path(directory), sealed)
        note(f"{directory}: the tree of {sealed['tree_size']} events, {tiles} tiles written")
    if sealed["verifier_key"]:
        note(f"verifier key: {sealed['verifier_key']}")


def _copy_tree(client: Client, directory: Path, sealed: Mapping[str, Any]) -> int:
    from reactorcide.cli.tiles import CutShortError, write_tree

    def fetch(level: int, first: int, count: int) -> bytes:
        query = {"first": first, "count": count}
        return client.call("GET", f"/audit/tiles/{level}", query=query).content

    try:
        return write_tree(directory, sealed["tree_size"], sealed["note"], fetch)
    except OSError as error:
        raise Stop(exits.USAGE, f"can't write to {str(directory)!r}: {error.strerror}") from None
    except CutShortError as error:
        raise Stop(exits.UNAVAILABLE, f"the server's tree is incomplete: {error}") from None


def _shown(event: Mapping[str, Any]) -> dict[str, Any]:
    actor = event["actor"]
    return {**event, "actor": " ".join(str(part) for part in (actor["type"], actor["id"]) if part)}
