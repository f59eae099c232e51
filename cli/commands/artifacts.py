"""`reactorcide artifacts`: list and fetch what a job's command left."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click

from reactorcide.cli import exits
from reactorcide.cli.client import Client, segment
from reactorcide.cli.exits import Stop
from reactorcide.cli.options import client_command, output_option
from reactorcide.cli.output import show_list, visible
from reactorcide.cli.saving import NameRefusedError, directory_at, save

COLUMNS: Final = ("path", "size", "sha256")

attempt_option: Final = click.option(
    "--attempt", type=click.IntRange(min=1), metavar="N", help="[default: the latest that has any]"
)


@click.group()
def artifacts() -> None:
    """List and fetch the files that a job left in $REACTORCIDE_ARTIFACTS_DIR."""


@artifacts.command("list")
@click.argument("job")
@attempt_option
@output_option
@client_command
def list_artifacts(client: Client, job: str, output: str, attempt: int | None) -> None:
    """List what JOB left, by path."""
    found = client.get(_path(job), {"attempt": attempt})
    show_list(output, found, "artifacts", COLUMNS)


@artifacts.command()
@click.argument("job")
@click.argument("path", required=False)
@click.option("--to", "to", default=".", metavar="DIR", help="Made when missing. [default: .]")
@attempt_option
@client_command
def get(client: Client, job: str, path: str | None, to: str, attempt: int | None) -> None:
    """Fetch the file PATH that JOB left, or all of them, into DIR; print where they are.

    Files of the same name are replaced. Nothing is written outside of DIR.
    """
    found = client.get(_path(job), {"attempt": attempt})["artifacts"]
    wanted = [artifact for artifact in found if path in {None, artifact["path"]}]
    if path is not None and not wanted:
        raise Stop(exits.NOT_FOUND, f"the job left no file {path!r}")
    try:
        with directory_at(Path(to)) as root:
            for artifact in wanted:
                name = artifact["path"]
                save(root, name, _content(client, job, artifact, attempt))
                click.echo(visible(str(Path(to, name))))
    except NameRefusedError as error:
        raise Stop(exits.USAGE, f"{str(error)!r} is no name below {to!r}") from None
    except OSError as error:
        where = error.filename or to
        raise Stop(
            exits.USAGE, f"can't write {str(where)!r} below {to!r}: {error.strerror}"
        ) from None


def _content(
    client: Client, job: str, artifact: Mapping[str, Any], attempt: int | None
) -> Iterator[bytes]:
    """Yield the file; what came must be what was kept."""
    digest = hashlib.sha256()
    where = f"{_path(job)}/{quote(artifact['path'])}"
    for piece in client.stream(where, query={"attempt": attempt}):
        digest.update(piece)
        yield piece
    if digest.hexdigest() != artifact["sha256"]:
        raise Stop(exits.UNAVAILABLE, f"{artifact['path']!r} did not come as it was kept")


def _path(job: str) -> str:
    return f"/jobs/{segment(job)}/artifacts"
