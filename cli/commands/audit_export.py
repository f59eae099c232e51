"""`reactorcide audit export`, `check-export`: the trail as a file, and what was signed for it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from reactorcide.cli import exits
from reactorcide.cli.client import Client
from reactorcide.cli.exits import Stop
from reactorcide.cli.options import client_command, output_option
from reactorcide.cli.output import note, show_record

F = TypeVar("F", bound=Callable[..., Any])

_FILTERS: Final = (
    click.option(
        "--actor", metavar="ID|system|anonymous", help="By this user, worker or token only."
    ),
    click.option("--type", metavar="NAME", help="Of this type only, as in token.revoked."),
    click.option("--stream-id", metavar="ID", help="Of this job, token, user or worker only."),
    click.option("--stream-type", metavar="KIND", help="As in job, token, user, worker or access."),
    click.option("--ip", metavar="ADDRESS", help="From this address only."),
    click.option("--request-id", metavar="ID", help="By this request only."),
    click.option("--outcome", metavar="WORD", help="success, denied or refused."),
    click.option("--since", metavar="TIME", help="RFC 3339, as in 2026-01-31T12:00:00Z."),
    click.option("--until", metavar="TIME", help="Before this time."),
)


def filters(function: F) -> F:
    """Add the filters of the trail."""
    for option in reversed(_FILTERS):
        function = option(function)
    return function


@click.command()
@click.option(
    "--format",
    type=click.Choice(("ndjson", "csv", "ocsf", "cloudevents")),
    default="ndjson",
    show_default=True,
    help="ocsf: API Activity; cloudevents: 1.0; both a line each.",
)
@click.option(
    "--output-file",
    metavar="FILE",
    help="Gone on with where it broke off; FILE.manifest is signed. [default: standard output]",
)
@click.option("--after", metavar="POSITION", help="Only what lies behind this position.")
@filters
@client_command
def export(client: Client, output_file: str | None, **query: Any) -> None:
    """Take events along, oldest first, up to now (auditor, admin)."""
    from reactorcide.cli import exporting
    from reactorcide.cli.progress import Progress

    if output_file is None:
        for piece in client.stream(exporting.PATH, query=query):
            click.echo(piece, nl=False)
        return
    progress = Progress("exporting: position")
    try:
        done = exporting.Export(client, query, Path(output_file), progress).run()
    except OSError as error:
        where = error.filename or output_file
        raise Stop(exits.USAGE, f"can't write {str(where)!r}: {error.strerror}") from None
    finally:
        progress.end()
    many = "" if done.events is None else f"{done.events:,} "
    note(f"{many}events up to position {done.to} are in {output_file}")


@click.command("check-export")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--manifest", type=click.Path(path_type=Path), help="[default: FILE.manifest]")
@click.option(
    "--public-key", required=True, metavar="KEY", help="The log's: name+hash+key, or a file of it."
)
@output_option
def check_export(file: Path, manifest: Path | None, public_key: str, output: str) -> None:
    """Hold FILE against its manifest, offline; exit 1 when one of them was changed."""
    from reactorcide.cli.export_check import check

    show_record(output, check(file, manifest, public_key).model_dump(mode="json"))
