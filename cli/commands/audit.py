"""`reactorcide audit`: what happened, the proof of it, and what is not to be told any more."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote
from uuid import UUID

import click

from reactorcide.cli import exits
from reactorcide.cli.client import Client
from reactorcide.cli.commands.audit_export import check_export, export, filters
from reactorcide.cli.exits import Stop
from reactorcide.cli.options import (
    client_command,
    cursor_option,
    database_options,
    limit_option,
    output_option,
    read_settings,
)
from reactorcide.cli.output import note, show_document, show_list, show_record

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
    """List what happened; take it along; seal, verify, and erase what must not be kept."""


audit.add_command(export)
audit.add_command(check_export)


@audit.command("list")
@filters
@click.option("--job-id", metavar="ID", help="Reads of this job's log and artifacts only.")
@limit_option
@cursor_option
@output_option
@client_command
def list_events(client: Client, output: str, **query: Any) -> None:
    """List events of all streams, newest first (auditor, admin)."""
    envelope = client.get("/audit/events", query)
    _warn(envelope["archived_until"])
    if output == "table":
        envelope = {"events": [_shown(event) for event in envelope["events"]]}
    show_list(output, envelope, "events", COLUMNS)


def _warn(archived_until: str | None) -> None:
    """Say that an answer may not have everything."""
    if archived_until:
        note(f"events up to {archived_until} may be archived: only --stream-id finds those")


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


@audit.command()
@click.argument("request_id")
@click.option("--limit", type=click.IntRange(1, 200), help="Beginnings of one page [default: 50]")
@cursor_option
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
    _warn(envelope["archived_until"])
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


@audit.command()
@click.option(
    "--public-key",
    "public_keys",
    multiple=True,
    metavar="KEY",
    help="Verify signatures with this one (name+hash+key, or a file with it); repeatable.",
)
@click.option(
    "--checkpoints",
    "directories",
    multiple=True,
    metavar="DIRECTORY",
    help="Compare with the checkpoints, and tiles, that are kept here; repeatable.",
)
@click.option(
    "--bundle", type=click.Path(dir_okay=False), help="Verify this file, without any database."
)
@click.option("--tables/--no-tables", default=True, help="Compare the read tables as well.")
@output_option
@database_options
def verify(
    public_keys: tuple[str, ...],
    directories: tuple[str, ...],
    bundle: str | None,
    output: str,
    *,
    tables: bool,
    **flags: str | None,
) -> None:
    """Verify that the log is what was sealed and signed; exit 1 at the first wrong position.

    Every event is hashed again and compared with the signed checkpoints, those in the object
    store as well; each stream is followed by the rules, and the read tables are compared with
    what the log says.
    """
    import asyncio

    from reactorcide.cli import proving
    from reactorcide.cli.failures import told
    from reactorcide.cli.local import database_of

    settings = read_settings(**flags)
    held = proving.Held(public_keys, directories, tables)
    if bundle is not None:
        _show_verified(output, proving.verify_bundle(bundle, settings, held))
        return
    with told(), database_of(settings) as uri:
        report = asyncio.run(proving.verify(uri, settings, held))
    _show_verified(output, report)


@audit.command("bundle")
@click.argument("file", type=click.Path(dir_okay=False))
@click.option("--stream", type=click.UUID, metavar="ID", help="This job, token … alone.")
@click.option("--from", "first", type=click.IntRange(1), help="From this position on.")
@click.option("--to", "last", type=click.IntRange(1), help="Up to this position.")
@database_options
def write_bundle(
    file: str, stream: UUID | None, first: int | None, last: int | None, **flags: str | None
) -> None:
    """Write sealed events to FILE with all that proves them, for `audit verify --bundle`.

    The whole log, or a part of it. Whoever has the public key can verify it without a database.
    """
    import asyncio

    from reactorcide.cli import proving
    from reactorcide.cli.failures import told
    from reactorcide.cli.local import database_of
    from reactorcide.projections.bundling import Selection

    if stream is not None and (first is not None or last is not None):
        message = "give --stream, or --from and --to"
        raise click.UsageError(message)
    settings = read_settings(**flags)
    with told(), database_of(settings) as uri:
        selection = Selection(stream, first, last)
        written = asyncio.run(proving.write_bundle(uri, file, selection, settings))
    note(f"{written.events} events in {file}, proved by the checkpoint for {written.tree_size}")


def _show_verified(output: str, report: Mapping[str, Any]) -> None:
    if output != "table":
        show_document(output, report)
    else:
        for line in _verified_lines(report):
            click.echo(line)
    if not report["is_right"]:
        exits.end_with(exits.UNEQUAL)


def _verified_lines(report: Mapping[str, Any]) -> Iterator[str]:
    if report["wrong"] is not None:
        yield f"wrong at {report['wrong']['text']}"
        yield f"{report['events']} events before it are as they were sealed"
        return
    yield (
        f"{report['events']} events up to position {report['position']} are as they were sealed; "
        f"{report['checkpoints']} checkpoints of {report['log']} hold"
    )
    if "events_not_sealed" in report:
        yield f"{report['events_not_sealed']} events not sealed yet"
    for table in report.get("tables", ()):
        if table["is_equal"]:
            yield f"{table['name']}: {table['rows']} rows, equal to the log"
            continue
        yield f"{table['name']}: not what the log says"
        for difference in table["differences"]:
            columns = ", ".join(difference["columns"])
            note(f"{table['name']} {difference['key']}: {difference['kind']} {columns}".rstrip())


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
