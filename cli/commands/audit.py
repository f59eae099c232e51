"""`reactorcide audit`: what happened, the proof of it, and what is not to be told any more."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click

from reactorcide.cli import exits
from reactorcide.cli.client import Client
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
    """List what happened, seal the log that says so, erase what must not be kept."""


@audit.command("list")
@click.option("--actor", metavar="ID|system", help="By this user, worker or token only.")
@click.option("--type", metavar="NAME", help="Of this type only, as in token.revoked.")
@click.option("--stream-id", metavar="ID", help="Of this job, token, user or worker only.")
@click.option("--stream-type", metavar="KIND", help="Of jobs, tokens, users or workers only.")
@click.option("--ip", metavar="ADDRESS", help="From this address only.")
@click.option("--request-id", metavar="ID", help="By this request only.")
@click.option("--outcome", metavar="WORD", help="success, denied or refused.")
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


@audit.command()
@click.argument("position", type=click.IntRange(min=1))
@click.option("--reason", metavar="TEXT", required=True, help="Why; it is recorded for good.")
@output_option
@client_command
def redact(client: Client, position: int, reason: str, output: str) -> None:
    """Erase what the event at POSITION tells, for good (admin).

    Its type, time, actor and place stay, and the proof that it happened. It must be sealed, and
    its job ended. Logs and artifacts in the object store are no events: delete the job for that.
    """
    path = f"/audit/events/{position}/redact"
    event = client.call("POST", path, body={"reason": reason}).json()
    show_record(output, event if output != "table" else _shown(event))
